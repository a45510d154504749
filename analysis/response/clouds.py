"""How much of the distance between two losses lies between nudged copies of one: docs/theory.md (121)."""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from analysis.arrays.amplification import energy_share
from analysis.runs.controls import own_control
from analysis.runs.run import Run
from coupled.reading.checkpoints import checkpoints_of, open_checkpoint, state_dict

_Weights = Mapping[str, NDArray[np.generic]]


@dataclass(frozen=True)
class Share:
    """The energy share of two arms' clouds at a kept step, with the number of runs in each."""

    first: str
    second: str
    step: int
    runs: tuple[int, int]
    share: float


def energy_shares(run: Run, missing: list[str]) -> list[Share]:
    """The shares of every pair of arms with two nudged copies or more each, at every kept checkpoint after the start.

    The copies of both have different draws: equal draws would be correlated. Why there are none goes into `missing`.
    """
    clouds = {arm: copies for arm in run.arms if len(copies := _copies(run, arm)) >= 2}
    pairs = [pair for pair in itertools.combinations(clouds, 2) if _independent(run, clouds, pair)]
    if not pairs:
        missing.append("no energy share: two arms with two nudged copies each are needed, all of different draws")
        return []
    entries = {step: entry for step, entry in checkpoints_of(run.path, run.manifest).items() if step}
    shares = []
    for step, entry in entries.items():
        names = dict.fromkeys(name for pair in pairs for arm in pair for name in clouds[arm])
        opened = {name: open_checkpoint(run.path, entry, name, run.fingerprint) for name in names}
        weights = {name: state_dict(run.config, name, tensors) for name, tensors in opened.items()}
        for first, second in pairs:
            x, y = clouds[first], clouds[second]
            xx, yy = (_distances(weights, itertools.combinations(cloud, 2)) for cloud in (x, y))
            share = energy_share(xx, yy, _distances(weights, itertools.product(x, y)))
            shares.append(Share(first, second, step, (len(x), len(y)), share))
    return shares


def _copies(run: Run, arm: str) -> list[str]:
    """The nudged copies of an arm that are compared with it."""
    return [name for name, spec in run.arms.items() if spec.of == arm and own_control(run, name, "nudged")]


def _independent(run: Run, clouds: Mapping[str, Sequence[str]], pair: tuple[str, str]) -> bool:
    draws = [run.arms[name].draw for arm in pair for name in clouds[arm]]
    return len(set(draws)) == len(draws)


def _distances(weights: Mapping[str, _Weights], pairs: Iterable[tuple[str, str]]) -> list[float]:
    return [_squared(weights[a], weights[b]) for a, b in pairs]


def _squared(a: _Weights, b: _Weights) -> float:
    """‖w − w'‖² over the parameters of encoder and projector, in float64."""
    names = [name for name in a if "running_" not in name and not name.startswith("head.")]
    return float(sum(((a[name].astype(np.float64) - b[name].astype(np.float64)) ** 2).sum() for name in names))
