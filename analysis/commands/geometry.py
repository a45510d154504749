"""`coupled-analyze geometry`: how far kept checkpoints are from the optimum of NSCL, as table, figure and CSV."""

import argparse
from typing import Final

from analysis.commands import printing
from analysis.commands.evaluated import add_options, counted, evaluations
from analysis.evaluation.geometry import figure, geometry, table
from analysis.output import files
from coupled.terminal.console import Console, say
from coupled.terminal.entry import Parser

RESULTS: Final = (table.CSV_NAME, table.AXES_NAME, *figure.NAMES)


def add(command: Parser) -> None:
    """Adds what the command takes."""
    command.description = (
        "Writes RUN/analysis/geometry.csv, geometry.png and geometry.svg for each run, finished or not: "
        "class geometry of z and h at kept checkpoints, each number beside its value where NSCL has its minimum. Where "
        "the data set has several labellings, axes.csv holds the cosines of their decision axes beside the bound."
    )
    add_options(command)


def run(options: argparse.Namespace) -> int:
    """Writes and prints the class geometry of each run."""
    for evaluation in evaluations(options):
        with counted(evaluation):
            of_run, measured = evaluation.run, geometry(evaluation)
        paths = [*table.write(of_run, measured), *figure.save(of_run, measured.curves)]
        files.remove_others(files.folder(of_run.path), RESULTS, paths)
        for part in table.printed(of_run, measured):
            Console().print(part)
        for line in measured.notes:
            say(line)
        for violation in measured.violations():
            printing.warning(violation)
        printing.results(paths)
    return 0
