"""`coupled-run resume`: go on with a run from its newest saved state."""

import argparse
from math import prod
from pathlib import Path

from coupled.commands.options import (
    add_ranks,
    add_run,
    add_set,
    add_terms,
    add_track,
    is_started,
    ranks_of,
    tracked,
)
from coupled.commands.progress import ProgressReporter
from coupled.commands.train import print_done
from coupled.driver.resuming import ResumeTerms, config_of
from coupled.driver.train import mended, resume
from coupled.ranks.launching import launch
from coupled.reading.imported import refuse_imported
from coupled.reading.log import last_ranks
from coupled.reading.run_json import refuse_earlier_format
from coupled.store import state
from coupled.terminal.entry import Parser


def add(command: Parser) -> None:
    """Adds what the command takes."""
    add_run(command)
    command.add_argument(
        "--extend", type=int, metavar="STEPS", help="make it a run of this length, where its schedule goes that far"
    )
    command.add_argument(
        "--from", type=int, dest="from_step", metavar="STEP", help="from the newest state at or before this step"
    )
    add_set(command, "elastic fields only (paths.data, …)")
    add_ranks(command)
    add_terms(command)
    add_track(command)


def run(arguments: argparse.Namespace) -> int:
    """Goes on with a run, on as many ranks as it was last started with."""
    path = Path(arguments.run_directory)
    terms = ResumeTerms(arguments.from_step, allow_drift=arguments.allow_drift, steal=arguments.steal)
    finished = arguments.extend is None and arguments.from_step is None and state(path) == "finished"
    if not is_started(arguments.ranks) and not finished:
        refuse_earlier_format(path)
        refuse_imported(path)
        mended(path)
        config, _ = config_of(path, extend=arguments.extend, overrides=tracked(arguments))
        ranks = ranks_of(arguments.ranks, config, prod(last_ranks(path)))
        if ranks > 1:
            return launch(arguments.argv, ranks)
    path = resume(
        arguments.run_directory,
        extend=arguments.extend,
        terms=terms,
        overrides=tracked(arguments),
        reporter=ProgressReporter(),
    )
    print_done(path, finished)
    return 0
