"""Which arms are controls of which, and what they are called."""

from typing import Final

from analysis.runs.run import Run
from coupled.config import Arm

CEILING: Final = "independent twin"


def arms_with_reference(run: Run) -> list[str]:
    """The arms that have a reference, in the config's order."""
    return [arm for arm, spec in run.arms.items() if spec.reference is not None]


def controls(run: Run, arm: str) -> list[str]:
    """The nudged and independent twins of the arm's reference, without the arm itself."""
    reference = run.arms[arm].reference
    kinds = ("nudged", "independent")
    return [
        name
        for name, spec in run.arms.items()
        if name != arm and spec.reference == reference and any(own_control(run, name, kind) for kind in kinds)
    ]


def own_control(run: Run, arm: str, kind: str) -> bool:
    """Is the arm a control of this kind that is compared with the arm it copies?"""
    spec = run.arms[arm]
    return spec.kind == kind and spec.reference == spec.of


def floor_of(run: Run, arm: str) -> str:
    """A nudged twin with what its numbers depend on: "one-ulp nudge, float32"."""
    return f"{nudge_of(run.arms[arm])}, {run.precision}"


def bound_of(run: Run, control: str) -> str:
    """The name of the limit that a control sets: "nudged twin (one ulp, float32)" or "independent twin"."""
    spec = run.arms[control]
    if spec.kind == "independent":
        return CEILING
    scale = "one ulp" if spec.scale == "ulp" else f"{spec.scale:g}"
    return f"nudged twin ({scale}, {run.precision})"


def nudge_of(spec: Arm) -> str:
    """A nudge in words: "one-ulp nudge" or "nudge of 1e-06"."""
    return "one-ulp nudge" if spec.scale == "ulp" else f"nudge of {spec.scale:g}"
