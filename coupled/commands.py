"""The commands of `coupled-run`: train, resume, plan, bench, verify, diff, export."""

import argparse
import os
import sys
from collections.abc import Sequence
from math import prod
from pathlib import Path

from rich.table import Table

from coupled.arguments import parser
from coupled.bench import bench
from coupled.bench_ranks import RankBench, bench_ranks
from coupled.comparison import diff
from coupled.comparison.shown import show
from coupled.config import load
from coupled.config.schema import Config
from coupled.console import Console
from coupled.driver import check, is_finished, mended, resume, train
from coupled.errors import UserError, printable
from coupled.exports import export
from coupled.opened import last_ranks
from coupled.plan import Plan, plan, shown_bytes, to_toml
from coupled.progress import Counting, ProgressReporter
from coupled.ranks.joining import is_rank
from coupled.ranks.launching import launch
from coupled.ranks.placement import default_world, place
from coupled.resuming import Terms, config_of
from coupled.shell import shell
from coupled.source import data_info
from coupled.store import state
from coupled.vacuity import DELTA, shown, vacuities
from coupled.verification import Verified, verify


def run(argv: list[str] | None = None) -> int:
    """Run one command; returns its exit code. Raises UserError and RunStopped."""
    arguments = parser().parse_args(argv)
    arguments.argv = _without_ranks(sys.argv[1:] if argv is None else argv)
    return _COMMANDS[arguments.command](arguments)


def _without_ranks(argv: Sequence[str]) -> list[str]:
    """The command that every rank is started with."""
    kept = [word for word in argv if not word.startswith("--ranks=")]
    while "--ranks" in kept:
        at = kept.index("--ranks")
        del kept[at : at + 2]
    return kept


def _train(arguments: argparse.Namespace) -> int:
    config = load(arguments.config, arguments.set)
    ranks = _ranks(arguments.ranks, config, default_world(config))
    if ranks > 1 and check(config, overwrite=arguments.overwrite):
        return launch(arguments.argv, ranks)
    finished = not arguments.overwrite and is_finished(config)
    path = train(
        config,
        overwrite=arguments.overwrite,
        allow_drift=arguments.allow_drift,
        steal=arguments.steal,
        reporter=ProgressReporter(),
    )
    _print_done(path, finished)
    return 0


def _print_done(path: Path, finished: bool) -> None:
    if not is_rank() or os.environ["RANK"] == "0":
        done = "already finished, nothing to do" if finished else "done"
        print(printable(f"{done}: records and checkpoints are in {path}; next: coupled-analyze curves {shell(path)}"))


def _is_started(asked: int | None) -> bool:
    """Is this process one of several ranks already?"""
    if is_rank() and asked is not None:
        raise UserError("--ranks under torchrun", "torchrun has started the ranks", "leave it out")
    return is_rank()


def _ranks(asked: int | None, config: Config, default: int) -> int:
    """How many processes to start for a run; 1: this one does it, alone or as one that was started."""
    if _is_started(asked):
        return 1
    if asked is not None and asked < 1:
        raise UserError(f"--ranks {asked}", "at least 1")
    return place(config, default if asked is None else asked).world


def _resume(arguments: argparse.Namespace) -> int:
    terms = Terms(arguments.from_step, allow_drift=arguments.allow_drift, steal=arguments.steal)
    nothing = arguments.extend is None and arguments.from_step is None
    finished = nothing and state(Path(arguments.run_directory)) == "finished"
    if not _is_started(arguments.ranks) and not finished:
        mended(Path(arguments.run_directory))
        config, _ = config_of(Path(arguments.run_directory), extend=arguments.extend, overrides=arguments.set)
        ranks = _ranks(arguments.ranks, config, prod(last_ranks(Path(arguments.run_directory))))
        if ranks > 1:
            return launch(arguments.argv, ranks)
    path = resume(
        arguments.run_directory,
        extend=arguments.extend,
        terms=terms,
        overrides=arguments.set,
        reporter=ProgressReporter(),
    )
    _print_done(path, finished)
    return 0


def _plan(arguments: argparse.Namespace) -> int:
    config = load(arguments.config, arguments.set)
    made = plan(config, arguments.ranks)
    count, size = made.checkpoints
    print(to_toml(config))
    print()
    print(printable(f"# run directory    {made.directory}"))
    print(f"# config digest    {made.digest}")
    if left_out := data_info(config).left_out:
        print(f"# left out         {left_out}")
    print(f"# parameters       {made.parameters:,} per arm, {len(config.arms)} arms")
    held, active = shown_bytes(made.arm_memory), shown_bytes(made.step_memory)
    print(f"# memory per arm   {held} held, and {active} more in its turn of a step (activations)")
    print(
        f"# memory in all    {shown_bytes(made.memory)} for {len(config.arms)} arms in turns; recording and views apart"
    )
    _print_ranks(made, config)
    print(f"# recorded a step  {shown_bytes(made.per_step)} (streams that record every step)")
    for stream, total in made.streams.items():
        print(f"#   {stream:<15}{shown_bytes(total)} in all")
    print(f"# checkpoints      {count} of {shown_bytes(size)}")
    print(f"# in all           {shown_bytes(made.total)} for {config.train.steps} steps")
    _print_vacuities(config)
    return 0


def _print_ranks(made: Plan, config: Config) -> None:
    """Who holds what, and what passes between ranks in a step."""
    placement, traffic = made.placement, made.traffic
    backend = "nccl on cuda" if config.train.device == "cuda" else "gloo on cpu"
    print(f"# ranks            {placement}" + (f" ({backend})" if placement.world > 1 else ""))
    if placement.world == 1:
        return
    each = config.batches.size // placement.data
    for rank in range(placement.world):
        a, d = divmod(rank, placement.data)
        part = f", samples {d * each} to {(d + 1) * each - 1} of a batch" if placement.data > 1 else ""
        print(f"#   rank {rank:<10}{', '.join(placement.groups[a])}{part}; {shown_bytes(made.memory_of(rank))}")
    print(f"#   for records    {shown_bytes(traffic.weights)} of anchors' weights a step to a rank that lacks them")
    if placement.data > 1:
        passed = [
            f"{shown_bytes(getattr(traffic, what))} of {what}" for what in ("embeddings", "statistics", "gradient")
        ]
        print(f"#   a step and arm {', '.join(passed)} to every rank")


def _print_vacuities(config: Config) -> None:
    """From which step on the drift bounds say nothing."""
    n = config.panel.surrogate_size
    try:
        every = vacuities(config)
    except UserError as error:
        print(f"# bounds vacuous   not known: {error}")
        return
    for found in every:
        pair, shares = found.pair, found.shares
        print(f"# bounds vacuous   {pair.arm} against {pair.anchor}: {shown(found)}")
        print(f"#   of             Σ of the surrogate panel, {n} × 2 views as one batch; limit {4 * n}; δ = {DELTA}")
        print(f"#   class shares   {pair.labelling}: largest {shares.largest:.3g} ({shares.said})")


def _bench(arguments: argparse.Namespace) -> int:
    config = load(arguments.config, arguments.set)
    if _is_started(arguments.ranks):
        _print_rank_bench(bench_ranks(config, arguments.steps))
        return 0
    if arguments.ranks is not None and (ranks := _ranks(arguments.ranks, config, 1)) > 1:
        return launch(arguments.argv, ranks)
    made = bench(config, arguments.steps)
    table = Table("act", "ms a step", "of the step", box=None, header_style="bold", padding=(0, 2))
    for act, seconds in made.acts.items():
        table.add_row(act, f"{seconds * 1e3:.2f}", f"{seconds / made.step:.1%}")
    table.add_row("step", f"{made.step * 1e3:.2f}", "")
    table.add_row("bare compute", f"{made.bare * 1e3:.2f}", "")
    Console().print(table)
    print(
        f"views: {made.views * 1e3:.0f} ms a batch, made ahead of the step unless on a GPU: data is the wait for them"
    )
    print(f"panels: {made.panel * 1e3:.0f} ms an observation, not in the step")
    print(f"ratio to the same run with nothing recorded: {made.recording:.3f} (a checkpoint every 10 steps, on disk)")
    train = config.train
    print(
        f"ratio to bare compute: {made.ratio:.3f} ({len(config.arms)} arms, B = {config.batches.size}, "
        f"{train.precision}, {train.memory_format}, {train.threads} threads, {train.device}, {made.steps} steps)"
    )
    return 0


def _print_rank_bench(made: RankBench | None) -> None:
    if made is not None:
        print(f"{made.ranks}, {made.threads} thread(s) each: {made.together:.2f} steps/s")
        print(f"one process with as many threads: {made.alone:.2f} steps/s")
        print(f"ratio: {made.ratio:.2f} (medians of {made.blocks} blocks of 10 whole steps each way, in turns)")


def _verify(arguments: argparse.Namespace) -> int:
    with Counting() as counting:
        found = verify(
            arguments.run_directory,
            sample=arguments.sample,
            replay=arguments.replay,
            stretch=arguments.stretch,
            data=arguments.data,
            code=arguments.code,
            progress=counting.told,
        )
    for word in found.proven:
        print(printable(f"proven      {word}"))
    for word in found.unproven:
        print(printable(f"not proven  {word}"))
    print(_verdict(found, replayed=arguments.replay > 0))
    return 0


def _verdict(found: Verified, *, replayed: bool) -> str:
    far = "no step yet" if found.reached is None else f"step {found.reached}"
    length = "" if found.finished else f", up to {far}: it is not finished"
    but = ", but for what is not proven above" if found.unproven else ""
    path, shown_path = shell(found.path), printable(str(found.path))
    steps = f"coupled-run verify {path} --replay 3" if not replayed else f"coupled-analyze report {path}"
    follow = steps if found.finished else f"coupled-run resume {path}, unless it is at work"
    return f"verified: {shown_path} is the run that its config and seed give{length}{but}; next: {follow}"


def _diff(arguments: argparse.Namespace) -> int:
    found = diff(arguments.a, arguments.b)
    show(found, Console())
    return 0 if found.equal else 1


def _export(arguments: argparse.Namespace) -> int:
    path = export(arguments.run_directory, arguments.arm, step=arguments.step, output=arguments.output)
    print(printable(f"done: the state dict is in {path}; read it with safetensors.torch.load_file"))
    return 0


_COMMANDS = {
    "train": _train,
    "resume": _resume,
    "plan": _plan,
    "bench": _bench,
    "verify": _verify,
    "diff": _diff,
    "export": _export,
}
