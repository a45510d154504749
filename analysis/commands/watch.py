"""`coupled-analyze watch`: a run's curves on a local page, drawn again while the run grows."""

import argparse
import os
import sys
import time
import webbrowser
from contextlib import suppress
from pathlib import Path
from typing import Final

import torch

from analysis.watch.content import content
from analysis.watch.following import Following
from analysis.watch.server import PageServer
from coupled.config.formats import IMPORTED
from coupled.errors import UserError, printable
from coupled.store import StoreError
from coupled.store.rundir import RUN_JSON
from coupled.terminal.entry import Parser
from coupled.terminal.shell import shell

_EVERY_S: Final = 2.0
_LAST_S: Final = 5.0  # for a page that is open to ask once more
_PATIENCE: Final = 5  # looks in which a run that is being resumed may not fit together


def add(command: Parser) -> None:
    """Adds what the command takes."""
    command.description = (
        "Shows a run on a page of this machine (127.0.0.1): CKA, RSA, weight gap, loss gap and losses, steps done, "
        "speed, time left. The page asks for what is new while the run grows; nothing is written, and the run does not "
        "wait. Ctrl-C ends it."
    )
    command.add_argument("run_directory", type=Path, metavar="RUN", help="run directory, such as runs/quickstart")
    command.add_argument("--port", type=int, default=0, metavar="N", help="of the page (default: one that is free)")
    command.add_argument("--open", action="store_true", help="open the page in the browser")
    command.add_argument("--stop", action="store_true", help="end when the run is finished (default: stay)")


def run(options: argparse.Namespace) -> int:
    """Serves the page until Ctrl-C, or until the run is finished or gone."""
    path, port = options.run_directory, options.port
    if port != 0 and not 1024 <= port <= 65535:
        raise UserError(f"--port {port}", "1024 to 65535", "or leave it out: one that is free is taken")
    following = Following(path)
    if IMPORTED in following.run.facts:
        raise UserError(f"{path} holds imported checkpoints", "they have no records to watch", "see coupled-analyze")
    _go_last()
    with PageServer(port) as server:
        server.show(content(following))
        print(printable(f"watching {following.run.name}: {server.url} (Ctrl-C ends this, not the run)"), flush=True)
        if options.open:
            webbrowser.open(server.url_for_once())
        try:
            _watch(following, server, stop=options.stop)
        except KeyboardInterrupt:
            print(printable(f"no longer watching {following.run.name}; the run was not touched"))
    return 0


def _watch(following: Following, server: PageServer, *, stop: bool) -> None:
    """Looks every two seconds. UserError once the run is gone."""
    path, failures, told = following.path, 0, False
    while True:
        if following.run.finished and not told:
            told, hint = True, "" if stop else "; the page stays until Ctrl-C"
            line = f"{following.run.name} is finished{hint}; next: coupled-analyze report {shell(path)}"
            print(printable(line), flush=True)
        if told and stop:
            time.sleep(_LAST_S)
            return
        time.sleep(_EVERY_S)
        try:
            if following.look():
                server.show(content(following))
            failures = 0
        except (UserError, StoreError) as error:
            if not (path / RUN_JSON).is_file():
                why = "it was moved or deleted while it was watched"
                raise UserError(f"{path} is gone", why, "watch it where it is") from None
            # A run that is resumed goes back to its newest checkpoint: for a moment lines name files that are gone.
            failures += 1
            if failures >= _PATIENCE:
                raise error from None


def _go_last() -> None:
    """A run that trains on the same cores goes first."""
    torch.set_num_threads(1)
    if sys.platform != "win32":
        with suppress(OSError):
            os.nice(10)
