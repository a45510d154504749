"""`coupled-analyze probe`: accuracies of classifiers on frozen features at any number of labels."""

import argparse
from typing import Any, Final

from analysis.commands import printing
from analysis.commands.evaluated import add_options, counted, evaluations
from analysis.evaluation.features import Evaluation
from analysis.evaluation.few_shot import FewShot, few_shot
from analysis.evaluation.few_shot import figure as errors_figure
from analysis.evaluation.few_shot import table as errors_table
from analysis.evaluation.probe import figure, probe, table
from analysis.evaluation.probe.curves import NOT_OPTIMAL
from analysis.evaluation.probe.settings import DRAWS, FEATURES, GROUPS, PROTOCOLS, SHOTS, Settings, settings
from analysis.output import files
from coupled.errors import UserError
from coupled.terminal.console import Console
from coupled.terminal.entry import Parser

RESULTS: Final = (
    table.CSV_NAME, *figure.NAMES, errors_table.CSV_NAME, errors_table.PAIRS_NAME, *errors_figure.NAMES,
)  # fmt: skip


def add(command: Parser) -> None:
    """Adds what the command takes."""
    command.description = (
        "Writes RUN/analysis/probe.csv, probe.png and probe.svg for each run, finished or not: train and "
        "test accuracy of the nearest class centre, a linear probe and k nearest neighbours on frozen h and z of kept "
        "checkpoints, C-way and two-way, with intervals, and the paired differences to the reference's. few_shot.csv, "
        "few_shot.png and few_shot.svg hold the few-shot error of the nearest centre beside three bounds on it."
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
    command.add_argument(
        "--pairs", action="store_true", help="also few_shot_pairs.csv: what every pair of classes adds to a bound"
    )


def run(options: argparse.Namespace) -> int:
    """Writes and prints the accuracies of each run."""
    asked: dict[str, Any] = {
        "shots": options.shots, "draws": options.draws, "protocol": options.protocol,
        "groups": options.classifiers, "features": options.features,
    }  # fmt: skip
    chosen = settings(**asked)
    for evaluation in evaluations(options):
        of_run = evaluation.run
        with counted(evaluation):
            curves = probe(evaluation, **asked)
            measured = _errors(evaluation, chosen, options.pairs)
        paths = [table.write(of_run, curves), *figure.save(of_run, curves)]
        tables = [*table.printed(of_run, curves)]
        if measured is not None:
            paths += [*errors_table.write(of_run, measured), *errors_figure.save(of_run, measured)]
            tables += errors_table.printed(of_run, measured)
        files.remove_others(files.folder(of_run.path), RESULTS, paths)
        for part in tables:
            Console().print(part)
        short = dict.fromkeys(flag for curve in curves for flag in curve.flags if flag.startswith(NOT_OPTIMAL))
        for fault in (*short, *(() if measured is None else measured.violations())):
            printing.warning(fault)
        printing.results(paths)
    return 0


def _errors(evaluation: Evaluation, chosen: Settings, pairs: bool) -> FewShot | None:
    """Errors of the nearest centre beside their bounds; None where it is not asked for, or no number of shots is."""
    if "centre" not in chosen.groups or not chosen.few:
        return None
    try:
        return few_shot(evaluation, shots=chosen.few, draws=chosen.draws, features=chosen.features, pairs=pairs)
    except UserError as error:
        # Accuracies, which took the time, are there.
        printing.warning(f"no errors beside bounds: {error}")
        return None


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
