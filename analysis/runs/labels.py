"""The labels that an arm's loss sees, by the names that curves, tables and figures give them."""

from collections.abc import Mapping
from typing import Final

from coupled.config import Arm
from coupled.config.traits import Permuted, traits_of

# How the name of a labelling goes on where its labels are permuted: "size, permuted".
_PERMUTED: Final = ", permuted"


def permuted_of(arms: Mapping[str, Arm], arm: str) -> Permuted | None:
    """The permuted labels that an arm's loss sees; None where it sees true ones."""
    labels = traits_of(arms, arm).labels
    return labels if isinstance(labels, Permuted) else None


def own_labelling(arms: Mapping[str, Arm], arm: str) -> str | None:
    """The name of the labels that an arm's loss sees; None without labels."""
    permuted = permuted_of(arms, arm)
    return arms[arm].labelling if permuted is None else f"{permuted.labelling}{_PERMUTED}"


def is_permuted(labelling: str) -> bool:
    """Is it the name of permuted labels?"""
    return labelling.endswith(_PERMUTED)
