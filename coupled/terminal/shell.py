"""Paths in the commands that messages suggest: pasted into a shell, the command names that very path."""

import os
import shlex
import sys
from pathlib import Path


def shell(path: Path | str, encoding: str | None = None) -> str:
    """The path as one word of a POSIX shell: unchanged if no character of it has a meaning there.

    If a character cannot be shown, at all or in `encoding` (default: that of stdout), bytes are: $'caf\\351'.
    """
    word = f"./{path}" if str(path).startswith("-") else str(path)
    if word.isprintable() and _has(encoding or getattr(sys.stdout, "encoding", None) or "utf-8", word):
        return shlex.quote(word)
    plain = "".join(
        chr(byte) if 32 <= byte < 127 and byte not in b"\\'" else f"\\{byte:03o}" for byte in os.fsencode(word)
    )
    return f"$'{plain}'"


def _has(encoding: str, text: str) -> bool:
    try:
        return text.encode(encoding).decode(encoding) == text
    except UnicodeError:
        return False
