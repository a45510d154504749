"""`coupled-analyze losses`: contrastive losses, gaps and bounds of kept checkpoints, over whole splits and batches."""

import argparse
from typing import Final

from analysis.commands import printing
from analysis.commands.evaluated import add_options, counted, evaluations
from analysis.evaluation.losses import SCOPES, Row, classes, figure, losses, table
from analysis.evaluation.losses.settings import SECOND_VIEWS
from analysis.output import files
from analysis.runs.run import Run
from coupled.terminal.entry import Parser

RESULTS: Final = (
    table.CSV_NAME, *(name for scope in SCOPES for name in figure.names(scope)), *classes.NAMES,
)  # fmt: skip


def add(command: Parser) -> None:
    """Adds what the command takes."""
    command.description = (
        "Evaluates every contrastive loss, loss gap, same-class mass and bound of every arm on two fixed "
        "views of images of train and test: over one similarity matrix of all of them (scope split) and over "
        "mini-batches (scope batch). Writes RUN/analysis/losses.csv, losses_split.png, losses_batch.png and both as "
        ".svg for each run; where numbers of classes differ between runs or labellings, losses_classes.png and .svg "
        "for the first. Needs no records, and the data set."
    )
    add_options(command)
    command.add_argument(
        "--temperature", type=float, metavar="TAU",
        help="one temperature for all arms (default: each arm's own; 1 is the first paper's)",
    )  # fmt: skip
    command.add_argument("--batch", type=int, metavar="B", help="batch size of scope batch (default: the run's)")
    command.add_argument(
        "--second-view", choices=SECOND_VIEWS, default="augmented",
        help="plain: view 2 is the image un-augmented, the first paper's protocol (default: augmented)",
    )  # fmt: skip


def run(options: argparse.Namespace) -> int:
    """Writes and prints the losses of each run."""
    asked = {"temperature": options.temperature, "batch": options.batch, "second": options.second_view}
    every: list[tuple[Run, list[Row]]] = []
    for evaluation in evaluations(options):
        with counted(evaluation):
            of_run, rows = evaluation.run, losses(evaluation, **asked)
        every.append((of_run, rows))
        paths = [table.write(of_run, rows), *figure.save(of_run, rows)]
        files.remove_others(files.folder(of_run.path), RESULTS, paths)
        printing.show(table.printed(of_run, rows))
        for violation in table.violations(of_run, rows):
            printing.warning(violation)
        printing.results(paths)
    if classes.has_classes(every):
        printing.results(classes.save(every))
    return 0
