"""Rules that join fields, and defaults that depend on others. No data is read: sizes are registry constants."""

import dataclasses
import difflib
import re
from dataclasses import replace

from coupled import data
from coupled.config.schema import Arm, Config
from coupled.errors import UserError, unknown
from coupled.models import ENCODERS
from coupled.objectives import OBJECTIVES
from coupled.views import RECIPES

_ARM_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")


def resolve(config: Config) -> Config:
    """The config with every default filled in; raises UserError where fields do not fit each other."""
    info = data.info(config.data.name)
    for name, registry, what in (
        (config.views.recipe, RECIPES, "views.recipe"),
        (config.model.encoder, ENCODERS, "model.encoder"),
    ):
        if name not in registry:
            raise unknown(what, name, registry)
    labelling = config.data.labelling or info.default_labelling
    balance_by = config.data.balance_by or labelling
    for name, key in ((labelling, "data.labelling"), (balance_by, "data.balance_by")):
        if name not in info.classes:
            raise unknown(key, name, info.classes)
    _check_unused(config, info)
    _check_sizes(config, info)
    horizon = _horizon(config)
    balanced = config.batches.stream == "balanced"
    seed = (config.data.seed or 0) if info.procedural else None
    config = replace(
        config,
        data=replace(config.data, labelling=labelling, balance_by=balance_by if balanced else None, seed=seed),
        views=replace(config.views, size=config.views.size or info.size),
        optimiser=replace(config.optimiser, horizon=horizon),
    )
    return replace(config, arms=_arms(config, info))


def _check_unused(config: Config, info: data.DataInfo) -> None:
    """A field that would change nothing is a mistake, not a decoration."""
    for value, used, key, condition in (
        (config.data.balance_by, config.batches.stream == "balanced", "data.balance_by", "batches.stream = balanced"),
        (config.optimiser.horizon, config.optimiser.schedule == "cosine", "optimiser.horizon", "schedule = cosine"),
        (config.data.seed, info.procedural, "data.seed", "a procedural data set"),
    ):
        if value is not None and not used:
            raise UserError(f"{key} = {value}", f"it only counts with {condition}", "remove it")


def _horizon(config: Config) -> int | None:
    optimiser, steps = config.optimiser, config.train.steps
    if optimiser.schedule == "constant":
        return None
    horizon = optimiser.horizon or max(steps, 1)
    if horizon < steps:
        raise UserError(f"optimiser.horizon = {horizon}", f"at least train.steps = {steps}", "raise it or train less")
    if optimiser.warmup > horizon:
        raise UserError(f"optimiser.warmup = {optimiser.warmup}", f"at most the horizon, {horizon}", "lower it")
    return horizon


def _check_sizes(config: Config, info: data.DataInfo) -> None:
    for value, most, key, what in (
        (config.batches.size, info.train_size, "batches.size", "training images"),
        (config.panel.size, info.test_size, "panel.size", "test images"),
        (config.panel.surrogate_size, info.train_size, "panel.surrogate_size", "training images"),
    ):
        if value > most:
            raise UserError(f"{key} = {value}", f"at most {most}, the {what} of {config.data.name}")
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}", config.name):
        raise UserError(
            f"name = {config.name!r}",
            "at most 128 letters, digits, '.', '_' and '-', as it names the run directory",
            "set name",
        )


def _arms(config: Config, info: data.DataInfo) -> dict[str, Arm]:
    if not config.arms:
        raise UserError("no arms", "at least one is needed", 'for example [arms.cl] objective = "dcl"')
    for name in config.arms:
        if not _ARM_NAME.fullmatch(name) or name == "shared":
            raise UserError(f"arm name {name!r}", "letters, digits, '_' and '-'; not 'shared'")
    first = next(iter(config.arms))
    if config.arms[first].kind != "objective":
        raise UserError(f"arms.{first} is a control", "the first arm must have kind = objective", "move it down")
    own = {n: _objective(n, arm, config, info) for n, arm in config.arms.items() if arm.kind == "objective"}
    arms = {n: own[n] if n in own else _control(n, arm, own, first) for n, arm in config.arms.items()}
    arms = {n: _anchored(n, arm, arms, first) for n, arm in arms.items()}
    _check_draws(arms)
    return arms


def _objective(name: str, arm: Arm, config: Config, info: data.DataInfo) -> Arm:
    for key in ("of", "scale", "draw"):
        if getattr(arm, key) is not None:
            raise UserError(
                f"arms.{name}.{key}", "only controls take it (kind = twin, nudged, independent)", "remove it"
            )
    if arm.objective is None:
        near = difflib.get_close_matches(name, [other for other in config.arms if other != name], n=1)
        hint = f"did you mean arms.{near[0]}?" if near else ""
        raise UserError(f"arms.{name} has no objective", "one of " + ", ".join(OBJECTIVES), hint)
    if arm.objective not in OBJECTIVES:
        raise unknown(f"arms.{name}.objective", arm.objective, OBJECTIVES)
    labelling = arm.labelling or config.data.labelling
    if labelling not in info.classes:
        raise unknown(f"arms.{name}.labelling", str(labelling), info.classes)
    return replace(arm, labelling=labelling, temperature=arm.temperature or config.train.temperature)


def _control(name: str, arm: Arm, objectives: dict[str, Arm], first: str) -> Arm:
    for key in ("objective", "labelling", "temperature"):
        if getattr(arm, key) is not None:
            raise UserError(
                f"arms.{name}.{key}", f"a control ({arm.kind}) takes it from the arm it copies", "remove it"
            )
    of = arm.of or first
    if of not in objectives:
        raise UserError(f"arms.{name}.of = {of}", "an arm of kind objective: " + ", ".join(objectives))
    if arm.scale is not None and arm.kind != "nudged":
        raise UserError(f"arms.{name}.scale", "only kind = nudged takes it", "remove it")
    if isinstance(arm.scale, str) and arm.scale != "ulp":
        raise UserError(f"arms.{name}.scale = {arm.scale!r}", '"ulp" or a number above 0')
    if arm.draw is not None and arm.kind == "twin":
        raise UserError(f"arms.{name}.draw", "a twin draws nothing", "remove it")
    copied = {key: getattr(objectives[of], key) for key in ("objective", "labelling", "temperature")}
    scale = (arm.scale or "ulp") if arm.kind == "nudged" else None
    return replace(arm, of=of, scale=scale, draw=None if arm.kind == "twin" else arm.draw or 1, **copied)


def _anchored(name: str, arm: Arm, arms: dict[str, Arm], first: str) -> Arm:
    anchor = arm.anchor or arm.of or (None if name == first else first)
    if anchor is not None and (anchor not in arms or anchor == name):
        others = [other for other in arms if other != name]
        raise UserError(f"arms.{name}.anchor = {anchor}", "another arm: " + (", ".join(others) or "there is none"))
    return replace(arm, anchor=anchor)


def _check_draws(arms: dict[str, Arm]) -> None:
    """Two controls that draw the same are one control twice: a mistake."""
    seen: dict[tuple[object, ...], str] = {}
    for name, arm in arms.items():
        if arm.kind in ("nudged", "independent"):
            key = tuple(v for k, v in dataclasses.asdict(arm).items() if k != "anchor")
            if key in seen:
                raise UserError(f"arms.{seen[key]} and arms.{name} are the same control", "give one another `draw`")
            seen[key] = name
