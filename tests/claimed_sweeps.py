"""Sweeps made by hand: curves of a known law in place of runs."""

from pathlib import Path

import numpy as np
from helpers import tiny

from analysis.aggregation.gap import Gap
from analysis.aggregation.summary import QUANTITIES, Summary
from analysis.claims.sweeps import Sweep, SweepRun
from coupled.config import resolved
from coupled.store import canonical_json
from coupled.store.canonical import strict_json

STEPS, PANEL = 300, np.array([0, 10, 30, 100, 150, 200, 250, 300])
ARMS = {
    "cl": {"objective": "dcl"},
    "nscl": {"objective": "nscl"},
    "scl": {"objective": "scl"},
    "ce": {"objective": "ce"},
    "placebo": {"kind": "placebo", "of": "nscl"},
    "nudged": {"kind": "nudged", "scale": 1e-4},
    "matched": {"kind": "nudged", "scale": "matched", "match": "nscl"},
    "independent": {"kind": "independent"},
    "others": {"kind": "other-inputs"},
}


class Given:
    """What stands for measures at checkpoints: series by measure and arm."""

    def __init__(self, series):
        self._series = series

    def series(self, measure, arm):
        return self._series[measure, arm]

    def errors(self):
        return Gap("no few-shot errors were made")


class Maker:
    """Makes runs and sweeps; `curves` gives the values of a quantity of an arm over steps, others are constants.

    `at`: values of measures at kept checkpoints, by measure, arm and step; without it no checkpoint is kept.
    """

    def __init__(self, folder):
        self.folder = folder

    def run(self, name, seed, curves, values=None, *, arms=ARMS, steps=STEPS, last=None, at=None, **sections):
        kept = sorted({step for of_arm in (at or {}).values() for step in of_arm})
        sections = {"train": {"steps": steps}, "checkpoints": {"keep": {"steps": kept}}, **sections}
        config = tiny(self.folder, name=name, seed=seed, arms=arms, **sections)
        every = np.arange(steps + 1)
        panel = np.append(PANEL[steps > PANEL], steps)
        tensors = {"rate": np.concatenate([[0.0], np.cumsum(np.full(steps, 0.1))])}
        for arm in arms:
            own = {
                "cka": (panel, np.full(len(panel), 0.9)),
                "rsa": (panel, np.full(len(panel), 0.8)),
                "weight_gap": (every, every / steps),
                "distance": (every, every / steps),
                "mass": (every[1:], np.full(steps, 0.1)),
                "gap": (every[1:], np.full(steps, 0.1)),
                "loss": (every[1:], np.linspace(3, 2, steps)),
                "motion": (every, every / steps),
            }
            for quantity, made in curves.items():
                if arm in made:
                    x = own[quantity][0]
                    own[quantity] = (x, np.broadcast_to(np.asarray(made[arm](x)), x.shape).astype(np.float64))
            for quantity, (x, y) in own.items():
                tensors |= {f"{quantity}.{arm}.steps": x.astype(np.int64), f"{quantity}.{arm}.values": y}
        labellings = {spec.labelling for spec in config.arms.values()}
        classes = {"size": 2, "shape": 8, "colour": 8, "texture": 4}
        about = {
            "seed": seed,
            "config": strict_json(canonical_json(resolved(config))),
            "digest": "",
            "shared": {},
            "quantities": list(QUANTITIES),
            "missing": {},
            "steps_per_epoch": 50,
            "images": 1000,
            "classes": {
                name: int(np.prod([classes[part] for part in name.split("*")]))
                if not config.data.classes
                else len(config.data.classes)
                for name in labellings
            },
            "start": dict.fromkeys(arms, 1.0),
            "last": steps if last is None else last,
            "planned": steps,
        }
        given = {"seed": (seed,), **{axis: tuple(each) for axis, each in (values or {}).items()}}
        run = SweepRun(name, Path(self.folder) / name, given, Summary(Path(name), about, tensors))
        series = {key: (np.array(list(of_arm)), np.array(list(of_arm.values()))) for key, of_arm in (at or {}).items()}
        run.__dict__["evaluated"] = Given(series)
        return run

    def sweep(self, runs, name="made"):
        return Sweep(Path(self.folder) / name, tuple(runs))

    def seeds(self, curves_of, seeds=range(5), **options):
        """A sweep over seeds alone; `curves_of`, `at_of`: from a seed to curves, and to values at checkpoints."""
        at_of = options.pop("at_of", lambda seed: None)
        return self.sweep([self.run(f"s{s}", s, curves_of(s), at=at_of(s), **options) for s in seeds])
