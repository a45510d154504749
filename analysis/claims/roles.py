"""Which arms of a run play which part in a claim: found by what they are, whatever they are called."""

from collections.abc import Callable, Mapping
from typing import Any, Final

Table = Mapping[str, Any]
Arms = Mapping[str, Table]

_CL: Final = ("dcl", "nt_xent")
# What these are compared with has to be of the same labelling.
_OF_LABELS: Final = ("nscl", "scl", "ce", "placebo")


def _is_cl(arm: Table | None) -> bool:
    return arm is not None and arm["kind"] == "objective" and arm["objective"] in _CL


def _objective(name: str) -> Callable[[Arms, Table], bool]:
    return lambda arms, arm: arm["kind"] == "objective" and arm["objective"] == name


def _copies_cl(arms: Arms, arm: Table) -> bool:
    return arm["of"] == arm["reference"]


def _placebo(arms: Arms, arm: Table) -> bool:
    return arm["kind"] == "placebo" and ROLES["nscl"](arms, arms[arm["of"]])


def _nudged(arms: Arms, arm: Table) -> bool:
    """By a given scale at the start. One ulp is of another size in each precision."""
    is_nudged = arm["kind"] == "nudged" and not isinstance(arm["scale"], str) and not arm.get("at")
    return is_nudged and _copies_cl(arms, arm)


def _matched(arms: Arms, arm: Table) -> bool:
    is_matched = arm["kind"] == "nudged" and arm["scale"] == "matched" and _copies_cl(arms, arm)
    return is_matched and ROLES["nscl"](arms, arms[arm["match"]])


def _independent(arms: Arms, arm: Table) -> bool:
    return arm["kind"] == "independent" and _copies_cl(arms, arm)


def _other_batches(arms: Arms, arm: Table) -> bool:
    return arm["kind"] == "other-inputs" and arm.get("inputs", "batches") == "batches" and _copies_cl(arms, arm)


# All are compared with an arm that CL trains; `cl` is that arm.
ROLES: Final[dict[str, Callable[[Arms, Table], bool]]] = {
    "nscl": _objective("nscl"),
    "scl": _objective("scl"),
    "ce": _objective("ce"),
    "placebo": _placebo,
    "nudged": _nudged,
    "matched": _matched,
    "independent": _independent,
    "other-inputs": _other_batches,
}
CL: Final = "cl"


def having(arms: Arms, role: str) -> list[str]:
    """The arms that play a part, in the config's order: for `cl` those that arms trained by NSCL are compared with."""
    if role == CL:
        return list(dict.fromkeys(arms[name]["reference"] for name in having(arms, "nscl")))
    return [
        name for name, arm in arms.items() if _is_cl(arms.get(arm.get("reference") or "")) and ROLES[role](arms, arm)
    ]


def partner(arms: Arms, arm: str, role: str) -> str | None:
    """The first arm of a role that is compared with the same arm, under the same labels where both have some."""
    reference = arms[arm]["reference"]
    if role == CL:
        return reference
    for name in having(arms, role):
        other = arms[name]
        same_labels = role not in _OF_LABELS or other["labelling"] == arms[arm]["labelling"]
        if name != arm and other["reference"] == reference and same_labels:
            return name
    return None
