"""`coupled-run verify`: what is proven of a run and what is not."""

import argparse
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from coupled.commands.options import add_run
from coupled.config.formats import FORMAT
from coupled.errors import printable
from coupled.store import StoreError
from coupled.store.audit import DamageError
from coupled.terminal.console import say
from coupled.terminal.counting import Counting
from coupled.terminal.entry import Parser
from coupled.terminal.shell import shell
from coupled.userfiles import expanded
from coupled.verification import Verified, verify

_MOST: Final = 20  # damaged files that are named


def add(command: Parser) -> None:
    """Adds what the command takes."""
    add_run(command)
    command.add_argument("--sample", type=int, default=8, metavar="N", help="steps to draw again (default: 8)")
    command.add_argument("--replay", type=int, default=0, metavar="K", help="stretches to train again (default: 0)")
    command.add_argument(
        "--stretch", type=int, default=10, metavar="STEPS", help="the longest of those stretches (default: 10)"
    )
    command.add_argument(
        "--data", type=expanded, default="", metavar="FOLDER", help="where the data set lies (default: as at training)"
    )
    command.add_argument(
        "--code",
        type=expanded,
        action="append",
        default=[],
        metavar="FILE",
        help="a file of the run's code.files, in their order",
    )


def run(arguments: argparse.Namespace) -> int:
    """Prints what is proven of a run and what is not."""
    try:
        with Counting() as counting:
            findings = verify(
                arguments.run_directory,
                sample=arguments.sample,
                replay=arguments.replay,
                stretch=arguments.stretch,
                data=arguments.data,
                code=arguments.code,
                progress=counting.count,
            )
    except DamageError as damage:
        for line in _damage(arguments.run_directory, damage):
            print(printable(line))
        for sentence in damage.unproven:
            say(f"not proven  {sentence}", hang=12)
        raise
    for sentence in findings.proven:
        say(f"proven      {sentence}", hang=12)
    for sentence in findings.unproven:
        say(f"not proven  {sentence}", hang=12)
    for error in findings.stopped.values():
        raise error
    say(_verdict(findings, replayed=arguments.replay > 0))
    return 0


def _damage(run: Path, damage: DamageError) -> Iterator[str]:
    """How many faults every check found, and in which folders; then some of each check, the first ones."""
    for check, faults in damage.groups.items():
        folders = Counter(_folder(run, fault) for fault in faults)
        yield f"damaged     {check}: {len(faults)} ({', '.join(f'{many} in {name}' for name, many in folders.items())})"
    # By turns, so that many of one check hide none of another.
    turns = sorted((turn, check) for check, faults in enumerate(damage.groups.values()) for turn in range(len(faults)))
    named = Counter(check for _, check in turns[:_MOST])
    for check, faults in enumerate(damage.groups.values()):
        for fault in faults[: named[check]]:
            yield f"damaged     {fault}"
    if len(turns) > _MOST:
        yield f"damaged     and {len(turns) - _MOST} more"


def _folder(run: Path, fault: StoreError) -> str:
    """The file or folder at the top of a run in which a fault lies."""
    parts = fault.path.relative_to(run).parts if fault.path is not None and fault.path.is_relative_to(run) else ()
    return parts[0] if parts else "the run"


def _verdict(findings: Verified, *, replayed: bool) -> str:
    far = "no step yet" if findings.reached is None else f"step {findings.reached}"
    length = "" if findings.finished else f", up to {far}: it is not finished"
    but = ", but for what is not proven above" if findings.unproven else ""
    path, shown_path = shell(findings.path), printable(str(findings.path))
    if findings.imported:
        of = f"verified: {shown_path} holds the checkpoints that were imported, whole{but}"
        return f"{of}; next: coupled-analyze alignment {path}"
    steps = (
        f"coupled-run verify {path}{findings.again.verify} --replay 3"
        if not replayed
        else f"coupled-analyze report {path}"
    )
    # A run of an earlier format stays as it is.
    resumable = not findings.finished and findings.format == FORMAT
    follow = f"coupled-run resume {path}{findings.again.resume}, unless it is at work" if resumable else steps
    return f"verified: {shown_path} is the run that its config and seed give{length}{but}; next: {follow}"
