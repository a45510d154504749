"""One per-layer quantity of an arm over steps, from the stream `layers`.

Shapes: T recorded steps, L layers (parameters that all arms have, in run.json's order).
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from analysis.runs.run import Run
from coupled.errors import UserError, unknown

# measure → (recorded column, units, why a value is NaN)
_COLUMNS: Final[dict[str, tuple[str, str, str]]] = {
    "distance": ("state.distance", "|w-w'|", ""),
    "relative_distance": ("state.distance", "|w-w'| / ((|w|+|w'|)/2)", "0/0: both layers are all zero"),
    "angle": ("state.angle", "radians", "a layer of norm 0 has no direction"),
    "weight_norm": ("state.norm", "|w|", ""),
    "gradient_norm": ("batch.gradient_norm", "|g|", ""),
    "update_norm": ("update.norm", "|w(t+1)-w(t)|", ""),
}
_AGAINST: Final = ("distance", "relative_distance", "angle")


@dataclass(frozen=True, eq=False, kw_only=True)
class LayerMap:
    """One quantity of every layer at every recorded step.

    steps int64 (T,), layers (L,) names, values float64 (T, L), in_weight_gap bool (L,), all read-only. `units` says
    what is divided by what, `undefined` why a value is NaN. `reference` is None where nothing is compared.
    """

    measure: str
    arm: str
    reference: str | None
    steps: NDArray[np.int64]
    layers: tuple[str, ...]
    values: NDArray[np.float64]
    in_weight_gap: NDArray[np.bool_]
    units: str
    undefined: str

    def __post_init__(self) -> None:
        assert self.values.shape == (len(self.steps), len(self.layers)) and self.values.dtype == np.float64
        for array in (self.steps, self.values, self.in_weight_gap):
            array.flags.writeable = False


def layers(run: Run, arm: str, measure: str) -> LayerMap:
    """The map of "distance", "relative_distance", "angle", "weight_norm", "gradient_norm" or "update_norm".

    The first three are against the arm's reference; a relative distance is in [0, 2], an angle in [0, π]. Raises
    UserError for an unknown measure or arm, an arm without a reference, and a run that records no layers.
    """
    if measure not in _COLUMNS:
        raise unknown("measure of layers", measure, _COLUMNS)
    spec = run.arm(arm)
    reference = spec.reference if measure in _AGAINST else None
    if measure in _AGAINST and reference is None:
        raise UserError(f"{arm} has no reference", "it is the reference of the others", "name another arm")
    column, units, undefined = _COLUMNS[measure]
    if measure == "relative_distance":
        steps, values = _relative(run, arm, str(reference))
    else:
        steps, values = run.column("layers", arm, column)
    rows = run.facts["layers"]
    counted = np.array([row["in_weight_gap"] for row in rows], bool)
    return LayerMap(
        measure=measure,
        arm=arm,
        reference=reference,
        steps=steps,
        layers=tuple(row["name"] for row in rows),
        values=values,
        in_weight_gap=counted,
        units=units,
        undefined=undefined,
    )


def joined(run: Run, stream: str, wanted: list[tuple[str, str]]) -> tuple[NDArray[np.int64], list[NDArray[np.float64]]]:
    """Several (arm, column) of a stream at the steps that all have: of a run still written one may be ahead."""
    columns = [run.column(stream, arm, column) for arm, column in wanted]
    common = min((steps for steps, _ in columns), key=len)
    for steps, _ in columns:
        common = common[np.isin(common, steps)]
    return common, [values[np.isin(steps, common)] for steps, values in columns]


def _relative(run: Run, arm: str, reference: str) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    wanted = [(arm, "state.distance"), (arm, "state.norm"), (reference, "state.norm")]
    steps, (distance, own, other) = joined(run, "layers", wanted)
    return steps, relative(distance, own, other)


def relative(
    distance: NDArray[np.float64], own: NDArray[np.float64], other: NDArray[np.float64]
) -> NDArray[np.float64]:
    """‖w−w'‖ / (½(‖w‖+‖w'‖)), elementwise, in [0, 2]; NaN where both norms are 0."""
    mean = (own + other) / 2
    return np.divide(distance, mean, out=np.full(mean.shape, np.nan), where=mean > 0)
