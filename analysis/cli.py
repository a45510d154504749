"""`coupled-analyze`: from run directories to tables, figures and reports."""

from collections.abc import Sequence

from analysis.commands import bounds, curves, divergence, report
from coupled.terminal import Parser, guarded

_COMMANDS = (curves, bounds, divergence, report)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command; returns the exit code: 0, 2 for a user's mistake, 3 for a damaged run or a full disk."""

    def body() -> int:
        options = _parser().parse_args(arguments)
        return options.command(options)

    return guarded("coupled-analyze", body)


def _parser() -> Parser:
    parser = Parser(prog="coupled-analyze", description="Turn the records of runs into results.")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND", parser_class=Parser)
    for command in _COMMANDS:
        command.add(commands)
    return parser
