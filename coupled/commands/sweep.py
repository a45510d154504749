"""`coupled-run sweep`: every point of a sweep, several at a time."""

import argparse
import sys
from pathlib import Path

from rich.table import Table

from coupled.commands.options import add_drift, add_set
from coupled.commands.sweep_progress import SweepProgress
from coupled.errors import Preempted, UserError
from coupled.ranks.placement import cores
from coupled.sweeps.folder import path_of
from coupled.sweeps.points import Sweep
from coupled.sweeps.running import jobs_of
from coupled.sweeps.running import run as run_sweep
from coupled.terminal.console import Console, say
from coupled.terminal.entry import Parser
from coupled.terminal.shell import shell
from coupled.terminal.sizes import duration, shown_bytes


def add(command: Parser) -> None:
    """Adds what the command takes."""
    command.add_argument("sweep", type=Path, metavar="SWEEP", help="TOML file, or a shipped one by name: sweeps/seeds")
    command.add_argument(
        "--dry-run", action="store_true", help="show every point and what it takes; nothing is written"
    )
    command.add_argument(
        "--jobs",
        type=int,
        metavar="N",
        help="runs at a time (default: the sweep's, else one for each train.threads cores, or for each GPU)",
    )
    command.add_argument(
        "--slurm",
        action="store_true",
        help="queue what is not finished as an array of jobs of a cluster, as [slurm] of the file says, and return",
    )
    add_drift(command)
    add_set(command, "override a field of the base config (a TOML value; a bare word is a string); may be given again")


def run(arguments: argparse.Namespace) -> int:
    """Trains what is not finished."""
    from coupled.sweeps.reading import load

    if arguments.slurm and (arguments.jobs is not None or arguments.dry_run):
        other = "--dry-run" if arguments.dry_run else "--jobs"
        raise UserError(f"--slurm with {other}", "one of them", "slurm.at_a_time says how many jobs run at a time")
    sweep = load(arguments.sweep, arguments.set)
    if arguments.slurm:
        return _submit(sweep, arguments)
    jobs = jobs_of(sweep, arguments.jobs)
    if arguments.dry_run:
        return _dry_run(sweep, jobs)
    _say_if_crowded(sweep, jobs)
    try:
        code = run_sweep(sweep, jobs=jobs, allow_drift=arguments.allow_drift, reporter=SweepProgress())
    except Preempted as error:
        raise Preempted(f"{error}; next: {_again(arguments)}") from None
    if code:
        lines, again = "some runs failed, the lines above say why", _again(arguments)
        say(f"{lines}; what was committed stands in {path_of(sweep)}; next: {again}")
    else:
        _print_done(sweep)
    return code


def _print_done(sweep: Sweep) -> None:
    path = path_of(sweep)
    say(f"done: every run of the sweep is in {path}; next: coupled-analyze report {shell(path)}")


def _submit(sweep: Sweep, arguments: argparse.Namespace) -> int:
    from coupled.sweeps.submitting import submit

    submitted = submit(sweep, allow_drift=arguments.allow_drift)
    if not submitted.points:
        _print_done(sweep)
        return 0
    count, whole = len(submitted.points), len(sweep.points)
    say(f"{count} of {whole} runs are queued as job {submitted.job}, {whole - count} are finished")
    logs = f"what a run prints, and at its end why it failed, is in {submitted.logs}/RUN.log"
    say(f"{logs}; next, once the job has ended: {_again(arguments)}")
    return 0


def _dry_run(sweep: Sweep, jobs: int) -> int:
    from coupled.sweeps.forecast import forecast

    rows = forecast(sweep)
    table = Table("run", "digest", "arms", box=None, header_style="bold", padding=(0, 2))
    for column in ("steps", "on disk", "time"):
        table.add_column(column, justify="right")
    for row in rows:
        table.add_row(
            row.name, row.digest, " ".join(row.arms), str(row.steps), shown_bytes(row.bytes), duration(row.seconds)
        )
    Console().print(table)
    for why in dict.fromkeys(row.why for row in rows if row.why):
        say(f"no time: {why}")
    times = [row.seconds for row in rows]
    whole = None if None in times else sum(filter(None, times)) / min(jobs, len(rows))
    size = shown_bytes(sum(row.bytes for row in rows))
    say(f"{len(rows)} runs in {path_of(sweep)}, {jobs} at a time: {size} on disk, {duration(whole)}")
    return 0


def _say_if_crowded(sweep: Sweep, jobs: int) -> None:
    on_cpu = [point.config.train.threads for point in sweep.points if point.config.train.device == "cpu"]
    threads = min(jobs, len(sweep.points)) * max(on_cpu, default=0)
    if threads > cores():
        line = f"{jobs} runs at a time have {threads} threads on {cores()} cores: they wait for each other (--jobs)"
        print(line, file=sys.stderr)


def _again(arguments: argparse.Namespace) -> str:
    """The command that goes on with this sweep."""
    jobs = f" --jobs {arguments.jobs}" if arguments.jobs else ""
    slurm = (" --slurm" if arguments.slurm else "") + (" --allow-drift" if arguments.allow_drift else "")
    settings = "".join(f" --set {shell(s)}" for s in arguments.set)
    return f"coupled-run sweep {shell(arguments.sweep)}{settings}{jobs}{slurm}"
