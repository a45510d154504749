"""Which arms are controls of which, and what they are called."""

from typing import Final

from analysis.runs.run import Run
from coupled.config import Arm
from coupled.config.controls import MATCHED
from coupled.config.resolved import Anti, Kicked, Nudged, OtherInputs, Placebo

CEILING: Final = "independent twin"
# What a control that is neither floor nor ceiling tells, by kind.
ANSWERS: Final = {
    "placebo": "A placebo removes as many negatives, but at random: what it shares with the arm it copies is not about "
    "the labels.",
    "kicked": "A kicked arm gets random pushes as long as the loss's at every step: what they explain takes no "
    "direction. "
    "With momentum the loss's own pull is carried on and adds up to more.",
    "anti": "An anti arm is as far away on the other side after one step; it stays there as far as the weights answer "
    "to the loss in proportion.",
    "other-inputs": "An arm of other inputs shows how far apart these alone bring one loss.",
}
# What the others tell.
_NUDGED: Final = (
    "A nudge shows what a difference of its size grows to with one and the same loss. That depends on the size, the "
    "precision and the activation: a larger distance than a nudge's does not say that the loss made it."
)
_MATCHED: Final = (
    "A matched nudge is one random push as long as the loss's first step: what it reaches takes neither the labels nor "
    "the loss's direction."
)
_ENDS: Final = {
    "twin": "A twin differs in nothing: at 0 throughout it shows that the run was in lockstep.",
    "independent": "An independent arm shows how far apart other initial weights bring one loss.",
}


def answers(run: Run) -> dict[str, list[str]]:
    """What the controls of a run tell, a sentence or two for each kind, with the arms of that kind."""
    arms: dict[str, list[str]] = {}
    for name, spec in run.arms.items():
        if isinstance(spec, Nudged):
            sentence = _MATCHED if spec.scale == MATCHED else _NUDGED
        else:
            sentence = {**ANSWERS, **_ENDS}.get(spec.kind, "")
        if sentence:
            arms.setdefault(sentence, []).append(name)
    return arms


def arms_with_reference(run: Run) -> list[str]:
    """The arms that have a reference, in the config's order."""
    return [arm for arm, spec in run.arms.items() if spec.reference is not None]


def controls(run: Run, arm: str) -> list[str]:
    """The floors and ceilings of the arm's reference, without the arm itself."""
    reference = run.arms[arm].reference
    return [
        name
        for name, spec in run.arms.items()
        if name != arm and spec.reference == reference and (is_floor(run, name) or is_ceiling(run, name))
    ]


def is_twin(run: Run, arm: str) -> bool:
    """Is the arm an exact copy of the arm that it is compared with?"""
    return _is_own(run, arm, "twin")


def is_floor(run: Run, arm: str) -> bool:
    """Was the arm nudged at its start by a given scale, and is it compared with the arm it copies?

    Later nudges, and those of a matched size, are no floors: they stand for themselves.
    """
    spec = run.arms[arm]
    return _is_own(run, arm, "nudged") and isinstance(spec, Nudged) and not spec.at and spec.scale != MATCHED


def is_ceiling(run: Run, arm: str) -> bool:
    """Has the arm other initial weights than the arm it copies, with which it is compared?"""
    return _is_own(run, arm, "independent")


def loss_of(run: Run, control: str) -> str | None:
    """The arm whose loss a control stands for: that which a placebo or an anti arm copies, and that which a kicked or
    matched arm is pushed as far as. None for other arms, and where the two have not one reference.
    """
    spec = run.arms[control]
    match spec:
        case Placebo() | Anti():
            arm = spec.of
        case Kicked() | Nudged():
            arm = spec.match
        case _:
            return None
    return arm if arm is not None and run.arms[arm].reference == spec.reference else None


def _is_own(run: Run, arm: str, kind: str) -> bool:
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
    """A nudge in words: "one-ulp nudge", "nudge of 1e-06" or "matched nudge"."""
    if spec.scale == MATCHED:
        return "matched nudge"
    return "one-ulp nudge" if spec.scale == "ulp" else f"nudge of {spec.scale:g}"


def control_of(spec: Arm) -> str:
    """What a control is, in words: "exact copy of cl"; "" for an arm that is none."""
    match spec:
        case Nudged():
            when = f" at step {spec.at:,}" if spec.at else ""
            along = ", along another batch's gradient" if spec.direction == "batch" else ""
            return f"{nudge_of(spec)} of {spec.of}{when}{along}" + (f", as far as {spec.match}" if spec.match else "")
        case Placebo():
            where = "in every batch" if spec.across == "batch" else "across the data set"
            return f"{spec.of}, labels permuted {where}"
        case Kicked():
            return f"{spec.of}, kicked at every step as far as {spec.match} differs"
        case Anti():
            return f"twice the loss of {spec.against} less that of {spec.of}"
        case OtherInputs():
            return f"{spec.of} on other batches" if spec.inputs == "batches" else f"{spec.of} under other views"
    return {
        "twin": f"exact copy of {spec.of}",
        "independent": f"{spec.of} from other initial weights",
    }.get(spec.kind, "")
