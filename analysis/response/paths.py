"""Path bounds of a run: what its ledger says the distance can be at most, beside the distance."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Final

import numpy as np

from analysis.arrays import path_bounds as bounds
from analysis.arrays.path_bounds import Floats, Path
from analysis.bounds.gap import NOT_A_BOUND
from analysis.response.ledger import has_ledger, total
from analysis.response.missing import Missing
from analysis.runs.curve import Curve
from analysis.runs.run import Run
from coupled.config.ledger import has_momentum, why_no_split
from coupled.config.resolved import Sgd
from coupled.config.traits import Kick, traits_of
from coupled.theory.learning_rate import learning_rate

ALONG: Final = "along the path"
CONTRACTED: Final = "contracted"
JOINT: Final = "joint"
EXPONENTIAL: Final = "the second paper's form"
VACUOUS: Final = "vacuous from step "  # how the flag begins that says when a bound says nothing more
VIOLATED: Final = "VIOLATED"  # how the flag begins that says that a bound does not hold: then something is wrong
# By how much of itself a bound may be below what it bounds: its sums are rounded, and so are momentum buffers, whose
# rounding the ledger does not have apart.
_ROUNDING: Final = {"float32": 1e-6, "float64": 1e-9}


def path_bounds(run: Run, arm: str, missing: Missing) -> Iterator[Curve]:
    """The bounds on an arm's distance to its reference, each where its premises hold, flagged otherwise.

    Why there are none goes into `missing`.
    """
    why = _why_none(run, arm)
    if why:
        missing.add("path bounds", why, arm)
        return
    path = path_of(run, arm)
    if path.steps < 1:
        missing.add("path bounds", "no two states in a row are committed yet", arm)
        return
    if not (path.objective.any() or path.added.any()):
        missing.add("path bounds", "its loss is its reference's, so that they would be the path itself", arm)
        return
    like, steps, moved = run.curve("distance", arm=arm), np.arange(path.steps + 1), bool(path.added.any())
    path = replace(path, added=path.added + _rounded(run, arm, path.steps))
    for name, values, flags in _evaluated(path, moved=moved):
        binding = not any(flag.startswith(NOT_A_BOUND) for flag in flags)
        vacuous = _vacuous(run, arm, path, values) if binding else None
        over = np.flatnonzero(path.distance > values * (1 + _ROUNDING[run.precision]))
        flags += () if vacuous is None else (f"{VACUOUS}{vacuous}",)
        flags += (f"{VIOLATED} at step {over[0]}",) if binding and over.size else ()
        yield replace(
            like, steps=steps, values=values, kind="upper bound", bound=name, flags=flags,
            estimator=f"path bound from the ledger: {name}", undefined="",
        )  # fmt: skip


def bound_label(bound: Curve) -> str:
    """The bound's name, with a star where the run does not meet what it assumes."""
    starred = any(flag.startswith(NOT_A_BOUND) for flag in bound.flags)
    return f"{bound.bound}{' *' if starred else ''}"


def path_of(run: Run, arm: str) -> Path:
    """What the ledger knows of an arm's path, up to the last step that is committed."""
    optimiser = run.config.optimiser
    assert isinstance(optimiser, Sgd)
    batch = {name: total(run, arm, f"batch.{name}")[1] for name in ("instability", "objective", "instability_distance")}
    _, distance = total(run, arm, "state.distance")
    kicks = [total(run, kick.match, "batch.objective")[1] for kick in _kicks(run, arm)]
    # Of an unfinished run the next state may not be recorded yet, and one arm may be a shard ahead of another.
    count = min(len(distance) - 1, len(batch["instability"]), *map(len, kicks))
    batch = {name: values[:count] for name, values in batch.items()}
    momentum = {"buffer": "state.momentum", "buffer_distance": "state.distance_momentum"}
    momentum |= {"buffer_instability": "batch.instability_momentum"}
    with_buffers = has_momentum(run.config)
    buffers = {
        name: total(run, arm, column)[1][:count] if with_buffers else np.zeros(count)
        for name, column in momentum.items()
    }
    rates = np.array([learning_rate(optimiser, step, run.config.batches.size) for step in range(count)])
    return Path(
        rates=rates, distance=distance[: count + 1], added=_added(run, arm, rates, kicks), momentum=optimiser.momentum,
        decay=optimiser.weight_decay, **batch, **buffers,
    )  # fmt: skip


def _why_none(run: Run, arm: str) -> str:
    """Why an arm has no path bounds, in words; "" where it has."""
    if not has_ledger(run, arm):
        return "it has no ledger"
    for kick in _kicks(run, arm):
        if not has_ledger(run, kick.match):
            return f"{kick.match}, which kicks match, has no ledger"
    return why_no_split(run.config)


def _evaluated(path: Path, *, moved: bool) -> Iterator[tuple[str, Floats, tuple[str, ...]]]:
    """Name, values and flags of every bound."""
    yield ALONG, bounds.along(path), ()
    yield JOINT, bounds.joint(path), ()
    if path.momentum == 0:
        yield CONTRACTED, bounds.contracted(path), ()
    if moved:
        return  # the second paper knows of no moves
    reading = "a reading of its form: its constants are the largest of this path"
    unmet = [
        why
        for why, unmet in (
            ("momentum", path.momentum > 0),
            ("weight decay", path.decay > 0),
            ("a start apart", path.distance[0] > 0),
        )
        if unmet
    ]
    flags = (f"{NOT_A_BOUND} with {' and '.join(unmet)}",) if unmet else ()
    yield EXPONENTIAL, bounds.exponential(path), (reading, *flags)


def _vacuous(run: Run, arm: str, path: Path, values: Floats) -> int | None:
    """The first step at which a bound exceeds what the two arms' own motions allow; None if it never does."""
    if not run.schedules("motion") or run.awaits("motion", arm, str(run.arms[arm].reference)):
        return None
    limit = np.full(path.steps + 1, path.distance[0])
    for name in _both(run, arm):
        steps, moved = run.column("motion", name, "state.moved")
        known = np.full(path.steps + 1, np.nan)
        inside = steps <= path.steps
        known[steps[inside]] = moved[inside]
        limit = limit + known
    return bounds.first_above(values, np.where(np.isnan(limit), np.inf, limit))


def _added(run: Run, arm: str, rates: Floats, kicks: Sequence[Floats]) -> Floats:
    """At most what nudges and kicks added to D in every state (T + 1,), 0 in state 0.

    `kicks`: ‖b‖ of what each kick matches. Kicks that both arms get are the same vectors, and cancel.
    """
    added, steps = np.zeros(len(rates) + 1), len(rates)
    for matched in kicks:
        added[1:] += rates * matched[:steps]
    every = [nudge.at for name in _both(run, arm) for nudge in traits_of(run.arms, name).nudges]
    late = dict.fromkeys(at for at in every if 0 < at <= steps)
    if late:
        _, moves = total(run, arm, "state.from_moves")
        for at in late:
            added[at] += moves[at] + moves[at - 1]
    return added


def _rounded(run: Run, arm: str, steps: int) -> Floats:
    """At most what rounding added to D in every state (steps + 1,): what the exact split leaves there and before."""
    _, rest = total(run, arm, "state.from_rounding")
    rest = rest[: steps + 1]
    return rest + np.concatenate([[0.0], rest[:-1]])


def _kicks(run: Run, arm: str) -> list[Kick]:
    """The kicks that one of an arm and its reference gets and the other does not."""
    own, other = (Counter(traits_of(run.arms, name).kicks) for name in _both(run, arm))
    return [*((own - other) + (other - own)).elements()]


def _both(run: Run, arm: str) -> tuple[str, str]:
    return arm, str(run.arms[arm].reference)
