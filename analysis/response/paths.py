"""Path bounds of a run: what its ledger says the distance can be at most, beside the distance."""

from collections.abc import Iterator
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
from coupled.config.traits import traits_of
from coupled.theory.learning_rate import learning_rate

ALONG: Final = "along the path"
CONTRACTED: Final = "contracted"
JOINT: Final = "joint"
EXPONENTIAL: Final = "the second paper's form"
VACUOUS: Final = "vacuous from step "  # how the flag begins that says when a bound says nothing more


def path_bounds(run: Run, arm: str, missing: Missing) -> Iterator[Curve]:
    """The bounds on an arm's distance to its reference, each where its premises hold, flagged otherwise.

    Why there are none goes into `missing`.
    """
    why = _why_none(run, arm)
    if why:
        missing.add("path bounds", why, arm)
        return
    path = path_of(run, arm)
    if not (path.objective.any() or path.added.any()):
        missing.add("path bounds", "its loss is its reference's, so that they would be the path itself", arm)
        return
    measured = run.curve("distance", arm=arm)
    steps = np.arange(path.steps + 1)
    for name, values, flags in _evaluated(run, arm, path):
        vacuous = _vacuous(run, arm, path, values)
        said = () if vacuous is None else (f"{VACUOUS}{vacuous}",)
        yield replace(
            measured, steps=steps, values=values, kind="upper bound", bound=name, flags=(*flags, *said),
            estimator=f"path bound from the ledger: {name}", undefined="",
        )  # fmt: skip


def path_of(run: Run, arm: str) -> Path:
    """What the ledger knows of an arm's path, up to the last step that is committed."""
    optimiser = run.config.optimiser
    assert isinstance(optimiser, Sgd)
    batch = {name: total(run, arm, f"batch.{name}")[1] for name in ("instability", "objective", "instability_distance")}
    count = len(batch["instability"])
    _, distance = total(run, arm, "state.distance")
    if len(distance) == count:  # of an unfinished run the next state is not recorded yet
        count, batch = count - 1, {name: values[:-1] for name, values in batch.items()}
    momentum = {"buffer": "state.momentum", "buffer_distance": "state.distance_momentum"}
    momentum |= {"buffer_instability": "batch.instability_momentum"}
    with_buffers = has_momentum(run.config)
    buffers = {
        name: total(run, arm, column)[1][:count] if with_buffers else np.zeros(count)
        for name, column in momentum.items()
    }
    rates = np.array([learning_rate(optimiser, step, run.config.batches.size) for step in range(count)])
    return Path(
        rates=rates, distance=distance[: count + 1], added=_added(run, arm, rates), momentum=optimiser.momentum,
        decay=optimiser.weight_decay, **batch, **buffers,
    )  # fmt: skip


def _why_none(run: Run, arm: str) -> str:
    """Why an arm has no path bounds, in words; "" where it has."""
    if not has_ledger(run, arm):
        return "it has no ledger"
    return why_no_split(run.config)


def _evaluated(run: Run, arm: str, path: Path) -> Iterator[tuple[str, Floats, tuple[str, ...]]]:
    """Name, values and flags of every bound."""
    yield ALONG, bounds.along(path), ()
    yield JOINT, bounds.joint(path), ()
    if path.momentum == 0:
        yield CONTRACTED, bounds.contracted(path), ()
    reading = "a reading of its form: its constants are the largest of this path"
    unmet = [
        why
        for why, unmet in (
            ("momentum", path.momentum > 0),
            ("weight decay", path.decay > 0),
            ("a start apart", path.distance[0] > 0),
            ("nudges or kicks", bool(path.added.any())),
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
    for name in (arm, str(run.arms[arm].reference)):
        steps, moved = run.column("motion", name, "state.moved")
        known = np.full(path.steps + 1, np.nan)
        inside = steps <= path.steps
        known[steps[inside]] = moved[inside]
        limit = limit + known
    return bounds.first_above(values, np.where(np.isnan(limit), np.inf, limit))


def _added(run: Run, arm: str, rates: Floats) -> Floats:
    """At most what nudges and kicks added to D in every state (T + 1,), 0 in state 0."""
    added, steps = np.zeros(len(rates) + 1), len(rates)
    for name in (arm, str(run.arms[arm].reference)):
        for kick in traits_of(run.arms, name).kicks:
            added[1:] += rates * _objective(run, kick.match)[:steps]
    late = [
        nudge.at
        for name in (arm, str(run.arms[arm].reference))
        for nudge in traits_of(run.arms, name).nudges
        if 0 < nudge.at <= steps
    ]
    if late:
        _, moves = total(run, arm, "state.from_moves")
        for at in dict.fromkeys(late):
            added[at] += moves[at] + moves[at - 1]
    return added


def _objective(run: Run, match: str) -> Floats:
    return total(run, match, "batch.objective")[1]
