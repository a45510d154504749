"""The ledger by the config: which arms have one, what it can tell of them, and which schedules are mistakes."""

from collections.abc import Sequence

from coupled.config.resolved import Config
from coupled.config.traits import traits_of
from coupled.errors import UserError, unknown
from coupled.objectives.registry import is_function_of_sigma


def records_ledger(config: Config) -> bool:
    """Is the ledger recorded at any step?"""
    schedule = config.record.ledger
    return bool(schedule.every or schedule.log or schedule.steps or schedule.last)


def ledger_arms(config: Config) -> dict[str, str]:
    """Every arm that has a ledger if one is recorded, in the config's order, with its reference.

    They have a reference with an objective of Σ, which can be taken of their own Σ, and both see the shared inputs.
    """
    references = {name: arm.reference for name, arm in config.arms.items() if arm.reference is not None}
    return {
        name: reference
        for name, reference in references.items()
        if is_function_of_sigma(config.arms[reference].objective)
        and all(traits_of(config.arms, each).inputs is None for each in (name, reference))
    }


def contrasted(config: Config) -> dict[str, str]:
    """The arms whose loss is also taken at their reference's weights, with that reference."""
    references = ledger_arms(config)
    return {name: references[name] for name in config.ledger.contrast}


def has_momentum(config: Config) -> bool:
    """Do updates add up in a buffer whose difference the ledger follows?"""
    return config.optimiser.name == "sgd" and bool(config.optimiser.momentum)


def splits(config: Config) -> bool:
    """Is the exact split of D carried along? docs/theory.md (105)."""
    return not why_no_split(config)


def why_no_split(config: Config) -> str:
    """Why the ledger has the gradients' split alone, in words; "" where it has the exact split of D too."""
    optimiser = config.optimiser
    if not records_ledger(config):
        return "no ledger is recorded"
    if optimiser.name != "sgd":
        return f"optimiser.name = {optimiser.name}: its update is not linear in the gradient"
    if optimiser.clip_norm is not None:
        return "optimiser.clip_norm scales every arm's gradient by a factor of its own"
    if config.train.precision == "bf16":
        return "train.precision = bf16"
    if config.record.ledger.every != 1:
        return "record.ledger does not look at every step"
    return ""


def is_moved(config: Config, arm: str) -> bool:
    """Is something added to an arm's weights beside its updates, after the start?"""
    traits = traits_of(config.arms, arm)
    return bool(traits.kicks) or any(nudge.at for nudge in traits.nudges)


def split_arms(config: Config) -> list[str]:
    """The arms with accumulators, which every checkpoint holds in files of their own."""
    return list(ledger_arms(config)) if splits(config) else []


def check_ledger(config: Config) -> None:
    """Raises UserError for a ledger that cannot be kept, and for contrasts without one."""
    contrast = config.ledger.contrast
    if not records_ledger(config):
        if contrast:
            raise UserError(
                f"ledger.contrast = {', '.join(contrast)}",
                "it only counts with a schedule in record.ledger",
                "remove it",
            )
        return
    references = [arm.reference for arm in config.arms.values() if arm.reference is not None]
    if not references:
        raise UserError("record.ledger", "an arm with a reference to be compared with", "add an arm, or remove it")
    for reference in references:
        if not is_function_of_sigma(config.arms[reference].objective):
            raise UserError(
                f"record.ledger with the reference {reference}",
                f"its objective, {config.arms[reference].objective}, cannot be taken of another arm's Σ",
                "compare with an arm that has another objective, or record no ledger",
            )
    _check_contrast(config, contrast)


def _check_contrast(config: Config, contrast: Sequence[str]) -> None:
    with_ledger = ledger_arms(config)
    for name in contrast:
        if name not in config.arms:
            raise unknown("ledger.contrast", name, with_ledger)
        if name not in with_ledger:
            raise UserError(f"ledger.contrast names {name}", "an arm with a ledger: " + ", ".join(with_ledger))
        if not is_function_of_sigma(config.arms[name].objective):
            raise UserError(
                f"ledger.contrast names {name}",
                f"its objective, {config.arms[name].objective}, cannot be taken of its reference's Σ",
                "leave it out",
            )
    if len(set(contrast)) < len(contrast):
        raise UserError(f"ledger.contrast = {', '.join(contrast)}", "every arm once", "remove what is there twice")
