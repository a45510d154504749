"""What every command of `coupled-analyze` shows in the same way."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final, TextIO

from rich.console import Console

EXIT_CODES: Final = "Exit code: 0 done, 2 a mistake in what was asked, 3 a damaged run or a failed write."
_LEAST_WIDTH: Final = 80  # columns that a table of numbers needs


def console() -> Console:
    """A console that wraps a table too wide for it, where rich would cut digits off."""
    made = Console(highlight=False)
    return made if made.width >= _LEAST_WIDTH else Console(highlight=False, width=_LEAST_WIDTH)


def results(written: Sequence[Path], file: TextIO | None = None) -> None:
    """The last line of a command: where its results are. All lie in one folder."""
    names = " ".join(path.name for path in written)
    print(f"results: {written[0].parent}/ ({names})", file=file or sys.stdout)
