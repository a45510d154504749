"""`coupled-analyze accuracy`: alignment to the reference beside accuracy, over one run or many."""

import argparse

from analysis.commands import printing
from analysis.commands.evaluated import add_options, evaluations
from analysis.commands.probe import shots
from analysis.evaluation.accuracy import CLASSIFIERS, FEATURES, MEASURES, accuracy, figure, table
from analysis.evaluation.probe.curves import NOT_OPTIMAL
from coupled.terminal.console import Console, say
from coupled.terminal.counting import Counting
from coupled.terminal.entry import Parser


def add(command: Parser) -> None:
    """Adds what the command takes."""
    command.description = (
        "Writes accuracy.csv, accuracy.png and accuracy.svg into the first run's analysis/: for every run, "
        "kept step and arm that has a reference, alignment to it and accuracy on test with intervals, the paired "
        "difference to the reference's accuracy, and correlations within and between runs."
    )
    add_options(command)
    command.add_argument("--classifier", choices=CLASSIFIERS, default="linear", help="default: linear")
    command.add_argument(
        "--shots", type=shots, default=None, metavar="M", help="train samples a class, or `all` (default: all)"
    )
    command.add_argument("--feature", choices=FEATURES, default="h", help="default: h")
    command.add_argument("--measure", choices=tuple(MEASURES), default="cka", help="debiased CKA or RSA (default: cka)")
    command.add_argument("--labelling", metavar="NAME", help="whose classes (default: the first run's first labelling)")


def run(options: argparse.Namespace) -> int:
    """Writes and prints the points of all runs together."""
    asked = {name: getattr(options, name) for name in ("classifier", "shots", "feature", "measure", "labelling")}
    opened = list(evaluations(options))
    with Counting() as counting:
        for evaluation in opened:
            evaluation.progress = counting.count
        # Handed over one by one: a run that is done with holds its data set no longer.
        accuracies = accuracy((opened.pop(0) for _ in range(len(opened))), **asked)
    paths = [table.write(accuracies), *figure.save(accuracies)]
    for part in table.printed(accuracies):
        Console().print(part)
    for line in table.lines(accuracies):
        say(line)
    flags = dict.fromkeys(flag for point in accuracies.points for flag in point.flags)
    for flag in (flag for flag in flags if flag.startswith(NOT_OPTIMAL)):
        printing.warning(flag)
    printing.results(paths)
    return 0
