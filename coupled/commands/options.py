"""Options that several commands take, and how many ranks they ask for."""

import argparse
import json
from dataclasses import fields
from pathlib import Path
from typing import Final

from coupled.commands.reference import field_names
from coupled.config import Config
from coupled.config.schema import Log
from coupled.errors import UserError
from coupled.ranks.joining import is_rank
from coupled.ranks.placement import place
from coupled.terminal.entry import Parser

TRACKERS: Final[tuple[str, ...]] = fields(Log)[0].metadata["choices"]
FIELDS = "fields of a config: coupled-run fields [SECTION] explains them"


def add_config(command: Parser) -> None:
    """A config file and overrides of its fields."""
    command.notes = (FIELDS, *command.notes)
    command.add_argument("config", type=Path, metavar="CONFIG", help="TOML file, or a shipped one by name: quickstart")
    add_set(command, "override a field (a TOML value; a bare word is a string); may be given again")


def add_run(command: Parser) -> None:
    """A run directory."""
    command.add_argument("run_directory", type=Path, metavar="RUN", help="run directory, such as runs/quickstart")


def add_set(command: Parser, purpose: str) -> None:
    """Overrides of config fields."""
    action = command.add_argument("--set", action="append", default=[], metavar="section.field=value", help=purpose)
    action.completer = lambda **_: [f"{field}=" for field in field_names()]  # pyright: ignore[reportAttributeAccessIssue]


def add_drift(command: Parser) -> None:
    """Whether a run that is there resumes under other conditions."""
    command.add_argument(
        "--allow-drift", action="store_true", help="go on under other libraries, machine or data; the run records it"
    )


def add_terms(command: Parser) -> None:
    """The terms on which a run that is there resumes."""
    add_drift(command)
    command.add_argument(
        "--steal", action="store_true", help="take the run's lock from whoever has it (file systems without locks)"
    )


def add_track(command: Parser) -> None:
    """Trackers that the run is mirrored to."""
    command.add_argument(
        "--track",
        action="append",
        choices=TRACKERS,
        metavar="TRACKER",
        help=f"mirror losses, gaps and CKA to {', '.join(TRACKERS[:-1])} or {TRACKERS[-1]} (docs/watch.md); may be "
        "given again",
    )


def tracked(arguments: argparse.Namespace) -> list[str]:
    """The overrides that were given, --track among them."""
    return [*arguments.set, *([f"log.trackers={json.dumps(arguments.track)}"] if arguments.track else [])]


def add_ranks(command: Parser) -> None:
    """How many processes share the work."""
    command.add_argument(
        "--ranks",
        type=int,
        metavar="N",
        help="processes that share the work (default: one for each arm, as far as cores or GPUs go, where that saves "
        "more than they take to start; docs/ranks.md)",
    )


def is_started(asked: int | None) -> bool:
    """Is this process one of several ranks already?"""
    if is_rank() and asked is not None:
        raise UserError("--ranks under torchrun", "torchrun has started the ranks", "leave it out")
    return is_rank()


def ranks_of(asked: int | None, config: Config, default: int) -> int:
    """How many processes to start for a run; 1: none, for this one runs it alone or is a rank already."""
    if is_started(asked):
        return 1
    if asked is not None and asked < 1:
        raise UserError(f"--ranks {asked}", "at least 1")
    return place(config, default if asked is None else asked).world
