"""The two ways a command ends early, and the one line a user reads."""


class UserError(Exception):
    """A user's mistake: one line that says what was given, what is allowed, what to do. Exit code 2."""

    exit_code = 2

    def __init__(self, given: str, allowed: str, do: str = "") -> None:
        super().__init__("; ".join(part for part in (given, allowed, do) if part))


class RunStopped(Exception):  # noqa: N818 - a run that had to stop is not a programming error
    """A run that had to stop: what happened and what is left. Exit code 3."""

    exit_code = 3
