"""`coupled-analyze claims`: what the papers claim, each with a verdict by a rule that was written down first."""

import argparse
from pathlib import Path

from analysis.claims import claims, figure, table
from analysis.commands import printing
from coupled.terminal.console import Console, say
from coupled.terminal.counting import Counting
from coupled.terminal.entry import Parser


def add(command: Parser) -> None:
    """Adds what the command takes."""
    command.description = (
        "Decides the claims of the papers from sweeps (docs/claims.md) and prints a scoreboard: claim, verdict, effect "
        "with its 95 % interval, seeds. Each claim takes the sweeps that vary what it speaks of and have its arms, "
        "whatever they are called; configs/claims has one sweep for each. Features of checkpoints are made where a "
        "rule looks at them, and kept. Writes claims.csv, .png and .svg into SWEEP/analysis of the first sweep, and "
        "the CSV file into that of the others, from where `coupled-analyze report SWEEP` shows it."
    )
    command.add_argument("sweeps", nargs="+", type=Path, metavar="SWEEP", help="folder of a sweep, such as runs/seeds")
    printing.add_output(command)
    command.add_argument("--verbose", action="store_true", help="also print what each verdict rests on")


def run(options: argparse.Namespace) -> int:
    """Decides, prints and writes the claims."""
    with Counting() as counting:
        findings = claims(options.sweeps, counting.count)
    first, *_ = [table.write(sweep, findings) for sweep in options.sweeps]
    drawn = figure.save(options.sweeps[0], findings)
    if options.verbose:
        for line in table.verbose_lines(findings):
            say(line)
        print()
    Console().print(table.rich_table(findings))
    for line in table.lines(findings):
        say(line)
    printing.results([first, *drawn])
    return 0
