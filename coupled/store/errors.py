"""The errors of the storage layer: a file cannot be written, or cannot be believed."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from coupled.errors import RunStopped, printable

INTACT: Final = "everything committed before is intact"
_LONGEST: Final = 600  # characters: a hostile name or value never floods a terminal


class StoreError(RunStopped):
    """A file of a run is damaged, hostile or cannot be written. Exit code 3.

    One line has the file, the reason and, where there is a remedy, what to `do`. `do` is our own text: it is never cut.
    """

    def __init__(self, path: Path | str, reason: str, do: str = "") -> None:
        self.path = Path(path) if "\0" not in str(path) else None
        self.reason = one_line(reason)
        super().__init__("; ".join(part for part in (f"{one_line(str(path))}: {self.reason}", do) if part))


class Faults:
    """What a check that goes on behind every fault has found: of each kind in a file the first, the others counted."""

    def __init__(self) -> None:
        self._first: dict[tuple[str, str], StoreError] = {}
        self._others: Counter[tuple[str, str]] = Counter()

    def add(self, error: StoreError, kind: str = "") -> None:
        """`kind`: faults of one file that have it in common are one, and counted. Without it, equal reasons are one."""
        key = (str(error.path), kind or error.reason)
        if key not in self._first:
            self._first[key] = error
        elif kind:
            self._others[key] += 1

    @contextmanager
    def noted(self, kind: str = "") -> Iterator[None]:
        """Takes in the error that ends what is done inside, if one does."""
        try:
            yield
        except StoreError as error:
            self.add(error, kind)

    @property
    def errors(self) -> list[StoreError]:
        """An error for each, in the order in which they were added."""
        return [_with_others(error, self._others[key]) for key, error in self._first.items()]


def _with_others(error: StoreError, others: int) -> StoreError:
    return StoreError(error.path or "", f"{error.reason} (and {others} more of this kind)") if others else error


def one_line(text: str) -> str:
    """The text with everything unprintable escaped, cut to a length that fits a message."""
    beginning = printable(text[:_LONGEST])
    return beginning + "…" if len(text) > _LONGEST else beginning


@contextmanager
def naming(path: Path, left: str = "") -> Iterator[None]:
    """Turns an operating-system error into a `StoreError` that names the file and, if given, what is left."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise StoreError(path, "; ".join(part for part in (reason, left) if part)) from error
