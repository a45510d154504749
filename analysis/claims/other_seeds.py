"""Is an arm nearer to CL than CL of another seed is? Representations of the one panel that all seeds have."""

import warnings
from collections.abc import Mapping
from itertools import combinations
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from analysis.aggregation.gap import Gap
from analysis.arrays.alignment import IllConditionedWarning, linear_cka, rsa
from analysis.claims import values
from analysis.claims.parts import Effects, Part, by_seed
from analysis.claims.roles import having
from analysis.claims.rules import FROM_STEP, Row
from analysis.claims.sweeps import SweepRun
from analysis.runs.run import Run
from analysis.runs.seeds import check
from coupled.errors import UserError

_LEAST: Final = 3  # seeds: without one of them a pair is left


def other_seeds(row: Row, part: Part, measure: str) -> Effects:
    """The measure of an arm less the alignment of its reference with that of other seeds, a mean over pairs of seeds.

    A pair belongs to two seeds, so that pairs are not independent: each seed has its jackknife pseudo-value of the mean
    over all pairs, docs/theory.md (127).
    """
    own = by_seed(row, part, lambda run, arm: values.at_state(run, measure, arm, "mean"))
    numbers = {seed: value for seed, value in own.items() if not isinstance(value, Gap)}
    if len(numbers) < len(own):
        return own
    if len(own) < _LEAST:
        return dict.fromkeys(own, Gap(f"pairs of seeds need {_LEAST} of them"))
    runs = {seed: part.of_seed(seed)[0] for seed in own}
    try:
        check([run.opened for run in runs.values()])
        features = {seed: _late(run.opened, _reference(row, run)) for seed, run in runs.items()}
    except UserError as error:
        return dict.fromkeys(own, Gap(str(error)))
    pairs = {pair: _aligned(measure, features[pair[0]], features[pair[1]]) for pair in combinations(sorted(own), 2)}
    pseudo = pseudo_values(pairs)
    return {seed: value - pseudo[seed] for seed, value in numbers.items()}


def pseudo_values(pairs: Mapping[tuple[int, int], Any]) -> dict[int, Any]:
    """Of each of n seeds n·U − (n − 1)·U_{−s}: U the mean over all pairs, U_{−s} over those without it. Of numbers, or
    of arrays element by element.
    """
    seeds = sorted({seed for pair in pairs for seed in pair})
    n, whole = len(seeds), sum(pairs.values()) / len(pairs)
    others = {seed: [value for pair, value in pairs.items() if seed not in pair] for seed in seeds}
    return {seed: n * whole - (n - 1) * sum(others[seed]) / len(others[seed]) for seed in seeds}


def _reference(row: Row, run: SweepRun) -> str:
    return run.arms[having(run.arms, row.arms[0])[0]]["reference"]


def _late(run: Run, arm: str) -> dict[int, NDArray[np.floating]]:
    """h of the panel (n, d) at the recorded steps from 100 on."""
    return {
        int(step): h
        for steps, block in run.blocks("panel", arm, "state.h")
        for step, h in zip(steps, block, strict=True)
        if step >= FROM_STEP
    }


def _aligned(measure: str, one: Mapping[int, NDArray[np.floating]], other: Mapping[int, NDArray[np.floating]]) -> float:
    """The mean over the steps that both have."""
    of = {"cka": linear_cka, "rsa": rsa}[measure]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", IllConditionedWarning)  # of RSA alone, which decides nothing
        return float(np.mean([of(one[step], other[step]) for step in sorted(one.keys() & other.keys())]))
