"""`coupled-run train`: every arm of a config in lockstep."""

import argparse
import os
from pathlib import Path

from coupled.commands.options import add_config, add_ranks, add_terms, ranks_of
from coupled.commands.progress import ProgressReporter
from coupled.config import load
from coupled.driver.assembly import is_finished
from coupled.driver.preflight import anything_to_train
from coupled.driver.train import train
from coupled.errors import printable
from coupled.planning.ranks import default_world
from coupled.ranks.joining import is_rank
from coupled.ranks.launching import launch
from coupled.terminal.entry import Parser
from coupled.terminal.shell import shell


def add(command: Parser) -> None:
    """Adds what the command takes."""
    add_config(command)
    add_ranks(command)
    command.add_argument("--overwrite", action="store_true", help="replace the run that is there")
    add_terms(command)


def run(arguments: argparse.Namespace) -> int:
    """Trains, here or on ranks that it starts."""
    config = load(arguments.config, arguments.set)
    default = default_world(config).ranks if arguments.ranks is None and not is_rank() else 1
    ranks = ranks_of(arguments.ranks, config, default)
    if ranks > 1 and anything_to_train(config, overwrite=arguments.overwrite):
        return launch(arguments.argv, ranks)
    finished = not arguments.overwrite and is_finished(config)
    path = train(
        config,
        overwrite=arguments.overwrite,
        allow_drift=arguments.allow_drift,
        steal=arguments.steal,
        reporter=ProgressReporter(),
    )
    print_done(path, finished)
    return 0


def print_done(path: Path, finished: bool) -> None:
    """The last line: where the results are, and what to do next."""
    if not is_rank() or os.environ["RANK"] == "0":
        done = "already finished, nothing to do" if finished else "done"
        print(printable(f"{done}: records and checkpoints are in {path}; next: coupled-analyze curves {shell(path)}"))
