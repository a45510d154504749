"""The commands of `coupled-run`, one file each: `add` says what it takes, `run` does it and returns the exit code."""

import argparse
import sys
from typing import Final

from coupled.commands import bench, diff, export, plan, resume, train, verify
from coupled.commands.options import without_ranks
from coupled.terminal.entry import Parser

COMMANDS: Final = (train, resume, plan, bench, verify, diff, export)


def run(argv: list[str] | None = None) -> int:
    """Run one command; returns its exit code. Raises UserError and RunStopped."""
    arguments = parser().parse_args(argv)
    arguments.argv = without_ranks(sys.argv[1:] if argv is None else argv)
    return arguments.run(arguments)


def parser() -> argparse.ArgumentParser:
    """The parser of all commands."""
    whole = Parser(
        prog="coupled-run",
        description="Train contrastive objectives in lockstep from one seed, one batch stream and identical views.",
    )
    commands = whole.add_subparsers(title="commands", required=True, metavar="COMMAND", parser_class=Parser)
    for command in COMMANDS:
        command.add(commands)
    return whole
