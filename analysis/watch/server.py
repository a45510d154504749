"""The page's server: on this machine alone, at an address that only who started it knows."""

import hashlib
import secrets
import sys
import threading
from collections.abc import Callable
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from types import TracebackType
from typing import Any, Final, Self

from coupled.errors import UserError

_HOST: Final = "127.0.0.1"
_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; connect-src 'self'; img-src data: blob:"
)


_ON: Final = '<!doctype html><title>coupled</title><meta http-equiv="refresh" content="0; url=/{}/">'


@cache
def _file(package: str, *names: str) -> bytes:
    path = files(package)
    for name in names:
        path = path / name
    return path.read_bytes()


# By name in the page's folder: type, and what makes it.
_FILES: Final[dict[str, tuple[str, Callable[[], bytes]]]] = {
    "": ("text/html; charset=utf-8", lambda: _file("analysis.watch", "watch.html")),
    "watch.css": ("text/css; charset=utf-8", lambda: _file("analysis.watch", "watch.css")),
    "watch.js": ("text/javascript; charset=utf-8", lambda: _file("analysis.watch", "watch.js")),
    "plotly.js": ("text/javascript; charset=utf-8", lambda: _file("plotly", "package_data", "plotly.min.js")),
}


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A tab that is closed while it is answered is no error; of others Python prints what it prints."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


class PageServer:
    """Serves the page and what was last `show`n, on threads of its own, while entered.

    The address has a part that nobody guesses: others on the machine can reach the port. UserError where `port` (0: one
    that is free) cannot be had.
    """

    def __init__(self, port: int = 0) -> None:
        self._secret, self._content, self._version = secrets.token_hex(8), b"{}", ""
        self._once: list[str] = []
        try:
            self._server = _Server((_HOST, port), self._handler())
        except (OSError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            allowed = "a port that is free, 1024 to 65535"
            raise UserError(f"--port {port}: {reason}", allowed, "or leave it out") from None
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.1,), name="page", daemon=True)

    @property
    def url(self) -> str:
        """Where the page is."""
        return f"http://{_HOST}:{self._server.server_address[1]}/{self._secret}/"

    def url_for_once(self) -> str:
        """An address that leads to the page one time, for a command line, which others on the machine can read."""
        self._once.append(secrets.token_hex(8))
        return f"http://{_HOST}:{self._server.server_address[1]}/{self._once[-1]}/"

    def show(self, content: bytes) -> None:
        """What the page is to show from now on: JSON."""
        self._content, self._version = content, hashlib.sha256(content).hexdigest()

    def answer(self, path: str, known: str) -> tuple[int, str, str, bytes]:
        """Status, type, version and body for a path that was asked for; `known`: the version that the page has."""
        folder, _, name = path.partition("?")[0].removeprefix("/").partition("/")
        if folder in self._once and not name:
            self._once.remove(folder)
            return 200, "text/html; charset=utf-8", "", _ON.format(self._secret).encode()
        if not secrets.compare_digest(folder.encode(errors="replace"), self._secret.encode()):
            return 404, "text/plain", "", b"not found\n"
        if name == "curves.json":
            content, version = self._content, f'"{self._version}"'
            return (304, "", version, b"") if known == version else (200, "application/json", version, content)
        if name not in _FILES:
            return 404, "text/plain", "", b"not found\n"
        kind, made = _FILES[name]
        return 200, kind, "", made()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        answer = self.answer

        class Handler(BaseHTTPRequestHandler):
            timeout = 30  # seconds for a request to come

            def do_GET(self) -> None:
                status, kind, version, body = answer(self.path, self.headers.get("If-None-Match", ""))
                self.send_response(status)
                headers = {"Content-Type": kind, "ETag": version, "Content-Length": str(len(body))}
                headers |= {"Content-Security-Policy": _POLICY, "Cache-Control": "no-cache"}
                headers |= {"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer"}
                for name, value in headers.items():
                    if value:
                        self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:
                """Nobody reads a line for every request."""

            def version_string(self) -> str:
                return "coupled"

        return Handler
