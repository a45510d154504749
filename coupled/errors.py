"""The two ways a command ends early, and the one line a user reads."""

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """A user's mistake: one line that says what was given, what is allowed, what to do. Exit code 2."""

    exit_code = 2

    def __init__(self, given: str, allowed: str, do: str = "") -> None:
        super().__init__("; ".join(part for part in (given, allowed, do) if part))


class RunStopped(Exception):  # noqa: N818 - a run that had to stop is not a programming error
    """A run that had to stop: what happened and what is left. Exit code 3."""

    exit_code = 3


class Preempted(RunStopped):
    """A run that was asked to stop and did: how to go on. Exit code 143, as of a process that SIGTERM ended."""

    exit_code = 143


def unknown(kind: str, name: str, valid: Iterable[str], where: str = "") -> UserError:
    """The error for a name that is not one of `valid`, with the nearest valid one."""
    names = list(valid)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f"did you mean {where}{near[0]}?" if near else ""
    return UserError(f"unknown {kind} {where}{name}", "allowed: " + ", ".join(names), hint)
