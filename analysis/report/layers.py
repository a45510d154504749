"""Per-layer maps: how far each layer of an arm is from its reference's, over steps."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from analysis.divergence.layers import LayerMap, layers
from analysis.output.thinning import spread
from analysis.runs.controls import arms_with_reference
from analysis.runs.run import Run
from coupled.errors import UserError

RELATIVE: Final = "relative distance"
ANGLE: Final = "angle (degrees)"
_NAMES: Final = {"relative_distance": RELATIVE, "angle": ANGLE}  # of a measure of layers: its name on the page
MOST_STEPS: Final = 120
MOST_CELLS: Final = 240_000  # of all maps together: about 1.7 MB of the page


@dataclass(frozen=True, eq=False)
class LayerGrid:
    """One measure of an arm against its reference: values float64 (T, L) at steps (T,) for L named layers.

    NaN where a layer is all 0 in both (distance) or in either (angle). `of` is how many steps were recorded: T is less
    where steps were left out for size.
    """

    arm: str
    reference: str
    measure: str
    names: tuple[str, ...]
    steps: NDArray[np.int64]
    values: NDArray[np.float64]
    of: int


def layer_grids(run: Run, missing: dict[str, list[str]]) -> list[LayerGrid]:
    """Both measures of every arm with a reference; none, with the reason in missing["layers"], where records lack."""
    arms = arms_with_reference(run)
    if not arms:
        missing.setdefault("layers", []).append("The run has one arm: there is nothing to compare it with.")
    elif not run.schedules("layers"):
        missing.setdefault("layers", []).append("The stream layers is not recorded (record.layers is empty).")
    else:
        maps = [(arm, measure, name) for arm in arms for measure, name in _NAMES.items()]
        most = max(2, min(MOST_STEPS, MOST_CELLS // (len(run.facts["layers"]) * len(maps))))
        try:
            return [_thinned(layers(run, arm, measure), name, most) for arm, measure, name in maps]
        except UserError as error:
            missing.setdefault("layers", []).append(f"{error}.")
    return []


def _thinned(whole: LayerMap, name: str, most: int) -> LayerGrid:
    at = spread(whole.steps, most)
    return LayerGrid(
        arm=whole.arm,
        reference=str(whole.reference),
        measure=name,
        names=whole.layers,
        steps=whole.steps[at],
        values=np.degrees(whole.values[at]) if name == ANGLE else whole.values[at],
        of=len(whole.steps),
    )
