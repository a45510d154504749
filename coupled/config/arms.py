"""Rules of the arms: objectives and their options, controls, references."""

import dataclasses
import difflib
import re
from collections.abc import Mapping
from dataclasses import replace

from coupled.config import schema
from coupled.config.resolved import Arm, Independent, Nudged, filled
from coupled.errors import UserError, told_apart, unknown
from coupled.objectives.registry import NEEDS_LABELS, OBJECTIVES, Objective, known, validate

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
# What a control takes from the arm it copies.
COPIED = ("objective", "labelling", "temperature", "lam", "positive_in_denominator")


def objective_of(arm: Arm) -> Objective:
    """What a resolved arm minimises."""
    return Objective(arm.objective, bool(arm.positive_in_denominator), arm.lam)


def resolve_arms(written: schema.Written, classes: Mapping[str, int] | None, *, elsewhere: bool) -> dict[str, Arm]:
    """The arms with every default filled in. `classes` are the data set's labellings (None: it is not known here);
    `elsewhere`: resolved before, maybe with objectives that are not known here. Raises UserError.
    """
    if not written.arms:
        raise UserError("no arms", "at least one is needed", 'for example [arms.cl] objective = "dcl"')
    for name in written.arms:
        if not _NAME.fullmatch(name) or name == "shared":
            raise UserError(f"arm name {name!a}", "letters, digits, '_' and '-'; not 'shared'")
    first = next(iter(written.arms))
    if written.arms[first].kind != "objective":
        raise UserError(f"arms.{first} is a control", "the first arm must have kind = objective", "move it down")
    own = {
        name: _objective(name, arm, written, classes, elsewhere)
        for name, arm in written.arms.items()
        if arm.kind == "objective"
    }
    arms = {n: own[n] if n in own else _control(n, arm, own, first) for n, arm in written.arms.items()}
    arms = {n: _with_reference(n, arm, arms, first) for n, arm in arms.items()}
    _check_draws(arms)
    return arms


def _objective(
    name: str, arm: schema.Arm, written: schema.Written, classes: Mapping[str, int] | None, elsewhere: bool
) -> Arm:
    for key in ("of", "scale", "draw"):
        if getattr(arm, key) is not None:
            raise UserError(
                f"arms.{name}.{key}", "only controls take it (kind = twin, nudged, independent)", "remove it"
            )
    if arm.objective is None:
        near = difflib.get_close_matches(name, [other for other in written.arms if other != name], n=1)
        hint = f"did you mean arms.{near[0]}?" if near else ""
        raise UserError(f"arms.{name} has no objective", "one of " + ", ".join(known()), hint)
    if not elsewhere or arm.objective in known():
        validate(Objective(arm.objective, bool(arm.positive_in_denominator), arm.lam), f"arms.{name}.")
    labelling = arm.labelling or written.data.labelling
    if classes is not None:
        if arm.labelling is not None and arm.labelling not in classes:
            raise unknown(f"arms.{name}.labelling", arm.labelling, classes)
        if labelling is None and (arm.objective in NEEDS_LABELS or arm.objective not in OBJECTIVES):
            raise UserError(
                f"arms.{name}.objective = {arm.objective}",
                f"it needs labels, and {written.data.name} has none",
                "use dcl or nt_xent, or another data set",
            )
    takes_positive = arm.objective in ("nscl", "homotopy")
    return filled(
        Arm,
        arm,
        labelling=labelling,
        temperature=arm.temperature or written.train.temperature,
        positive_in_denominator=bool(arm.positive_in_denominator) if takes_positive else None,
    )


def _control(name: str, arm: schema.Arm, objectives: dict[str, Arm], first: str) -> Arm:
    for key in COPIED:
        if getattr(arm, key) is not None:
            raise UserError(
                f"arms.{name}.{key}", f"a control ({arm.kind}) takes it from the arm it copies", "remove it"
            )
    of = arm.of or first
    if of not in objectives:
        shown = told_apart(of, objectives)
        raise UserError(f"arms.{name}.of = {shown}", "an arm of kind objective: " + ", ".join(objectives))
    if arm.scale is not None and arm.kind != "nudged":
        raise UserError(f"arms.{name}.scale", "only kind = nudged takes it", "remove it")
    if isinstance(arm.scale, str) and arm.scale != "ulp":
        raise UserError(f"arms.{name}.scale = {arm.scale!r}", '"ulp" or a number above 0')
    if arm.draw is not None and arm.kind == "twin":
        raise UserError(f"arms.{name}.draw", "a twin draws nothing", "remove it")
    copied = {key: getattr(objectives[of], key) for key in COPIED}
    if arm.kind == "twin":
        return filled(Arm, arm, of=of, **copied)
    if arm.kind == "independent":
        return filled(Independent, arm, of=of, draw=arm.draw or 1, **copied)
    return filled(Nudged, arm, of=of, scale=arm.scale or "ulp", draw=arm.draw or 1, **copied)


def _with_reference(name: str, arm: Arm, arms: dict[str, Arm], first: str) -> Arm:
    reference = arm.reference or arm.of or (None if name == first else first)
    if reference is not None and (reference not in arms or reference == name):
        others = [other for other in arms if other != name]
        shown, allowed = told_apart(reference, others), ", ".join(others) or "there is none"
        raise UserError(f"arms.{name}.reference = {shown}", f"another arm: {allowed}")
    return replace(arm, reference=reference)


def _check_draws(arms: dict[str, Arm]) -> None:
    """Two controls that draw the same are one control twice: a mistake."""
    seen: dict[tuple[object, ...], str] = {}
    for name, arm in arms.items():
        if arm.kind in ("nudged", "independent"):
            key = tuple(v for k, v in dataclasses.asdict(arm).items() if k != "reference")
            if key in seen:
                raise UserError(f"arms.{seen[key]} and arms.{name} are the same control", "give one another `draw`")
            seen[key] = name
