"""`coupled-analyze alignment`: arms beside each other at kept checkpoints, on whole splits, and their weights."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from analysis.commands import printing
from analysis.commands.evaluated import add_options, counted, evaluation, evaluations
from analysis.evaluation.alignment import all_pairs, curves_of, figure, table
from analysis.evaluation.alignment.pairs import Pair
from analysis.evaluation.alignment.weights import comparable, layer_maps
from analysis.evaluation.features import Evaluation
from analysis.output import files
from analysis.runs.run import open_run
from coupled.terminal.console import Console, say
from coupled.terminal.entry import Parser

RESULTS: Final = (
    table.CSV_NAME, table.WEIGHTS_NAME, *figure.NAMES, *figure.ACROSS_NAMES, *figure.LAYERS_NAMES,
)  # fmt: skip


def add(command: Parser) -> None:
    """Adds what the command takes."""
    command.description = (
        "Compares every arm with its reference at kept checkpoints, on images of train and test that are "
        "the same for every run of a data set. Writes RUN/analysis/alignment.csv, alignment_weights.csv (every layer), "
        "alignment.png and alignment.svg for each run. Needs no records, and the data set."
    )
    add_options(command)
    command.add_argument(
        "--pair", nargs=2, action="append", default=[], metavar=("A", "B"),
        help="compare arm A with arm B as well; may be given again",
    )  # fmt: skip
    command.add_argument(
        "--layers", action="store_true", help="every stage of the encoders too, and each with every other: a map"
    )
    command.add_argument(
        "--across", type=Path, metavar="RUN2", help="compare arms with those of the same name in another run as well"
    )


def run(options: argparse.Namespace) -> int:
    """Writes and prints the alignment of each run."""
    # Every path is opened, and what is compared is chosen, before the first result is written.
    across = None
    if options.across is not None:
        across = evaluation(open_run(options.across), options, stages=options.layers)
    opened = list(evaluations(options, stages=options.layers))
    named = [(first, second) for first, second in options.pair]
    chosen = [all_pairs(own, pairs=named, across=across) for own in opened]
    while opened:  # what is done with holds its data set no longer
        _analyse(opened.pop(0), across, chosen.pop(0))
    return 0


def _analyse(own: Evaluation, across: Evaluation | None, pairs: Sequence[Pair]) -> None:
    run = own.run
    with counted(own, *([] if across is None else [across])):
        curves = curves_of(pairs)
        maps = [layer_maps(pair) for pair in pairs if comparable(pair)]
    paths = [*table.write(run, curves, maps), *figure.save(run, curves)]
    files.remove_others(files.folder(run.path), RESULTS, paths)
    Console().print(table.rich_table(run, curves))
    for pair in pairs:
        if not comparable(pair):
            say(f"no weights: {pair.arm} and {pair.compared_with} are networks of other layers")
    printing.twin_warnings(run, curves)
    printing.results(paths)
