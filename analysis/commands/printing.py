"""What several commands of `coupled-analyze` print."""

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, TextIO

from rich.table import Table

from analysis.divergence import twin_faults
from analysis.runs.curve import Curve
from analysis.runs.run import Run
from coupled.terminal.console import Console, say
from coupled.terminal.entry import Parser


def add_all_steps(command: Parser) -> None:
    """Adds the option that keeps a long run's CSV files whole."""
    command.add_argument(
        "--all-steps",
        action="store_true",
        help="every recorded step in CSV files (default: of more than 2,000 all below 2000, then ever fewer)",
    )


def add_output(command: Any) -> None:
    """Adds the option that names a folder for results, `files.results_in`: `analysis.commands.run` heeds it."""
    command.add_argument(
        "--output",
        type=Path,
        metavar="DIR",
        help="where results go, in a folder DIR/NAME for each run, with nothing written into it "
        "(default: RUN/analysis)",
    )


def add_verbose(command: Parser, what: str) -> None:
    """Adds the option that prints all there is; `what`: in words."""
    command.add_argument("--verbose", action="store_true", help=f"print the rest as well: {what}")


def add_code(command: Parser) -> None:
    """Adds the option that names files with measures of the user's own: what it gives, `register.execute` runs."""
    command.add_argument(
        "--code",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help="a Python file of yours that registers measures (docs/own_code.md); may be given again",
    )


def show(parts: Iterable[Table | str]) -> None:
    """Tables, and lines of text, from the first to the last."""
    console = Console()
    for part in parts:
        if isinstance(part, str):
            say(part)
        else:
            console.print(part)


def results(paths: Sequence[Path], file: TextIO | None = None) -> None:
    """The last line of a command: where its results are. All lie in one folder."""
    names = " ".join(path.name for path in paths)
    say(f"results: {paths[0].parent}/ ({names})", file)


def warning(text: str) -> None:
    """A line on standard error that says what is wrong with a run; the command goes on."""
    print(f"coupled-analyze: warning: {text}", file=sys.stderr)


def twin_warnings(run: Run, curves: Sequence[Curve]) -> None:
    """A warning for every exact twin that left its original."""
    for fault in twin_faults(run, curves):
        warning(f"{fault}; the run was not in lockstep")
