"""`coupled-run train`: every arm of a config in lockstep."""

import argparse
import os
import sys
from contextlib import nullcontext
from pathlib import Path

from coupled.commands.options import add_config, add_ranks, add_terms, add_track, ranks_of, tracked
from coupled.commands.progress import ProgressReporter
from coupled.config import load
from coupled.driver.assembly import is_finished
from coupled.driver.preflight import anything_to_train
from coupled.driver.signals import supervised
from coupled.driver.train import train
from coupled.errors import printable
from coupled.planning.ranks import default_world, too_many_threads
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
    add_track(command)
    command.add_argument(
        "--supervised",
        action="store_true",
        help="for a program that starts this one and holds its stdin: no signal counts as a second one, and the end of "
        "stdin is a SIGTERM",
    )


def run(arguments: argparse.Namespace) -> int:
    """Trains, here or on ranks that it starts."""
    config = load(arguments.config, tracked(arguments))
    default = default_world(config).ranks if arguments.ranks is None and not is_rank() else 1
    ranks = ranks_of(arguments.ranks, config, default)
    if ranks > 1 and anything_to_train(config, overwrite=arguments.overwrite):
        return launch(arguments.argv, ranks, supervised=arguments.supervised)
    if line := too_many_threads(config, 1):
        print(printable(f"coupled-run: warning: {line}"), file=sys.stderr)
    finished = not arguments.overwrite and is_finished(config)
    with supervised(alone=not is_rank()) if arguments.supervised else nullcontext() as preemption:
        path = train(
            config,
            overwrite=arguments.overwrite,
            allow_drift=arguments.allow_drift,
            steal=arguments.steal,
            reporter=ProgressReporter(),
            preemption=preemption,
        )
    print_done(path, finished)
    return 0


def print_done(path: Path, finished: bool) -> None:
    """The last line: where the results are, and what to do next."""
    if not is_rank() or os.environ["RANK"] == "0":
        done = "already finished, nothing to do" if finished else "done"
        print(printable(f"{done}: records and checkpoints are in {path}; next: coupled-analyze curves {shell(path)}"))
