"""Sweeps made of numbers: runs whose curves are laws, without training."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
from helpers import tiny

from analysis.aggregation.summary import ALWAYS, DEFAULT, Summary
from analysis.sweeps.kept import with_kept
from analysis.sweeps.reading import Member, Swept, SweptPoint
from coupled.config import resolved
from coupled.sweeps.folder import Entry

ARMS = {
    "cl": {"objective": "dcl"},
    "nscl": {"objective": "nscl"},
    "placebo": {"kind": "placebo", "of": "nscl"},
    "nudged": {"kind": "nudged"},
}


def run_of(folder, name, seed=0, steps=10, last=None, arms=ARMS, **sections):
    """A run as far as a report of sweeps looks at it: its config, and how far it has come."""
    config = tiny(folder, name=name, seed=seed, arms=arms, train={"steps": steps}, **sections)
    last = steps if last is None else last
    facts = {"path": Path(folder) / name, "name": name, "config": config, "arms": config.arms, "facts": {}}
    return SimpleNamespace(**facts, finished=last == steps, steps=last, planned_steps=steps)


def summary_of(run, levels, per_epoch=5, **more):
    """By arm, CKA is 1 − level·t/10 at each recorded step t, and RSA half of it; the weight gap is level·t. The loss
    gap is level; it and the loss, 9 − t, end a step earlier. Weights have moved t, Σ has t/20. `more`: other tensors.
    """
    steps = np.arange(run.steps + 1)
    tensors, missing = {"rate": np.arange(run.planned_steps + 1) / 10}, {}
    for arm, spec in run.arms.items():
        level = levels.get(arm, 0.0)
        laws = {
            "cka": 1 - level * steps / 10, "rsa": (1 - level * steps / 10) / 2, "weight_gap": level * steps,
            "gap": np.full(len(steps), level)[:-1], "loss": (9.0 - steps)[:-1],
            "motion": steps * 1.0, "similarity_motion": steps / 20,
        }  # fmt: skip
        for name, values in laws.items():
            if spec.reference is None and name in ("cka", "rsa", "weight_gap"):
                missing[f"{name}.{arm}"] = f"{arm} has no reference"
                continue
            tensors[f"{name}.{arm}.steps"] = steps[: len(values)]
            tensors[f"{name}.{arm}.values"] = values
    about = {
        "seed": run.config.seed, "config": resolved(run.config), "shared": {}, "missing": missing, "last": run.steps,
        "planned": run.planned_steps, "steps_per_epoch": per_epoch, "quantities": [*DEFAULT, *ALWAYS, "batch_cka"],
    }  # fmt: skip
    return Summary(run.path, about, {**tensors, **more})


def member(run, levels, values=None, **more):
    """A run that has begun, with its laws."""
    (summary,) = with_kept([(run, summary_of(run, levels, **more))])
    return Member(Entry(run.name, "0" * 64, values or {}), run.path, run, summary)


def waiting(folder, name, seed):
    """A run that has not begun."""
    return Member(Entry(name, "0" * 64, {"seed": [seed]}), Path(folder) / name, None)


def swept_of(folder, points, axes=None, arm_axes=None):
    """A sweep of `points`: (values of axes, members)."""
    named = [
        SweptPoint(", ".join(f"{axis} = {of[0]}" for axis, of in values.items()), values, tuple(members))
        for values, members in points
    ]
    return Swept(Path(folder), axes or {}, arm_axes or {}, tuple(named))


def by_classes(folder, levels, seeds=3):
    """A sweep over classes, `levels` of nscl by number of classes; each seed adds hundredths, the placebo a tenth."""
    points = []
    for count, level in levels.items():
        members = [
            member(
                run_of(folder, f"c{count}-s{seed}", seed, data={"labelling": "shape", "classes": list(range(count))}),
                {"cl": 0.5, "nscl": level + seed / 100, "placebo": level + 0.1 + seed**2 / 100, "nudged": 0.3},
            )
            for seed in range(seeds)
        ]
        points.append(({"classes": [count]}, members))
    return swept_of(folder, points, axes={"classes": list(levels)})
