"""How far the weights of two arms are apart, from their checkpoints alone: no record and no forward pass is needed.

Shapes: T steps, L layers: the parameters that all arms of a run have, in its order; a classifier head is none of them.
Values are those that training records (`coupled.recording.weights`), to rounding.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from analysis.divergence import angle, marked
from analysis.divergence.layers import LayerMap, relative
from analysis.evaluation.alignment.pairs import Pair
from analysis.evaluation.networks import weights_at
from analysis.runs.curve import Curve
from coupled.theory.alignment import weight_gap

_NO_NORM: Final = "a norm is 0 or not finite"


class _Compared(NamedTuple):
    """Two arms at one step, by layer: norms, distance ‖w−w'‖ and angle, float64 (L,)."""

    own: Tensor
    other: Tensor
    distance: Tensor
    angle: Tensor


def comparable(pair: Pair) -> bool:
    """Do both arms have the same layers? Arms of one run always do."""
    layers = [
        [(layer["name"], layer["shape"]) for layer in side.run.facts["layers"]] for side in (pair.own, pair.other)
    ]
    return layers[0] == layers[1]


def curves_of_weights(pair: Pair) -> list[Curve]:
    """Distance and relative distance (58), angle (60) and weight gap (57) of docs/theory.md, of all weights."""
    layers = pair.own.run.facts["layers"]
    counted = torch.tensor([layer["in_weight_gap"] for layer in layers])
    by_step = [_compared(pair, step) for step in pair.steps]
    own, other, distance = (
        np.array([float(side.square().sum().sqrt()) for side in sides])
        for sides in list(zip(*by_step, strict=True))[:3]
    )
    gaps = [float(weight_gap(at.own[counted], at.other[counted], at.distance[counted])) for at in by_step]
    sizes = np.array([np.prod(layer["shape"], dtype=int) for layer in layers])
    some = _curve(pair, "distance", distance, int(sizes.sum()), "|w-w'| of all weights")
    curves = [
        some,
        replace(
            some, measure="relative_distance", values=relative(distance, own, other),
            estimator="|w-w'| / ((|w|+|w'|)/2) of all weights", undefined=_NO_NORM,
        ),
        replace(
            some, measure="angle", values=angle(own, other, distance),
            estimator="angle between all weights, radians, from norms and distance",
            undefined=f"{_NO_NORM}, or the distance is below what float64 norms resolve",
        ),
        replace(
            some, measure="weight_gap", values=np.array(gaps), d=int(sizes[counted.numpy()].sum()),
            estimator=f"mean over {int(counted.sum())} encoder layers of |w-w'| / ((|w|+|w'|)/2)", undefined=_NO_NORM,
        ),
    ]  # fmt: skip
    return [marked(pair.own.run, curve) if pair.of_config else curve for curve in curves]


def layer_maps(pair: Pair) -> list[LayerMap]:
    """ "distance", "relative_distance", "angle" (59) and "weight_norm" of every layer, at every step."""
    by_step = [_compared(pair, step) for step in pair.steps]
    own, other, distance, turned = (torch.stack(sides).numpy() for sides in zip(*by_step, strict=True))
    return [
        _map(pair, "distance", distance, "|w-w'|", ""),
        _map(pair, "relative_distance", relative(distance, own, other), "|w-w'| / ((|w|+|w'|)/2)", _NO_NORM),
        _map(pair, "angle", turned, "radians", _NO_NORM),
        _map(pair, "weight_norm", own, "|w|", ""),
    ]


def _compared(pair: Pair, step: int) -> _Compared:
    run, other = pair.own.run, pair.other.run
    key = ("compared weights", pair.arm, other.path, pair.reference, step)
    names = [layer["name"] for layer in run.facts["layers"]]
    return run.remembered(
        key, lambda: compared(names, weights_at(run, pair.arm, step), weights_at(other, pair.reference, step))
    )


def compared(names: Sequence[str], own: dict[str, NDArray[Any]], other: dict[str, NDArray[Any]]) -> _Compared:
    """Layer by layer in float64: no more than one is held. Angles by docs/theory.md (59)."""
    rows = []
    for name in names:
        w, v = (torch.from_numpy(np.array(side[name], dtype=np.float64)).flatten() for side in (own, other))
        a, b = w.norm(), v.norm()
        turned = 2 * torch.atan2((w / a - v / b).norm(), (w / a + v / b).norm())
        rows.append(torch.stack([a, b, (w - v).norm(), turned]))
    return _Compared(*torch.stack(rows, 1))


def _curve(pair: Pair, measure: str, values: NDArray[np.float64], d: int, estimator: str) -> Curve:
    return Curve(
        measure=measure,
        arm=pair.arm,
        reference=pair.compared_with,
        steps=np.array(pair.steps, np.int64),
        values=values,
        n=None,
        d=d,
        feature=None,
        source="checkpoint",
        split=None,
        labelling=None,
        estimator=estimator,
        undefined="a weight is not finite",
        flags=pair.flags,
    )


def _map(pair: Pair, measure: str, values: NDArray[np.float64], units: str, undefined: str) -> LayerMap:
    layers = pair.own.run.facts["layers"]
    return LayerMap(
        measure=measure,
        arm=pair.arm,
        reference=pair.compared_with,
        steps=np.array(pair.steps, np.int64),
        layers=tuple(layer["name"] for layer in layers),
        values=values,
        in_weight_gap=np.array([layer["in_weight_gap"] for layer in layers], bool),
        units=units,
        undefined=undefined,
    )
