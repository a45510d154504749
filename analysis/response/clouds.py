"""How much of the distance between two losses lies between nudged copies of one: docs/theory.md (119)."""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from analysis.arrays.amplification import energy_share
from analysis.response.missing import Missing
from analysis.runs.controls import is_floor
from analysis.runs.run import Run
from coupled.config.resolved import Nudged
from coupled.reading.checkpoints import checkpoints_of, open_checkpoint, state_dict

_Weights = Mapping[str, NDArray[np.generic]]
_Key = tuple[str, float | str]  # an arm, and the scale that copies of it were nudged by


@dataclass(frozen=True)
class Share:
    """The energy share of two arms' clouds at a kept step: copies nudged by one scale, so many of either."""

    first: str
    second: str
    step: int
    scale: float | str
    runs: tuple[int, int]
    share: float


def energy_shares(run: Run, missing: Missing) -> list[Share]:
    """The shares of every pair of arms with two nudged copies or more each, at every kept checkpoint after the start.

    The copies of both have different draws: equal draws would be correlated. Why there are none goes into `missing`.
    """
    clouds = {key: copies for key, copies in _clouds(run).items() if len(copies) >= 2}
    pairs = [(x, y) for x, y in itertools.combinations(clouds, 2) if x[1] == y[1] and _independent(run, clouds, (x, y))]
    if not pairs:
        missing.add("energy share", "it takes two arms with two copies each, nudged by one scale and different draws")
        return []
    entries = {step: entry for step, entry in checkpoints_of(run.path, run.manifest).items() if step}
    shares = []
    for step, entry in entries.items():
        names = dict.fromkeys(name for pair in pairs for key in pair for name in clouds[key])
        opened = {name: open_checkpoint(run.path, entry, name, run.fingerprint) for name in names}
        weights = {name: state_dict(run.config, name, tensors) for name, tensors in opened.items()}
        for first, second in pairs:
            x, y = clouds[first], clouds[second]
            xx, yy = (_distances(weights, itertools.combinations(cloud, 2)) for cloud in (x, y))
            share = energy_share(xx, yy, _distances(weights, itertools.product(x, y)))
            shares.append(Share(first[0], second[0], step, first[1], (len(x), len(y)), share))
    return shares


def _clouds(run: Run) -> dict[_Key, list[str]]:
    """The copies of every arm that were nudged at the start and are compared with it, by arm and scale."""
    clouds: dict[_Key, list[str]] = {}
    for name, spec in run.arms.items():
        if is_floor(run, name) and isinstance(spec, Nudged):
            clouds.setdefault((str(spec.of), spec.scale), []).append(name)
    return clouds


def _independent(run: Run, clouds: Mapping[_Key, Sequence[str]], pair: tuple[_Key, _Key]) -> bool:
    draws = [run.arms[name].draw for key in pair for name in clouds[key]]
    return len(set(draws)) == len(draws)


def _distances(weights: Mapping[str, _Weights], pairs: Iterable[tuple[str, str]]) -> list[float]:
    return [_squared(weights[a], weights[b]) for a, b in pairs]


def _squared(a: _Weights, b: _Weights) -> float:
    """‖w − w'‖² over the parameters of encoder and projector, in float64."""
    names = [name for name in a if "running_" not in name and not name.startswith("head.")]
    return float(sum(((a[name].astype(np.float64) - b[name].astype(np.float64)) ** 2).sum() for name in names))
