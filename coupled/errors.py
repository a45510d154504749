"""The two ways in which a command ends early, and the one line that a user reads."""

import difflib
import unicodedata
from collections.abc import Iterable
from typing import Any

# They look like a Latin letter or a hyphen in most fonts, after NFKC has undone ligatures, widths and spaces.
_LATIN = (
    str.maketrans("аԁеһіјӏорԛсѕуѵԝхАВЕНІЈКМОРСЅТХ", "adehijlopqcsyvwxABEHIJKMOPCSTX")  # Cyrillic
    | str.maketrans("αικνορυΑΒΕΖΗΙΚΜΝΟΡΤΥΧ", "aikvopuABEZHIKMNOPTYX")  # Greek
    | str.maketrans("ɑɡı‐‒–—−", "agi-----")
)


class EarlyEnd(Exception):  # noqa: N818 - the two ways to end, below, bear the names
    """A command ends before its work is done: the base of `UserError` and `RunStopped`."""

    exit_code: int
    quiet = False  # another rank prints the line
    agreed = False  # all ranks have agreed to end with it: each waits for the others before it leaves

    def __reduce__(self) -> tuple[Any, ...]:
        # From a process to the one that started it: what is raised has other arguments than its constructor takes.
        return _raised, (type(self), self.args), self.__dict__


class UserError(EarlyEnd):
    """A user's mistake: one line that says what was given, what is allowed, what to do. Exit code 2."""

    exit_code = 2
    field = ""  # of a config, by its dotted name, whose value is not one of `fits`
    fits: tuple[str, ...] = ()

    def __init__(self, given: str, allowed: str, do: str = "") -> None:
        super().__init__(printable("; ".join(part for part in (given, allowed, do) if part)))


class RunStopped(EarlyEnd):
    """A run that had to stop: what happened and what is left, in one line. Exit code 3."""

    exit_code = 3

    def __init__(self, message: str = "") -> None:
        super().__init__(printable(message))


class Preempted(RunStopped):
    """A run that was asked to stop and did: how to go on. Exit code 143, as of a process that SIGTERM ended."""

    exit_code = 143


def _raised(kind: type[EarlyEnd], arguments: tuple[Any, ...]) -> EarlyEnd:
    error = kind.__new__(kind)
    error.args = arguments
    return error


def raised(error: BaseException) -> str:
    """What somebody's code raised, in a line: its type and the first line of its message."""
    return f"{type(error).__name__}: {next(iter(str(error).splitlines()), '') or 'no message'}"


def printable(text: str) -> str:
    """The text with everything unprintable escaped: line ends, control and invisible characters, odd spaces."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def told_apart(name: str, others: Iterable[str]) -> str:
    """A name as a message shows it: quoted, with all but ASCII escaped, if one of `others` looks equal."""
    plain = name.isascii() and name.isprintable() and name == name.strip()
    return name if plain or not any(_looks_like(name, other) for other in others) else ascii(name)


def unknown(kind: str, name: str, valid: Iterable[str], where: str = "") -> UserError:
    """The error for a name that is not one of `valid`, with the nearest valid one."""
    names = list(valid)
    equal = [other for other in names if _looks_like(name, other)]
    near = equal or difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f"did you mean {where}{told_apart(near[0], [name])}?" if near else ""
    error = UserError(f"unknown {kind} {where}{told_apart(name, equal)}", "allowed: " + ", ".join(names), hint)
    if "." in kind:
        error.field, error.fits = kind, tuple(names)
    return error


def _looks_like(name: str, other: str) -> bool:
    return name != other and _looks(name) == _looks(other)


def _looks(name: str) -> str:
    """The name without the differences that people cannot see."""
    text = unicodedata.normalize("NFKC", name)
    seen = "".join(c for c in text if unicodedata.category(c) != "Cf" and not "\ufe00" <= c <= "\ufe0f")
    return unicodedata.normalize("NFKC", seen.translate(_LATIN)).strip()
