"""`coupled-analyze probe`: accuracies of classifiers on frozen features at any number of labels."""

import argparse
from typing import Any, Final

from analysis.commands import printing
from analysis.commands.evaluated import add_options, counted, evaluations
from analysis.evaluation.probe import figure, probe, table
from analysis.evaluation.probe.curves import NOT_OPTIMAL
from analysis.evaluation.probe.settings import DRAWS, FEATURES, GROUPS, PROTOCOLS, SHOTS, settings
from analysis.output import files
from coupled.terminal.console import Console

RESULTS: Final = (table.CSV_NAME, *figure.NAMES)


def add(commands: Any) -> None:
    """Adds the command to the subparsers `commands`."""
    command = commands.add_parser(
        "probe",
        help="accuracy of centres, linear probes and kNN at any number of labels: table, figure, CSV",
        description="Writes RUN/analysis/probe.csv, probe.png and probe.svg for each run, finished or not: train and "
        "test accuracy of the nearest class centre, a linear probe and k nearest neighbours on frozen h and z of kept "
        "checkpoints, C-way and two-way, with intervals, and the paired differences to the reference's.",
    )
    add_options(command)
    command.add_argument(
        "--shots", nargs="+", type=shots, metavar="M",
        help=f"train samples a class, numbers and `all` (default: {' '.join(map(_word, SHOTS))})",
    )  # fmt: skip
    command.add_argument("--draws", type=int, metavar="N", help=f"draws of shots (default: {DRAWS})")
    command.add_argument(
        "--protocol", choices=PROTOCOLS, default="default",
        help="p1, p2: linear probe, feature and shots of the first or second paper's code (default: at its optimum)",
    )  # fmt: skip
    command.add_argument("--classifiers", nargs="+", choices=GROUPS, default=GROUPS, help="default: all three")
    command.add_argument("--features", nargs="+", choices=FEATURES, help="default: h and z")
    command.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Writes and prints the accuracies of each run."""
    asked: dict[str, Any] = {
        "shots": options.shots, "draws": options.draws, "protocol": options.protocol,
        "groups": options.classifiers, "features": options.features,
    }  # fmt: skip
    settings(**asked)
    for evaluation in evaluations(options):
        with counted(evaluation):
            of_run, curves = evaluation.run, probe(evaluation, **asked)
        paths = [table.write(of_run, curves), *figure.save(of_run, curves)]
        files.remove_others(of_run.path / files.FOLDER, RESULTS, paths)
        for part in table.printed(of_run, curves):
            Console().print(part)
        for flag in dict.fromkeys(flag for curve in curves for flag in curve.flags if flag.startswith(NOT_OPTIMAL)):
            printing.warning(flag)
        printing.results(paths)
    return 0


def shots(text: str) -> int | None:
    """Shots as they are given: a whole number, or `all`, which is None."""
    if text == "all":
        return None
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is neither a whole number nor all") from None


def _word(shots: int | None) -> str:
    return "all" if shots is None else str(shots)
