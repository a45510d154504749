"""Several runs together: which may be compared, which are the same run but for the seed, and curves over seeds."""

import dataclasses
from collections.abc import Iterator, Sequence
from hashlib import sha256
from typing import Any

import numpy as np

from analysis.runs.curve import Band, Curve
from analysis.runs.run import Run
from coupled.config import resolved
from coupled.errors import UserError
from coupled.store import canonical_json
from coupled.store.errors import one_line

_IMAGES = ("name", "seed", "listing")  # the fields of [data] that say which images there are
_PANELS = {"panel": ("fixed.ids",), "surrogate": ("fixed.ids", "fixed.draws")}


def check(runs: Sequence[Run]) -> None:
    """Raises UserError, with both sides, unless all runs have the first one's schema, images and panels.

    A panel that a run does not record, or has not committed yet, is not compared.
    """
    for run in runs[1:]:
        first, other = shared_facts(runs[0]), shared_facts(run)
        for name in first:
            if name in other and first[name] != other[name]:
                sides = f"{runs[0].path} has {_shown(first[name])}, {run.path} has {_shown(other[name])}"
                raise UserError(f"runs of different {name}", sides, "analyse them apart")


def by_seed(runs: Sequence[Run]) -> list[list[Run]]:
    """Groups of runs that differ in the seed alone, in order of first mention. Raises UserError like `check`, and
    where a run is given twice.
    """
    check(runs)
    return apart_by_seed(runs)


def apart_by_seed(runs: Sequence[Run]) -> list[list[Run]]:
    """The same groups of any runs; those of one group are alike as `check` demands, others may be of anything."""
    groups: dict[bytes, list[Run]] = {}
    seen: dict[tuple[bytes, int], Run] = {}
    for run in runs:
        config = resolved(run.config)
        seed = config.pop("seed")
        key = canonical_json(config)
        if (key, seed) in seen:
            raise UserError(f"{run.path} is {seen[key, seed].path} again", "every run once", "leave one out")
        seen[key, seed] = run
        groups.setdefault(key, []).append(run)
    for group in groups.values():
        check(group)
    return list(groups.values())


def differing(first: Run, other: Run, most: int = 5) -> list[str]:
    """The fields in which two runs differ, but for the seed, with both values: "train.steps 200 and 300"; `most` of
    them, then how many more.
    """
    ours, theirs = (dict(_fields(resolved(run.config))) for run in (first, other))
    names = [name for name in dict.fromkeys([*ours, *theirs]) if ours.get(name) != theirs.get(name) and name != "seed"]
    shown = [f"{name} {_value(ours, name)} and {_value(theirs, name)}" for name in names[:most]]
    return [one_line(text) for text in shown] + ([f"and {len(names) - most} more"] if len(names) > most else [])


def _fields(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """The fields of a resolved config by their whole names; an arm's by the name of the arm."""
    if isinstance(value, list) and value and all(isinstance(one, dict) and "name" in one for one in value):
        value = {one["name"]: one for one in value}
    if not isinstance(value, dict):
        yield name, value
        return
    for key, part in value.items():
        yield from _fields(part, f"{name}.{key}" if name else str(key))


def _value(fields: dict[str, Any], name: str) -> str:
    return str(fields[name]) if name in fields else "nothing"


def over_seeds(curves: Sequence[Curve]) -> Curve:
    """The mean of one quantity over runs of several seeds, at the steps that all have; `interval` is their range.

    Undefined where it is undefined for any seed. What differs between seeds (the null band, the interval over samples)
    is left out; flags of any seed stay. Curves of another quantity are a mistake of the caller's.
    """
    first = curves[0]
    same = ("measure", "arm", "reference", "feature", "source", "split", "labelling", "kind", "bound", "estimator", "d")
    assert all(getattr(curve, name) == getattr(first, name) for curve in curves for name in same)
    if len(curves) == 1:
        return first
    steps = first.steps
    for curve in curves[1:]:
        steps = np.intersect1d(steps, curve.steps)
    values = np.stack([curve.values[np.searchsorted(curve.steps, steps)] for curve in curves])
    band = Band(values.min(0), values.max(0), f"range over {len(curves)} seeds")
    flags = tuple(dict.fromkeys(flag for curve in curves for flag in curve.flags))
    return dataclasses.replace(
        first, steps=steps, values=values.mean(0), interval=band, null=None, flags=flags,
        estimator=f"{first.estimator}; mean over {len(curves)} seeds",
    )  # fmt: skip


def shared_facts(run: Run) -> dict[str, Any]:
    """The facts that runs must have in common to be compared, by the names that messages give them."""
    config = resolved(run.config)
    facts: dict[str, Any] = {
        "schema": run.facts["schema"],
        "images": {key: config["data"][key] for key in _IMAGES if config["data"].get(key) is not None},
    }
    for stream, columns in _PANELS.items():
        if run.schedules(stream) and not run.awaits(stream, "shared"):
            ids = run.fixed(stream, "fixed.ids")
            digest = sha256(b"".join(run.fixed(stream, column).tobytes() for column in columns)).hexdigest()
            facts[f"{stream} samples"] = f"{len(ids)} samples with digest {digest[:12]}"
    return facts


def _shown(fact: Any) -> str:
    return ", ".join(f"{k} = {v}" for k, v in fact.items()) if isinstance(fact, dict) else str(fact)
