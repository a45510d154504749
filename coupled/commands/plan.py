"""`coupled-run plan`: what a run will be and what it takes."""

import argparse
from collections.abc import Callable, Iterator
from typing import Final

import torch

from coupled.bench.calibration import seconds_of_step
from coupled.commands.options import add_config, add_ranks
from coupled.config import Config, load
from coupled.config.toml import to_toml
from coupled.config.traits import own_inputs
from coupled.data import look
from coupled.driver.preflight import fits_on_disk, state_of
from coupled.errors import UserError, printable
from coupled.inputs.dataset import data_info
from coupled.models import activation_of
from coupled.models.activation import about
from coupled.planning.class_shares import permuted_overlaps
from coupled.planning.fullness import fullness
from coupled.planning.panels import MUCH, panel_cost
from coupled.planning.plan import Plan, plan
from coupled.planning.ranks import too_many_threads
from coupled.planning.vacuity import DELTA, shown, vacuities
from coupled.runtime import device_memory
from coupled.terminal.console import say
from coupled.terminal.entry import Parser
from coupled.terminal.shell import shell
from coupled.terminal.sizes import duration, shown_bytes

_HANG: Final = 16  # cells before what a line says


def add(command: Parser) -> None:
    """Adds what the command takes."""
    add_config(command)
    add_ranks(command)
    command.add_argument(
        "--time", action="store_true", help="take a few steps in a scratch folder, to say how long the run will take"
    )
    command.add_argument(
        "--toml", action="store_true", help="print the resolved config, with all else as comments: it is a config"
    )


def run(arguments: argparse.Namespace) -> int:
    """Prints the plan: a summary first, then what it is made of; or all of it as a config."""
    config = load(arguments.config, arguments.set)
    forecast = plan(config, arguments.ranks)
    missing = list[str]()
    lines = [*_summary(config, forecast, missing, timed=arguments.time), "", *_details(config, forecast)]
    if arguments.toml:
        print(f"{to_toml(config)}\n")
        for line in lines:
            print(printable(f"# {line}".rstrip()))  # one line even on a narrow terminal: the rest would be no comment
        return 0
    for line in lines:
        say(line, hang=_HANG)
    first = f"; first see to {' and '.join(missing)}, as said above" if missing else ""
    say(f"--toml: the whole config{first}; next: coupled-run train {shell(arguments.config)}{_given(arguments)}")
    return 0


def _given(arguments: argparse.Namespace) -> str:
    """Overrides and ranks, to be typed again."""
    overrides = "".join(f" --set {shell(override)}" for override in arguments.set)
    return overrides + ("" if arguments.ranks is None else f" --ranks {arguments.ranks}")


def _summary(config: Config, forecast: Plan, missing: list[str], *, timed: bool) -> Iterator[str]:
    """What will be trained and where, whether all that it needs is there, and what to do where it is not. `missing`
    takes what is not.
    """
    steps, batches = config.train.steps, config.batches
    yield f"run directory   {forecast.directory}"
    yield from _said("run directory", missing, lambda: _there(config))
    yield f"arms            {', '.join(config.arms)}"
    yield f"steps           {steps:,}"
    yield f"data            {config.data.name}, B = {batches.size}, {batches.stream} stream"
    yield from _said("data", missing, lambda: _files(config))
    yield from _device(config, forecast, missing)
    order = "side by side" if forecast.graphs.beside else "in turns"
    together = f"{shown_bytes(forecast.memory)} for {len(config.arms)} arms {order}"
    yield f"memory          {together}; recording and views apart"
    if (memory := device_memory(config)) is not None and (line := fullness(forecast, memory)):
        yield f"  {line}"
    yield f"disk            {shown_bytes(forecast.total)} for {steps:,} steps"
    yield from _said("disk", missing, lambda: fits_on_disk(config))
    yield f"time            {_time(config) if timed else 'not measured; --time takes a few steps here'}"


def _there(config: Config) -> str | None:
    """What is in the run's directory already, and what `train` does about it."""
    said = {"finished": "this run, finished: train does nothing", "unfinished": "this run, unfinished: train goes on"}
    state = said.get(state_of(config))
    return state and f"there is {state}"


def _files(config: Config) -> str | None:
    """Are the files of the data set there? UserError where they are not."""
    if look(config.data.name, config.paths.data):
        return "its files are here"
    return None if data_info(config).procedural else "its own code finds its files: nothing was looked for"


def _said(what: str, missing: list[str], check: Callable[[], str | None]) -> Iterator[str]:
    """What a check says; where it fails, what `train` would say."""
    try:
        line = check()
    except UserError as error:
        missing.append(what)
        line = str(error)
    if line:
        yield f"  {line}"


def _details(config: Config, forecast: Plan) -> Iterator[str]:
    """What the summary is made of."""
    yield f"config digest   {forecast.digest}"
    if left_out := data_info(config).left_out:
        yield f"left out        {left_out}"
    yield f"parameters      {forecast.parameters:,} per arm, {len(config.arms)} arms"
    yield from _inputs(config)
    held, active = map(shown_bytes, (forecast.arm_memory, forecast.step_memory))
    yield f"memory per arm  {held} held, and {active} more in its turn of a step (activations)"
    if forecast.images:
        yield f"images          {shown_bytes(forecast.images)} held by each GPU, if that is at most an eighth of it"
    if forecast.graphs.update:
        own = max(map(len, forecast.placement.groups))
        yield f"graphs          {forecast.graphs.in_words(own)}"
    activation = activation_of(config.model)
    yield f"activation      {about(activation, config.train.dtype)}"
    yield from _ledger(forecast)
    if kicks := forecast.kicks.normals:
        more, taken = forecast.kicks.backwards, shown_bytes(forecast.kicks.memory)
        yield f"kicks           {more} backward more and {kicks:,} random numbers a step, {taken}"
    yield from _ranks(forecast, config)
    yield f"records a step  {shown_bytes(forecast.per_step)} (streams that record every step)"
    for stream, total in forecast.streams.items():
        if not total:
            continue
        yield f"  {stream:<14}{shown_bytes(total)} in all"
    yield from _panels(config)
    count, size = forecast.checkpoints
    yield f"checkpoints     {count} of {shown_bytes(size)}"
    yield from _vacuities(config)
    yield from _placebos(config)


def _time(config: Config) -> str:
    """How long the steps take here, from a few of them; or why none can be taken."""
    step, why = seconds_of_step(config)
    if step is None:
        return f"not known: {why}"
    whole = step * config.train.steps / (1 - panel_cost(config).share)
    return f"{duration(whole)}, {step * 1e3:,.0f} ms a step in one process here, panels included; the start is apart"


def _device(config: Config, forecast: Plan, missing: list[str]) -> Iterator[str]:
    """Where it is trained, and whether that is here."""
    device, threads, ranks = config.train.device, config.train.threads, forecast.placement.world
    if device == "cuda":
        here = torch.cuda.is_available()
        missing += [] if here else ["device"]
        yield f"device          cuda: {'one is here' if here else 'none is here; --set train.device=cpu'}"
        return
    yield f"device          cpu, {threads} thread{'s' * (threads != 1)}"
    if line := too_many_threads(config, ranks):
        yield f"  {line}"


def _ledger(forecast: Plan) -> Iterator[str]:
    """What it takes beside the bytes of its stream."""
    cost = forecast.ledger
    if not cost.travelling:
        return
    own = ", ".join(f"{count} of {arm}" for arm, count in cost.backwards.items() if count)
    held = shown_bytes(forecast.ledger_memory(forecast.arms))
    yield f"ledger          {cost.audits} steps with backwards more: {own or 'none'}; {held} held"


def _panels(config: Config) -> Iterator[str]:
    """What they take of the run's time."""
    cost = panel_cost(config)
    if not cost.observations:
        return
    each = f"{cost.seconds:.0f} s" if cost.seconds >= 1 else f"{cost.seconds * 1e3:.0f} ms"
    yield f"panels          {cost.observations} observations of about {each}, {cost.share:.1%} of all computing"
    if cost.share > MUCH:
        yield f"  more than {MUCH:.0%}: have record.panel and record.surrogate at fewer steps, or lower panel.size"


def _ranks(forecast: Plan, config: Config) -> Iterator[str]:
    """Who holds what, and what passes between ranks in a step."""
    placement, traffic = forecast.placement, forecast.traffic
    backend = "nccl on cuda" if config.train.device == "cuda" else "gloo on cpu"
    why = f"; {forecast.why_ranks}" if forecast.why_ranks else ""
    yield f"ranks           {placement}" + (f" ({backend})" if placement.world > 1 else "") + why
    if placement.world == 1:
        return
    each = config.batches.size // placement.data
    for rank in range(placement.world):
        a, d = divmod(rank, placement.data)
        part = f", samples {d * each} to {(d + 1) * each - 1} of a batch" if placement.data > 1 else ""
        yield f"  rank {rank:<9}{', '.join(placement.groups[a])}{part}; {shown_bytes(forecast.memory_of(rank))}"
    yield f"  for records   {shown_bytes(traffic.weights)} of references' weights a step to a rank that lacks them"
    if traffic.ledger:
        yield f"  for ledger    {shown_bytes(traffic.ledger)} of references a step that it looks at, likewise"
    if traffic.views:
        share = f"1/{len(placement.groups)}"
        yield f"  for views     {shown_bytes(traffic.views)} a step to a rank, which decodes {share} of its images"
    if placement.data > 1:
        passed = [
            f"{shown_bytes(getattr(traffic, kind))} of {kind}" for kind in ("embeddings", "statistics", "gradient")
        ]
        yield f"  step and arm  {', '.join(passed)} to every rank"


def _vacuities(config: Config) -> Iterator[str]:
    """From which step on the drift bounds say nothing."""
    n = config.panel.surrogate_size
    try:
        every = vacuities(config)
    except UserError as error:
        yield f"bounds vacuous  not known: {error}"
        return
    for vacuity in every:
        pair, shares = vacuity.pair, vacuity.shares
        yield f"bounds vacuous  {pair.arm} against {pair.reference}: {shown(vacuity)}"
        yield f"  of            Σ of the surrogate panel, {n} × 2 views as one batch; limit {4 * n}; δ = {DELTA}"
        yield f"  class shares  {pair.labelling}: largest {shares.largest:.3g} ({shares.known_from})"


def _placebos(config: Config) -> Iterator[str]:
    """How far placebos are the real thing."""
    for labelling, share in permuted_overlaps(config).items():
        yield f"placebo         of {labelling}: {share:.3g} of the pairs of a class are of one true class by chance"


def _inputs(config: Config) -> Iterator[str]:
    """Which arms see inputs of their own, and what these cost."""
    kinds = own_inputs(config.arms)
    if not kinds:
        return
    views = 2 * config.batches.size
    yield f"inputs          {views * (1 + len(kinds)):,} views a step, {views:,} for each of {1 + len(kinds)} kinds"
    for inputs, arms in kinds.items():
        yield f"  {f'{inputs}':<13} {', '.join(arms)}"
