"""What every command of `coupled-analyze` shows in the same way."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

from coupled.errors import printable


def results(written: Sequence[Path], file: TextIO | None = None) -> None:
    """The last line of a command: where its results are. All lie in one folder."""
    names = " ".join(path.name for path in written)
    print(printable(f"results: {written[0].parent}/ ({names})"), file=file or sys.stdout)
