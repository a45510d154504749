"""Rules of the arms: objectives and their options, controls, references."""

import dataclasses
import difflib
import re
from collections.abc import Mapping
from dataclasses import replace

from coupled.config import schema
from coupled.config.controls import OWN_FIELDS, OWN_FIELDS_OF, check_antis, check_control, control
from coupled.config.resolved import Arm, filled
from coupled.errors import UserError, told_apart, unknown
from coupled.objectives.registry import NEEDS_LABELS, OBJECTIVES, Objective, known, validate

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")


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
    arms: dict[str, Arm] = {}
    for name in _originals_first(written.arms, first):
        arm = written.arms[name]
        if arm.kind == "objective":
            arms[name] = _objective(name, arm, written, classes, elsewhere)
        else:
            arms[name] = control(name, replace(arm, of=arm.of or first), arms)
        arms[name] = replace(arms[name], reference=_reference(name, arms, written.arms, first))
    arms = {name: arms[name] for name in written.arms}
    check_antis(arms)
    for name in arms:
        check_control(name, arms, written)
    _check_draws(arms)
    return arms


def _originals_first(written: Mapping[str, schema.Arm], first: str) -> list[str]:
    """The arms, each after the one that it copies. Raises UserError for an unknown one, and for a circle."""
    ordered: list[str] = []
    for name in written:
        path = [name]
        while written[path[-1]].kind != "objective" and path[-1] not in ordered:
            of = written[path[-1]].of or first
            if of not in written or of == path[-1]:
                others = [other for other in written if other != path[-1]]
                shown = told_apart(of, others)
                raise UserError(f"arms.{path[-1]}.of = {shown}", "another arm: " + ", ".join(others))
            if of in path:
                circle = " of ".join([*path[path.index(of) :], of])
                raise UserError(f"arms.{name}.of", f"{circle}: a circle", "copy an arm of kind objective in the end")
            path.append(of)
        ordered += [each for each in reversed(path) if each not in ordered]
    return ordered


def _objective(
    name: str, arm: schema.Arm, written: schema.Written, classes: Mapping[str, int] | None, elsewhere: bool
) -> Arm:
    for key in ("of", *OWN_FIELDS):
        if getattr(arm, key) is not None:
            raise UserError(f"arms.{name}.{key}", "only controls take it (an arm with another kind)", "remove it")
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


def _reference(name: str, arms: Mapping[str, Arm], written: Mapping[str, schema.Arm], first: str) -> str | None:
    """The arm that one is compared with: as written, or that of its kind. `arms` are resolved up to this one."""
    arm = arms[name]
    default = arm.of or (None if name == first else first)
    if arm.kind in ("placebo", "anti") and arm.of is not None:
        default = arms[arm.of].reference or default
    reference = arm.reference or default
    if reference is not None and (reference not in written or reference == name):
        others = [other for other in written if other != name]
        shown, allowed = told_apart(reference, others), ", ".join(others) or "there is none"
        raise UserError(f"arms.{name}.reference = {shown}", f"another arm: {allowed}")
    return reference


def _check_draws(arms: dict[str, Arm]) -> None:
    """Two controls that draw the same are one control twice: a mistake."""
    seen: dict[tuple[object, ...], str] = {}
    for name, arm in arms.items():
        if "draw" in OWN_FIELDS_OF.get(arm.kind, ()):
            key = tuple(v for k, v in dataclasses.asdict(arm).items() if k != "reference")
            if key in seen:
                raise UserError(f"arms.{seen[key]} and arms.{name} are the same control", "give one another `draw`")
            seen[key] = name
