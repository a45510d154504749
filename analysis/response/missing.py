"""What cannot be told of some arms, and why: one line for all arms that share a reason."""


class Missing:
    """Collects reasons; `lines` has each once."""

    def __init__(self) -> None:
        self._arms: dict[tuple[str, str], list[str]] = {}

    def add(self, what: str, why: str, arm: str | None = None) -> None:
        """There is no `what` (of an arm), because of `why`."""
        self._arms.setdefault((what, why), []).extend([] if arm is None else [arm])

    def lines(self) -> list[str]:
        """ "no path bounds of a, b: why"."""
        return [
            f"no {what}{' of ' if arms else ''}{', '.join(dict.fromkeys(arms))}: {why}"
            for (what, why), arms in self._arms.items()
        ]
