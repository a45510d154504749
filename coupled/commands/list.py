"""`coupled-run list`: the runs below a folder."""

import argparse
from pathlib import Path

from rich.table import Table

from coupled.config.shipped import FOLDER, names
from coupled.errors import printable
from coupled.reading.listing import COLUMNS, cells, in_words, list_runs
from coupled.terminal.console import Console, say
from coupled.terminal.entry import Parser
from coupled.terminal.shell import shell


def add(command: Parser) -> None:
    """Adds what the command takes."""
    command.add_argument(
        "folder", nargs="?", type=Path, default=Path("runs"), metavar="FOLDER", help="where runs lie (default: runs)"
    )
    command.add_argument("--configs", action="store_true", help="the shipped configs instead, by the names they have")


def run(arguments: argparse.Namespace) -> int:
    """Prints a table, a run a row; or the shipped configs, one a line."""
    if arguments.configs:
        for name in names():
            about = (FOLDER / f"{name}.toml").read_text("utf-8").partition("\n")[0].removeprefix("# ")
            print(f"{name:32} {about}")
        return 0
    runs = list_runs(arguments.folder)
    if not runs:
        say(f"no run in {arguments.folder}; next: coupled-run train quickstart")
        return 0
    table = Table(box=None, pad_edge=False)
    for column in COLUMNS:
        table.add_column(column, justify="right" if column in ("steps", "on disk") else "left", overflow="fold")
    for listed in runs:
        table.add_row(*map(printable, cells(listed)))
    Console().print(table)
    last = next((listed for listed in runs if listed.state in ("stopped", "unfinished")), None)
    do = f"; next: coupled-run resume {shell(last.path)}" if last else ""
    say(f"{in_words(runs, arguments.folder)}{do}")
    return 0
