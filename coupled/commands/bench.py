"""`coupled-run bench`: how long each act of a step takes."""

import argparse

from rich.table import Table

from coupled.bench.ranks import RankBench, bench_ranks
from coupled.bench.steps import bench
from coupled.commands.options import add_config, add_ranks, is_started, ranks_of
from coupled.config import load
from coupled.ranks.launching import launch
from coupled.terminal.console import Console
from coupled.terminal.entry import Parser


def add(command: Parser) -> None:
    """Adds what the command takes."""
    add_config(command)
    add_ranks(command)
    command.add_argument("--steps", type=int, default=40, help="steps to time (default: 40)")


def run(arguments: argparse.Namespace) -> int:
    """Times the steps of a config, here or on ranks that it starts."""
    config = load(arguments.config, arguments.set)
    if is_started(arguments.ranks):
        _print_rank_bench(bench_ranks(config, arguments.steps))
        return 0
    if arguments.ranks is not None and (ranks := ranks_of(arguments.ranks, config, 1)) > 1:
        return launch(arguments.argv, ranks)
    times = bench(config, arguments.steps)
    table = Table("act", "ms a step", "of the step", box=None, header_style="bold", padding=(0, 2))
    for act, seconds in times.acts.items():
        table.add_row(act, f"{seconds * 1e3:.2f}", f"{seconds / times.step:.1%}")
    table.add_row("step", f"{times.step * 1e3:.2f}", "")
    table.add_row("bare compute", f"{times.bare * 1e3:.2f}", "")
    Console().print(table)
    print(
        f"views: {times.views * 1e3:.0f} ms a batch, made ahead of the step unless on a GPU: data is the wait for them"
    )
    print(f"panels: {times.panel * 1e3:.0f} ms an observation, not in the step")
    print(f"ratio to the same run with nothing recorded: {times.recording:.3f} (a checkpoint every 10 steps, on disk)")
    train = config.train
    print(
        f"ratio to bare compute: {times.ratio:.3f} ({len(config.arms)} arms, B = {config.batches.size}, "
        f"{train.precision}, {train.memory_format}, {train.threads} threads, {train.device}, {times.steps} steps)"
    )
    return 0


def _print_rank_bench(speeds: RankBench | None) -> None:
    if speeds is not None:
        print(f"{speeds.ranks}, {speeds.threads} thread(s) each: {speeds.together:.2f} steps/s")
        print(f"one process with as many threads: {speeds.alone:.2f} steps/s")
        print(f"ratio: {speeds.ratio:.2f} (medians of {speeds.blocks} blocks of 10 whole steps each way, in turns)")
