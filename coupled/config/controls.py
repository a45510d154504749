"""Rules of the controls: which fields each kind takes, what it makes of them, which arms it can be a control of."""

from collections.abc import Callable, Mapping
from typing import Final

from coupled.config import schema
from coupled.config.resolved import Anti, Arm, Independent, Kicked, Nudged, OtherInputs, Placebo, filled
from coupled.config.traits import Permuted, traits_of
from coupled.errors import UserError, told_apart
from coupled.objectives.registry import NEEDS_LABELS, OBJECTIVES, is_function_of_sigma

# What a control takes from the arm it copies.
COPIED: Final = ("objective", "labelling", "temperature", "lam", "positive_in_denominator")
# What each kind of control takes beside `of` and `reference`.
OWN_FIELDS_OF: Final[Mapping[str, tuple[str, ...]]] = {
    "twin": (),
    "nudged": ("scale", "draw", "at", "direction", "match"),
    "independent": ("draw",),
    "placebo": ("draw", "across"),
    "kicked": ("draw", "match"),
    "anti": ("against",),
    "other-inputs": ("draw", "inputs"),
}
OWN_FIELDS: Final = tuple(dict.fromkeys(field for fields in OWN_FIELDS_OF.values() for field in fields))
MATCHED: Final = "matched"
MOST_INPUTS: Final = 2**23 - 1  # draws of other inputs: 2·draw + 1 has to fit into the 24 bits of an address's field c


def control(name: str, arm: schema.Arm, arms: Mapping[str, Arm]) -> Arm:
    """The control `name`, which copies one of the resolved `arms`, with every default filled in. Raises UserError."""
    for key in COPIED:
        if getattr(arm, key) is not None:
            raise UserError(
                f"arms.{name}.{key}", f"a control ({arm.kind}) takes it from the arm it copies", "remove it"
            )
    for key in OWN_FIELDS:
        if getattr(arm, key) is not None and key not in OWN_FIELDS_OF[arm.kind]:
            kinds = " or ".join(kind for kind, fields in OWN_FIELDS_OF.items() if key in fields)
            raise UserError(f"arms.{name}.{key}", f"only kind = {kinds} takes it", "remove it")
    assert arm.of is not None
    copied = {key: getattr(arms[arm.of], key) for key in COPIED}
    return _FILLED[arm.kind](name, arm, copied, arms)


def _twin(name: str, arm: schema.Arm, copied: dict[str, object], arms: Mapping[str, Arm]) -> Arm:
    return filled(Arm, arm, **copied)


def _independent(name: str, arm: schema.Arm, copied: dict[str, object], arms: Mapping[str, Arm]) -> Arm:
    return filled(Independent, arm, draw=arm.draw or 1, **copied)


def _nudged(name: str, arm: schema.Arm, copied: dict[str, object], arms: Mapping[str, Arm]) -> Arm:
    if isinstance(arm.scale, str) and arm.scale not in ("ulp", MATCHED):
        raise UserError(f"arms.{name}.scale = {arm.scale!r}", '"ulp", "matched", or a number above 0')
    matched, at, direction = arm.scale == MATCHED, arm.at, arm.direction or "random"
    if matched and arm.match is None:
        raise UserError(f'arms.{name}.scale = "matched"', "it needs the arm to match", 'such as match = "nscl"')
    if not matched and arm.match is not None:
        raise UserError(f"arms.{name}.match", 'only scale = "matched" takes it', 'set scale = "matched", or remove it')
    if matched and (at not in (None, 1) or direction != "random"):
        key = "at" if direction == "random" else "direction"
        raise UserError(f"arms.{name}.{key} = {getattr(arm, key)}", "a matched nudge is random, at step 1", "remove it")
    if direction == "batch" and not (isinstance(arm.scale, float | int) and at):
        key, allowed = ("scale", "a number above 0") if at else ("at", "step 1 or later, as the start is not trained")
        raise UserError(f'arms.{name}.direction = "batch"', f"it needs {key}: {allowed}", f"set {key}")
    return filled(
        Nudged,
        arm,
        scale=arm.scale or "ulp",
        draw=arm.draw or 1,
        at=1 if matched else at or 0,
        direction=direction,
        **copied,
    )


def _placebo(name: str, arm: schema.Arm, copied: dict[str, object], arms: Mapping[str, Arm]) -> Arm:
    return filled(Placebo, arm, draw=arm.draw or 1, across=arm.across or "batch", **copied)


def _kicked(name: str, arm: schema.Arm, copied: dict[str, object], arms: Mapping[str, Arm]) -> Arm:
    if arm.match is None:
        raise UserError(
            f"arms.{name} has no match", "kicks are as long as an arm's objective differs", 'such as match = "nscl"'
        )
    return filled(Kicked, arm, draw=arm.draw or 1, **copied)


def _anti(name: str, arm: schema.Arm, copied: dict[str, object], arms: Mapping[str, Arm]) -> Arm:
    against = arm.against or arms[str(arm.of)].reference
    if against is None:
        raise UserError(
            f"arms.{name}.of = {arm.of}", "it has no reference to reverse its difference from", "set `against`"
        )
    return filled(Anti, arm, against=against, **copied)


def _other_inputs(name: str, arm: schema.Arm, copied: dict[str, object], arms: Mapping[str, Arm]) -> Arm:
    if arm.draw is not None and arm.draw > MOST_INPUTS:
        raise UserError(f"arms.{name}.draw = {arm.draw}", f"1 to {MOST_INPUTS} for other inputs", "lower it")
    return filled(OtherInputs, arm, draw=arm.draw or 1, inputs=arm.inputs or "batches", **copied)


_FILLED: Final[Mapping[str, Callable[[str, schema.Arm, dict[str, object], Mapping[str, Arm]], Arm]]] = {
    "twin": _twin,
    "nudged": _nudged,
    "independent": _independent,
    "placebo": _placebo,
    "kicked": _kicked,
    "anti": _anti,
    "other-inputs": _other_inputs,
}


def check_control(name: str, arms: Mapping[str, Arm], written: schema.Written) -> None:
    """Raises UserError for a control that does not fit the arms that it names, or the run."""
    arm = arms[name]
    if isinstance(arm, Placebo):
        _check_placebo(name, arm, arms, written)
    if isinstance(arm, OtherInputs) and traits_of(arms, str(arm.of)).inputs is not None:
        raise UserError(f"arms.{name}.of = {arm.of}", "it has other inputs already", "copy the arm that it is one of")
    if isinstance(arm, Nudged) and arm.at > written.train.steps:
        raise UserError(f"arms.{name}.at = {arm.at}", f"a step of the run: 0 to {written.train.steps}", "lower it")
    if isinstance(arm, Kicked) or (isinstance(arm, Nudged) and arm.match is not None):
        _check_match(name, arm, arms, written)


def _check_placebo(name: str, arm: Placebo, arms: Mapping[str, Arm], written: schema.Written) -> None:
    if arm.objective in OBJECTIVES and arm.objective not in NEEDS_LABELS:
        raise UserError(
            f"arms.{name}.of = {arm.of}", f"its objective, {arm.objective}, takes no labels to permute", "copy another"
        )
    if isinstance(traits_of(arms, str(arm.of)).labels, Permuted):
        raise UserError(
            f"arms.{name}.of = {arm.of}", "its labels are permuted already", "copy its original, with another draw"
        )
    if arm.across == "run" and written.batches.stream == "balanced":
        raise UserError(
            f'arms.{name}.across = "run"',
            "batches.stream = balanced draws batches by the true labels, so that others would not be exchangeable",
            'use across = "batch", or a uniform stream',
        )


def check_antis(arms: Mapping[str, Arm]) -> None:
    """Raises UserError for an anti arm that does not fit the arms that it names: before any traits are asked for, which
    need those of `of` and `against`.
    """
    for name, arm in arms.items():
        if isinstance(arm, Anti):
            _check_anti(name, arm, arms)


def _check_anti(name: str, arm: Anti, arms: Mapping[str, Arm]) -> None:
    for key in ("of", "against"):
        other = str(getattr(arm, key))
        if other not in arms or other == name:
            others = [each for each in arms if each != name]
            raise UserError(f"arms.{name}.{key} = {told_apart(other, others)}", "another arm: " + ", ".join(others))
        if not is_function_of_sigma(arms[other].objective):
            raise UserError(
                f"arms.{name}.{key} = {other}",
                f"{arms[other].objective} is no function of Σ: it cannot be taken of another's",
                "name an arm with another objective",
            )
        copied: str | None = other
        while copied is not None:
            if arms[copied].kind == "anti":
                raise UserError(f"arms.{name}.{key} = {other}", "it is an anti arm already", "name its original")
            copied = arms[copied].of


def _check_match(name: str, arm: Kicked | Nudged, arms: Mapping[str, Arm], written: schema.Written) -> None:
    match = str(arm.match)
    if match not in arms or match == name:
        others = [each for each in arms if each != name]
        raise UserError(f"arms.{name}.match = {told_apart(match, others)}", "another arm: " + ", ".join(others))
    if arms[match].reference != arm.of:
        raise UserError(
            f"arms.{name}.match = {match}",
            f"its reference is {arms[match].reference or 'none'}, and must be {arm.of}, the arm that {name} copies",
            f"set arms.{match}.reference, or arms.{name}.of",
        )
    if isinstance(arm, Nudged):
        first, second = (traits_of(arms, each) for each in (match, str(arm.of)))
        if (first.terms, first.beginning, first.inputs) == (second.terms, second.beginning, second.inputs):
            raise UserError(
                f"arms.{name}.match = {match}", f"after step 1 it is where {arm.of} is: no difference to match",
                "match an arm with another loss, start or inputs",
            )  # fmt: skip
        return
    if not is_function_of_sigma(arms[str(arm.of)].objective):
        raise UserError(
            f"arms.{name}.of = {arm.of}", f"{arms[str(arm.of)].objective} cannot be taken of another arm's Σ",
            "kick an arm with another objective",
        )  # fmt: skip
    if written.optimiser.name != "sgd" or written.optimiser.clip_norm is not None:
        given = "clip_norm" if written.optimiser.name == "sgd" else f"name = {written.optimiser.name}"
        raise UserError(
            f"arms.{name}.kind = kicked with optimiser.{given}",
            "only sgd without clipping moves weights by the learning rate times the gradient",
            "remove the arm, or use sgd",
        )
