"""`coupled-analyze import`: checkpoints of the papers' code as a run directory."""

import argparse
from pathlib import Path
from typing import Final

from analysis.foreign import Origin, import_checkpoints
from coupled.errors import UserError, printable
from coupled.terminal.counting import Counting
from coupled.terminal.entry import Parser
from coupled.terminal.shell import shell
from coupled.userfiles import expanded

_RUNS: Final = Path("runs")


def add(command: Parser) -> None:
    """Adds what the command takes."""
    command.description = (
        "Makes a run directory of the checkpoints in DIR/dcl, nscl, scl and ce, or in the folders of "
        "--arm: snapshot_<epoch>.pth or epoch_<n>.pth. Nothing in a file is run. docs/imported.md has more."
    )
    command.add_argument("directory", nargs="?", metavar="DIR", type=expanded, help="folder with a folder for each arm")
    command.add_argument(
        "--arm", action="append", default=[], metavar="NAME=DIR",
        help="an arm and the folder of its checkpoints; may be given again",
    )  # fmt: skip
    command.add_argument("--data-set", required=True, metavar="NAME", help="what was trained on, such as cifar100")
    command.add_argument("--labelling", metavar="NAME", help="its labels (default: the data set's own)")
    command.add_argument("--data", type=expanded, default="", metavar="FOLDER", help="where the data set lies")
    command.add_argument(
        "--code", type=expanded, action="append", default=[], metavar="FILE", help="a file that registers the data set"
    )
    command.add_argument(
        "--batch", type=int, metavar="B", help="batch size: steps are epochs times N/B (default: steps are epochs)"
    )
    command.add_argument("--epochs", nargs="+", type=int, default=[], metavar="EPOCH", help="only these (default: all)")
    command.add_argument("--heads", type=int, metavar="N", help="attention heads of a ViT (default: 12)")
    command.add_argument("--size", type=int, metavar="PIXELS", help="side of the images (default: the data set's own)")
    for name in ("mean", "std"):
        command.add_argument(
            f"--{name}", nargs=3, type=float, metavar=("R", "G", "B"),
            help=f"{name} that the networks' images were normalised by (default: the papers')",
        )  # fmt: skip
    command.add_argument(
        "--output", type=expanded, metavar="RUN", help="the run directory (default: runs/<name of DIR>)"
    )


def run(options: argparse.Namespace) -> int:
    """Makes the run."""
    origin = Origin(
        data_set=options.data_set,
        labelling=options.labelling,
        data=options.data,
        code=options.code,
        batch=options.batch,
        size=options.size,
        mean=options.mean and tuple(options.mean),
        std=options.std and tuple(options.std),
    )
    with Counting() as counting:
        path = import_checkpoints(
            options.directory,
            _output(options),
            origin,
            arms=[_arm(text) for text in options.arm],
            epochs=options.epochs,
            heads=options.heads,
            progress=counting.count,
        )
    print(printable(f"done: the checkpoints are in {path}; next: coupled-analyze alignment {shell(path)}"))
    return 0


def _arm(text: str) -> tuple[str, str]:
    name, equals, folder = text.partition("=")
    if not (name and equals and folder):
        raise UserError(f"--arm {text}", "NAME=DIR is needed", "such as --arm nscl=checkpoints/nscl")
    return name, expanded(folder, "--arm")


def _output(options: argparse.Namespace) -> Path:
    if options.output is not None:
        return Path(options.output)
    name = "imported" if options.directory is None else Path(options.directory).resolve().name
    return _RUNS / (name or "imported")
