"""`coupled-analyze picture`: samples of some classes as points of a plane, for every arm and kept checkpoint."""

import argparse

from analysis.commands import printing
from analysis.commands.evaluated import add_options, counted, evaluations
from analysis.evaluation.picture import FEATURES, MOST_STEPS, figure, picture, table
from analysis.evaluation.picture.embedding import METHODS
from analysis.evaluation.picture.samples import CLASSES, PER_CLASS
from analysis.evaluation.samples import SPLITS
from coupled.terminal.console import Console
from coupled.terminal.entry import Parser


def add(command: Parser) -> None:
    """Adds what the command takes."""
    command.description = (
        "Writes RUN/analysis/picture.png, picture.svg and picture.csv for each run: samples of some "
        "classes as points of a plane. Pictures of one arm are turned onto each other, so that motion means something. "
        f"Of the kept checkpoints at most {MOST_STEPS} are shown unless --steps names them."
    )
    add_options(command)
    command.add_argument(
        "--classes", type=int, default=CLASSES, metavar="N", help=f"how many classes are shown (default: {CLASSES})"
    )
    command.add_argument(
        "--per-class", type=int, default=PER_CLASS, metavar="N", help=f"samples of each class (default: {PER_CLASS})"
    )
    command.add_argument("--feature", choices=FEATURES, default="h", help="default: h")
    command.add_argument("--split", choices=SPLITS, default="test", help="default: test")
    command.add_argument(
        "--method", choices=METHODS, default="umap", help="default: umap, of the extra evaluation; pca needs none"
    )
    command.add_argument("--labelling", metavar="NAME", help="whose classes (default: the run's first labelling)")


def run(options: argparse.Namespace) -> int:
    """Draws the pictures of each run."""
    asked = {name: getattr(options, name) for name in ("classes", "per_class", "feature", "split", "method")}
    for evaluation in evaluations(options):
        with counted(evaluation):
            most = None if options.steps else MOST_STEPS
            pictures = picture(evaluation, **asked, labelling=options.labelling, most=most)
        paths = [table.write(evaluation.run, pictures), *figure.save(evaluation.run, pictures)]
        Console().print(table.rich_table(evaluation.run, pictures))
        printing.results(paths)
    return 0
