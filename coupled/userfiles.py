"""Paths as users write them, the text files that they give, and which of their files calls us."""

import inspect
import os
import re
from pathlib import Path
from typing import Final

from coupled.errors import UserError

NAMES: Final = "at most 64 letters, digits, '_' and '-'"

_VARIABLE = re.compile(r"\$(\w+|\{\w+\})")
_LONGEST = 4 << 20  # bytes of a text file that somebody wrote by hand
_MARKS = {b"\xff\xfe\0\0": "UTF-32", b"\0\0\xfe\xff": "UTF-32", b"\xff\xfe": "UTF-16", b"\xfe\xff": "UTF-16"}


def expanded(given: str, key: str = "") -> str:
    """A path with `~` or `~user` at its beginning replaced by that home folder; `key` is the option that it is of.

    Variables are left to the shell. UserError for `$NAME`, unless a file has that very name (otherwise a folder called
    `$HOME` would be made), for a `~` without a home folder, and for a NUL byte.
    """
    label = f"{key} = {given}" if key else given
    if "\0" in given:
        raise UserError(label, "no file has NUL in its name", "write its path")
    head, slash, rest = given.partition("/")
    if head.startswith("~"):
        given = str(Path(_home(head, label)) / rest) if slash else _home(head, label)
    for variable in _VARIABLE.finditer(given):
        end = given.find("/", variable.end())
        if not os.path.lexists(given if end < 0 else given[:end]):
            do = f"write the path without {variable.group()}, or let a shell put its value in"
            raise UserError(label, "variables are not replaced here, and no file has that name", do)
    return given


def _home(head: str, label: str) -> str:
    """The home folder that `~` or `~user` stands for."""
    do = f"write the whole path, or ./{head} for a file of that name"
    try:
        home = Path(head).expanduser()
    except RuntimeError:
        who = f"there is no user {head[1:]} here" if head[1:] else "no home folder is known"
        raise UserError(label, who, do) from None
    if head == "~" and (not home.is_absolute() or os.environ.get("HOME") == ""):
        raise UserError(label, f"HOME = {os.environ.get('HOME')} is no folder to begin with", do)
    return str(home)


def output_path(path: Path, suffix: str, content: str) -> Path:
    """A path to write `content` to. UserError if it is a folder, or if its name does not end in `suffix`."""
    if path.is_dir():
        raise UserError(f"{path} is a folder", f"{content} is one file, {suffix}", "give the name of the file too")
    if path.suffix.lower() != suffix:
        name = path.with_suffix(suffix) if path.suffix else f"{path}{suffix}"
        raise UserError(
            f"{path} ends in {path.suffix or 'no suffix'}", f"{content} is written as {suffix}", f"name it {name}"
        )
    return path


def read_bytes(path: Path, label: str, do: str) -> bytes:
    """The bytes of a text file of at most 4 MiB. UserError if it is larger, in UTF-16 or UTF-32, or holds a NUL byte.

    `label` stands before the path in messages, `do` says which file is wanted.
    """
    try:
        with path.open("rb") as file:
            data = file.read(_LONGEST + 1)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        why = str(error.strerror if isinstance(error, OSError) else error)
        dead = isinstance(error, FileNotFoundError) and path.is_symlink()
        linked = f": it is a link to {path.readlink()}" if dead else ""
        raise UserError(f"{label}{path} cannot be read", why + linked, do) from None
    if len(data) > _LONGEST:
        raise UserError(f"{label}{path} holds more than {_LONGEST >> 20} MiB", "it is no text file of this kind", do)
    for mark, encoding in _MARKS.items():
        if data.startswith(mark):
            raise UserError(f"{label}{path} is in {encoding}", "UTF-8 is needed", "save it as UTF-8")
    if b"\0" in data:
        line = _line(data, data.index(b"\0"))
        raise UserError(f"{label}{path}: line {line} holds a NUL byte", "it is no text file, or one in UTF-16", do)
    return data


def read_text(path: Path, label: str, do: str) -> str:
    """A text file in UTF-8, with or without a byte-order mark. UserError as in `read_bytes`, or if it is not UTF-8."""
    data = read_bytes(path, label, do)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        at = error.start
        given = f"{label}{path}: line {_line(data, at)} holds the byte 0x{error.object[at]:02x}"
        raise UserError(given, "which is not UTF-8", "save it as UTF-8") from None


def is_name(name: str) -> bool:
    """Can what a user registers be called so? It may name a folder."""
    return re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}", name) is not None


def check_name(kind: str, name: str, *, taken: bool) -> None:
    """UserError where nothing of this kind may be registered by that name."""
    if not is_name(name):
        raise UserError(f"{kind} name {name!a}", NAMES)
    if taken:
        raise UserError(f"{kind} name {name}", "it is taken", "choose another")


def calling_file() -> str:
    """The file of the code that called the function that calls this; "__main__" for all cells of a notebook, each of
    which is a file to Python.
    """
    frame = inspect.currentframe()
    for _ in range(2):
        frame = None if frame is None else frame.f_back
    assert frame is not None, "CPython gives frames"
    main = frame.f_globals.get("__name__") == "__main__"
    return "__main__" if main else str(Path(frame.f_code.co_filename).resolve())


def _line(data: bytes, at: int) -> int:
    return data.count(b"\n", 0, at) + 1
