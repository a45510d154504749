"""Two rows of one column: how they differ."""

from typing import NamedTuple

import numpy as np

from coupled.layout import SHARED

_NEAR = 9999  # ulps; beyond it their number says nothing that the difference does not


class RowDifference(NamedTuple):
    """How a column differs at one step.

    `differing` of `total` elements differ in their bytes. `largest`, `relative`: max |Δ|, and max |Δ|/max(|a|, |b|),
    over finite pairs (nan where there is none). `ulps`: the most floats that lie between a pair. `nans`: pairs of which
    one or both are NaN. `layer`: the first layer in the network's order that differs, of per-layer columns.
    """

    stream: str
    owner: str
    column: str
    differing: int
    total: int
    largest: float
    relative: float
    ulps: int
    nans: int
    layer: str

    @property
    def name(self) -> str:
        return f"{self.column} of {self.stream}/{self.owner}" + (f" ({self.layer})" if self.layer else "")

    @property
    def size(self) -> str:
        """The difference in words."""
        parts = [f"{self.differing} of {self.total} elements"]
        if self.largest == self.largest:  # not NaN
            near = f" ({self.ulps} ulp)" if 0 < self.ulps <= _NEAR else ""
            parts.append(f"largest {self.largest:.3g}{near}")
        if self.nans:
            parts.append(f"{self.nans} NaN")
        return ", ".join(parts)

    @property
    def rank(self) -> int:
        """Causes before effects: inputs, state, forward, losses, gradients, updates, and the chain of all before."""
        if self.column == "batch.chain":
            return 6
        if self.owner == SHARED:
            return 0
        group, _, name = self.column.partition(".")
        if group == "state":
            return 1
        return {"z": 2, "gradient_norm": 4, "norm": 5}.get(name, 3)

    def meaning(self, step: int) -> str:
        """What it says about the cause."""
        start = "the runs started from other weights" if step == 0 else f"the update from step {step - 1} differed"
        return (
            "the inputs of that step differ, so everything after may",
            f"inputs were equal up to there: {start}",
            "inputs and weights were equal up to there: the forward pass differed",
            "the embeddings were equal up to there: the objective or its arithmetic differed",
            "the losses were equal up to there: the backward pass differed",
            "the gradients were equal up to there: the optimiser differed",
            "all that is chained before it differs unseen: the initial weights, or a step that is not recorded",
        )[self.rank]


def row_difference(
    stream: str, owner: str, column: str, a: np.ndarray, b: np.ndarray, layers: list[str]
) -> RowDifference | None:
    """None where both rows have the same bytes. Shapes and dtypes are equal."""
    if a.tobytes() == b.tobytes():
        return None
    one, other = np.ravel(a), np.ravel(b)
    differing = _bytes(one) != _bytes(other)
    at = np.flatnonzero(differing.any(axis=1))
    x, y = one[at], other[at]
    largest, relative, ulps, nans = _sizes(x, y)
    per_layer = stream == "layers" and len(one) == len(layers)
    layer = layers[int(at[0])] if per_layer else ""
    return RowDifference(stream, owner, column, len(at), len(one), largest, relative, ulps, nans, layer)


def _sizes(x: np.ndarray, y: np.ndarray) -> tuple[float, float, int, int]:
    if x.dtype.kind != "f":
        gap = np.abs(x.astype(np.float64) - y.astype(np.float64))
        return float(gap.max()), float("nan"), 0, 0
    bad = np.isnan(x) | np.isnan(y)
    fine = np.isfinite(x) & np.isfinite(y)
    if not fine.any():
        return float("nan"), float("nan"), 0, int(bad.sum())
    u, v = x[fine].astype(np.float64), y[fine].astype(np.float64)
    gap, scale = np.abs(u - v), np.maximum(np.abs(u), np.abs(v))
    relative = np.divide(gap, scale, out=np.zeros_like(gap), where=scale > 0)
    return float(gap.max()), float(relative.max()), _ulps(x[fine], y[fine]), int(bad.sum())


def _ulps(x: np.ndarray, y: np.ndarray) -> int:
    """The most floats of their type that lie between a pair; −0 and 0 are one apart."""
    integer = np.dtype(f"i{x.dtype.itemsize}")
    steps = []
    for values in (x, y):
        bits = values.view(integer).astype(object)  # of any size: the difference may not fit
        low = int(np.iinfo(integer).min)
        steps.append([int(bit) if bit >= 0 else low - int(bit) - 1 for bit in bits])
    return max(abs(one - other) for one, other in zip(*steps, strict=True))


def _bytes(values: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(values).view(np.uint8).reshape(len(values), values.dtype.itemsize)
