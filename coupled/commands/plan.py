"""`coupled-run plan`: what a run will be, as TOML with comments."""

import argparse

from coupled.commands.options import add_config, add_ranks
from coupled.config import Config, load
from coupled.config.toml import to_toml
from coupled.config.traits import own_inputs
from coupled.errors import UserError, printable
from coupled.inputs.dataset import data_info
from coupled.models import ENCODERS
from coupled.models.activation import about
from coupled.planning.class_shares import permuted_overlaps
from coupled.planning.fullness import fullness
from coupled.planning.panels import MUCH, panel_cost
from coupled.planning.plan import Plan, plan
from coupled.planning.vacuity import DELTA, shown, vacuities
from coupled.runtime import device_memory
from coupled.terminal.entry import Parser
from coupled.terminal.sizes import shown_bytes


def add(command: Parser) -> None:
    """Adds what the command takes."""
    add_config(command)
    add_ranks(command)


def run(arguments: argparse.Namespace) -> int:
    """Prints the plan as TOML with comments: it is a config."""
    config = load(arguments.config, arguments.set)
    forecast = plan(config, arguments.ranks)
    count, size = forecast.checkpoints
    print(to_toml(config))
    print()
    print(printable(f"# run directory    {forecast.directory}"))
    print(f"# config digest    {forecast.digest}")
    if left_out := data_info(config).left_out:
        print(f"# left out         {left_out}")
    print(f"# parameters       {forecast.parameters:,} per arm, {len(config.arms)} arms")
    held, active, together = map(shown_bytes, (forecast.arm_memory, forecast.step_memory, forecast.memory))
    _print_inputs(config)
    print(f"# memory per arm   {held} held, and {active} more in its turn of a step (activations)")
    if forecast.images:
        print(f"# images           {shown_bytes(forecast.images)} held by each GPU, if that is at most an eighth of it")
    if forecast.graphs:
        print(f"# graphs           {shown_bytes(forecast.graphs)} held by CUDA graphs while an audit takes its turn")
    print(f"# memory in all    {together} for {len(config.arms)} arms in turns; recording and views apart")
    if (memory := device_memory(config)) is not None and (line := fullness(forecast, memory)):
        print(f"#   {line}")
    activation = config.model.activation or ENCODERS[config.model.encoder].activation
    print(f"# activation       {about(activation, config.train.dtype)}")
    _print_ledger(forecast)
    if kicks := forecast.kicks.normals:
        more, taken = forecast.kicks.backwards, shown_bytes(forecast.kicks.memory)
        print(f"# kicks            {more} backward more and {kicks:,} random numbers a step, {taken}")
    _print_ranks(forecast, config)
    print(f"# recorded a step  {shown_bytes(forecast.per_step)} (streams that record every step)")
    for stream, total in forecast.streams.items():
        if stream == "ledger" and not total:  # few runs record it
            continue
        print(f"#   {stream:<15}{shown_bytes(total)} in all")
    _print_panels(config)
    print(f"# checkpoints      {count} of {shown_bytes(size)}")
    print(f"# in all           {shown_bytes(forecast.total)} for {config.train.steps} steps")
    _print_vacuities(config)
    _print_placebos(config)
    return 0


def _print_ledger(forecast: Plan) -> None:
    """What it takes beside the bytes of its stream."""
    cost = forecast.ledger
    if not cost.travelling:
        return
    own = ", ".join(f"{count} of {arm}" for arm, count in cost.backwards.items() if count)
    held = shown_bytes(forecast.ledger_memory(forecast.arms))
    print(f"# ledger           {cost.audits} steps with backwards more: {own or 'none'}; {held} held")


def _print_panels(config: Config) -> None:
    """What they take of the run's time."""
    cost = panel_cost(config)
    if not cost.observations:
        return
    each = f"{cost.seconds:.0f} s" if cost.seconds >= 1 else f"{cost.seconds * 1e3:.0f} ms"
    print(f"# panels           {cost.observations} observations of about {each}, {cost.share:.1%} of all computing")
    if cost.share > MUCH:
        print(f"#   more than {MUCH:.0%}: have record.panel and record.surrogate at fewer steps, or lower panel.size")


def _print_ranks(forecast: Plan, config: Config) -> None:
    """Who holds what, and what passes between ranks in a step."""
    placement, traffic = forecast.placement, forecast.traffic
    backend = "nccl on cuda" if config.train.device == "cuda" else "gloo on cpu"
    why = f"; {forecast.why_ranks}" if forecast.why_ranks else ""
    print(f"# ranks            {placement}" + (f" ({backend})" if placement.world > 1 else "") + why)
    if placement.world == 1:
        return
    each = config.batches.size // placement.data
    for rank in range(placement.world):
        a, d = divmod(rank, placement.data)
        part = f", samples {d * each} to {(d + 1) * each - 1} of a batch" if placement.data > 1 else ""
        print(f"#   rank {rank:<10}{', '.join(placement.groups[a])}{part}; {shown_bytes(forecast.memory_of(rank))}")
    print(f"#   for records    {shown_bytes(traffic.weights)} of references' weights a step to a rank that lacks them")
    if traffic.ledger:
        print(f"#   for the ledger {shown_bytes(traffic.ledger)} of references a step that it looks at, likewise")
    if traffic.views:
        share = f"1/{len(placement.groups)}"
        print(f"#   for views      {shown_bytes(traffic.views)} a step to a rank, which decodes {share} of its images")
    if placement.data > 1:
        passed = [
            f"{shown_bytes(getattr(traffic, kind))} of {kind}" for kind in ("embeddings", "statistics", "gradient")
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
    for vacuity in every:
        pair, shares = vacuity.pair, vacuity.shares
        print(f"# bounds vacuous   {pair.arm} against {pair.reference}: {shown(vacuity)}")
        print(f"#   of             Σ of the surrogate panel, {n} × 2 views as one batch; limit {4 * n}; δ = {DELTA}")
        print(f"#   class shares   {pair.labelling}: largest {shares.largest:.3g} ({shares.known_from})")


def _print_placebos(config: Config) -> None:
    """How far placebos are the real thing."""
    for labelling, share in permuted_overlaps(config).items():
        print(f"# placebo          of {labelling}: {share:.3g} of the pairs of a class are of one true class by chance")


def _print_inputs(config: Config) -> None:
    """Which arms see inputs of their own, and what these cost."""
    kinds = own_inputs(config.arms)
    if not kinds:
        return
    views = 2 * config.batches.size
    print(f"# inputs           {views * (1 + len(kinds)):,} views a step, {views:,} for each of {1 + len(kinds)} kinds")
    for inputs, arms in kinds.items():
        print(f"#   {f'{inputs}':<15} {', '.join(arms)}")
