"""Per-layer maps: how far each layer of an arm is from its anchor's, over steps."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from analysis.run import Run

RELATIVE: Final = "relative distance"
ANGLE: Final = "angle (degrees)"
MOST_STEPS: Final = 120
MOST_CELLS: Final = 240_000  # of all maps together: about 1.7 MB of the page


@dataclass(frozen=True, eq=False)
class LayerGrid:
    """One measure of an arm against its anchor: values float64 (T, L) at steps (T,) for L named layers.

    NaN where a layer is all 0 in both (distance) or in either (angle). `of` is how many steps were recorded: T is less
    where steps were left out for size.
    """

    arm: str
    anchor: str
    measure: str
    names: tuple[str, ...]
    steps: NDArray[np.int64]
    values: NDArray[np.float64]
    of: int


def layer_grids(run: Run, missing: dict[str, list[str]]) -> list[LayerGrid]:
    """Both measures of every arm with an anchor; what is not recorded is said in missing["layers"]."""
    compared = {arm: spec.anchor for arm, spec in run.arms.items() if spec.anchor is not None}
    if not compared:
        missing.setdefault("layers", []).append("The run has one arm: there is nothing to compare it with.")
        return []
    if not run.schedules("layers"):
        missing.setdefault("layers", []).append("The stream layers is not recorded (record.layers is empty).")
        return []
    names = tuple(layer["name"] for layer in run.facts["layers"])
    most = max(2, min(MOST_STEPS, MOST_CELLS // (len(names) * 2 * len(compared))))
    grids = []
    for arm, anchor in compared.items():
        if run.awaits("layers", arm, anchor):
            missing.setdefault("layers", []).append(f"layers of {arm}: nothing committed yet.")
            continue
        grids += _of_arm(run, arm, anchor, names, most)
    return grids


def spread(steps: NDArray[np.int64], most: int) -> NDArray[np.intp]:
    """The positions of at most `most` steps: all, or about evenly spaced in log(step), with the first and last."""
    if len(steps) <= most:
        return np.arange(len(steps))
    # Where steps are whole numbers, log-spaced targets meet the same step: more targets until there are enough.
    chosen, targets = np.zeros(0, np.intp), most
    while True:
        at = np.geomspace(1, steps[-1] + 1, targets) - 1
        more = np.unique(np.searchsorted(steps, at).clip(max=len(steps) - 1))
        if len(more) > most:
            return chosen
        chosen, targets = more, targets + max(1, targets // 8)


def _of_arm(run: Run, arm: str, anchor: str, names: tuple[str, ...], most: int) -> list[LayerGrid]:
    steps, distance = run.column("layers", arm, "state.distance")
    _, norm = run.column("layers", arm, "state.norm")
    _, angle = run.column("layers", arm, "state.angle")
    others, other = run.column("layers", anchor, "state.norm")
    # Of a run still written one arm may be a shard ahead.
    count = min(len(steps), len(others))
    at = spread(steps[:count], most)
    scale = (norm[at] + other[at]) / 2
    relative = np.divide(distance[at], scale, out=np.full_like(scale, np.nan), where=scale > 0)
    values = {RELATIVE: relative, ANGLE: np.degrees(angle[at])}
    return [LayerGrid(arm, anchor, what, names, steps[at], grid, count) for what, grid in values.items()]
