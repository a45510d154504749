"""`coupled-run bench`: how long each act of a step takes."""

import argparse
import sys
import time
from collections.abc import Iterator
from typing import Final

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from coupled.bench.ranks import RankBench, bench_ranks
from coupled.bench.steps import Bench, bench
from coupled.commands.options import add_config, add_ranks, is_started, ranks_of
from coupled.config import Config, load
from coupled.ranks.launching import launch
from coupled.terminal.console import Console, say
from coupled.terminal.entry import Parser

_LINE_S: Final = 20.0  # seconds between two lines of progress


def add(command: Parser) -> None:
    """Adds what the command takes."""
    add_config(command)
    add_ranks(command)
    command.add_argument(
        "--steps", type=int, default=50, help="steps to time (default: 50; 10 where one takes seconds)"
    )


def run(arguments: argparse.Namespace) -> int:
    """Times the steps of a config, here or on ranks that it starts."""
    config = load(arguments.config, arguments.set)
    if is_started(arguments.ranks):
        _print_rank_bench(bench_ranks(config, arguments.steps))
        return 0
    if arguments.ranks is not None and (ranks := ranks_of(arguments.ranks, config, 1)) > 1:
        return launch(arguments.argv, ranks)
    with _Blocks() as blocks:
        times = bench(config, arguments.steps, blocks.show)
    _print_bench(times, config)
    return 0


class _Blocks:
    """Which block is timed: a bar before a person, elsewhere a line now and then, on standard error."""

    def __init__(self) -> None:
        console = Console(stderr=True)
        columns = (TextColumn("blocks"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self.bar = Progress(*columns, console=console, transient=True, disable=not console.is_interactive)
        self.task = self.bar.add_task("", total=None)
        self.shown = time.monotonic()

    def __enter__(self) -> "_Blocks":
        self.bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.bar.stop()

    def show(self, done: int, blocks: int) -> None:
        self.bar.update(self.task, completed=done, total=blocks)
        if self.bar.disable and time.monotonic() - self.shown > _LINE_S:
            self.shown = time.monotonic()
            print(f"{done} of {blocks} blocks", file=sys.stderr)


def _print_bench(times: Bench, config: Config) -> None:
    table = Table("act", "ms a step", "of the step", box=None, header_style="bold", padding=(0, 2))
    whole = {} if times.graphs else {"forward": "", "backward": "forward, backward"}  # a graph has both
    for act, seconds in ((whole.get(act, act), seconds) for act, seconds in times.acts.items()):
        if not act:
            continue
        table.add_row(act, f"{seconds * 1e3:.2f}", f"{seconds / times.step:.1%}")
    table.add_row("step", f"{times.step * 1e3:.2f}", "")
    table.add_row("bare compute", f"{times.bare * 1e3:.2f}", "")
    table.add_row("stock", f"{times.stock * 1e3:.2f}", "")
    Console().print(table)
    for line in _lines(times, config):
        say(line)


def _lines(times: Bench, config: Config) -> Iterator[str]:
    """What stands under the table: the ratios last."""
    yield f"observers and guard: {times.looking:.1%} of the step"
    views = f"{times.views * 1e3:.0f} ms a batch"
    yield f"views: {views}, made ahead of the step: data is the wait for them"
    yield f"panels: {_panels(times, config)}"
    rate, most = times.flops / times.step, times.multiplying
    yield (
        f"compute: {times.flops / 1e9:.4g} GFLOP a step of stock, so {rate / 1e9:.4g} GFLOP/s: {rate / most:.1%} of "
        f"what a large matrix product reaches here"
    )
    if times.memory is not None:
        order = "side by side" if times.at_once else "one after the other"
        yield f"CUDA graphs: {f'off, {times.graphs}' if times.graphs else f'on, arms {order}'}"
        tensors, reserved = (f"{size / 2**30:.2f} GiB" for size in times.memory)
        yield f"memory: {tensors} of the GPU in tensors at most, {reserved} reserved, by the run alone, without panels"
    yield f"ratio to the same run with nothing recorded: {times.recording:.3f} (a checkpoint in every block, on disk)"
    yield f"ratio to bare compute: {times.bare_ratio:.3f} (our own networks and optimiser on a fixed batch)"
    model, train = config.model, config.train
    yield (
        f"ratio to stock: {times.ratio:.3f} ({model.encoder}{of_width(model.width)}, {config.views.size} px, "
        f"{_counted(len(config.arms), 'arm')}, B = {config.batches.size}, {train.precision}, {train.memory_format}, "
        f"stock {times.layout}, {_counted(train.threads, 'thread')}, {train.device}; {_spread(times)})"
    )


def _spread(times: Bench) -> str:
    """How many steps were timed, and how far their blocks are apart; why they are not where there is one block."""
    timed = _counted(times.steps, "step")
    if times.blocks == 1:
        return f"{timed} in one block, so no spread: it takes --steps 2 or more"
    return f"{timed}, median of {times.blocks} blocks from {min(times.ratios):.3f} to {max(times.ratios):.3f}"


def _counted(count: int, thing: str) -> str:
    return f"{count} {thing}{'s' * (count != 1)}"


def of_width(width: int | None) -> str:
    """The width in words; "" where the encoder has none to choose."""
    return "" if width is None else f" of width {width}"


def _panels(times: Bench, config: Config) -> str:
    if times.panel is None or times.panel_ratio is None:
        own = [name for name, stream in config.record.own.items() if stream.of == "panel"]
        return f"not timed: only {', '.join(own)} of your own looks at one" if own else "none is recorded"
    return (
        f"{times.panel * 1e3:.0f} ms an observation, not in the step; {times.panel_ratio:.3f} of an evaluation forward "
        f"of the same images by stock networks"
    )


def _print_rank_bench(speeds: RankBench | None) -> None:
    if speeds is not None:
        blocks = f"medians of {speeds.blocks} blocks" if speeds.blocks > 1 else "one block"
        say(f"{speeds.ranks}, {_counted(speeds.threads, 'thread')} each: {speeds.together:.2f} steps/s")
        say(f"one process with as many threads: {speeds.alone:.2f} steps/s")
        say(f"ratio: {speeds.ratio:.2f} ({blocks} of 10 whole steps each way, in turns)")
