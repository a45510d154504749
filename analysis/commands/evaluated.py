"""What the commands that evaluate kept checkpoints share: options, and the features that they ask for."""

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from analysis.commands import printing
from analysis.evaluation.features import Evaluation
from analysis.evaluation.samples import SIZE
from analysis.runs.run import Run, open_run
from coupled.terminal.counting import Counting
from coupled.userfiles import expanded


def add_options(command: Any) -> None:
    """Adds the runs and what chooses checkpoints, samples, data set, device and folder."""
    command.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="run directory, such as runs/quickstart")
    command.add_argument(
        "--steps", nargs="+", type=int, metavar="STEP", help="checkpoints to look at (default: all kept ones)"
    )
    samples = command.add_mutually_exclusive_group()
    samples.add_argument(
        "--samples", type=int, default=SIZE, metavar="N", help=f"images of each split (default: {SIZE:,})"
    )
    samples.add_argument("--all", action="store_true", help="all images of each split")
    command.add_argument(
        "--data", type=expanded, default="", metavar="FOLDER", help="where the data set lies (default: as at training)"
    )
    command.add_argument(
        "--code", type=expanded, action="append", default=[], metavar="FILE",
        help="a file of the run's code.files, in their order",
    )  # fmt: skip
    command.add_argument("--device", choices=("cpu", "cuda"), default="", help="default: the run's own, if it is here")
    command.add_argument(
        "--workers", type=int, metavar="N", help="image folders: processes that decode (default: one a core)"
    )
    printing.add_output(command)


def evaluations(options: argparse.Namespace, **more: Any) -> Iterator[Evaluation]:
    """Every run of a command's options with its features to be, `more` as `Evaluation` takes it: run by run, so that no
    more than one holds its data set. All are opened before the first is given.
    """
    opened = [evaluation(open_run(path), options, **more) for path in options.runs]
    while opened:
        yield opened.pop(0)


@contextmanager
def counted(*opened: Evaluation) -> Iterator[None]:
    """Inside, bars show how far the work on these is."""
    with Counting() as counting:
        for one in opened:
            one.progress = counting.count
        yield


def evaluation(run: Run, options: argparse.Namespace, **more: Any) -> Evaluation:
    """The features of a run by a command's options."""
    return Evaluation(
        run,
        steps=options.steps,
        size=None if options.all else options.samples,
        data=options.data,
        code=options.code,
        device=options.device,
        workers=options.workers,
        **more,
    )
