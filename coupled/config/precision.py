"""Numbers that a run computes with must be numbers of its precision.

Those that the optimiser's kernels take are rounded to it. The others are not: λ enters as its logarithm, temperatures
have narrower bounds of their own, `scale` of a nudged arm is tried on the weights themselves, data.imbalance is counted
with in integers, ranks.timeout is in seconds.
"""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import torch

from coupled.config.fields import allowed, within
from coupled.config.resolved import AdamW, Config
from coupled.errors import UserError
from coupled.theory.learning_rate import peak

# The normal numbers of each precision: smaller ones lose digits. Rounded inwards: what a message names is allowed.
_RANGES = {"float32": (1.2e-38, 3.4e38), "float64": (2.3e-308, 1.7e308)}


def check_precision(config: Config) -> None:
    """UserError for a number of a resolved config that its precision makes infinite, 0, or one outside its bounds."""
    for name, value, metadata in _rounded(config):
        _check(f"{name} = {value!r}", value, metadata, config.train.dtype)
    _check_decay(config)
    for given, value in _derived(config):
        _check_range(given, value, config.train.dtype)


def _rounded(table: Any, where: str = "") -> Iterator[tuple[str, float, Mapping[str, Any]]]:
    """Name, value and metadata of every number that is rounded."""
    for field in dataclasses.fields(table):
        value: Any = getattr(table, field.name)
        name = f"{where}{field.name}"
        if dataclasses.is_dataclass(value):
            yield from _rounded(value, f"{name}.")
        elif isinstance(value, dict):
            for key, part in value.items():
                yield from _rounded(part, f"{name}.{key}.")
        elif value is not None and field.metadata.get("rounded"):
            yield name, value, field.metadata


def _derived(config: Config) -> Iterator[tuple[str, float]]:
    """What the kernels are given in place of those numbers."""
    optimiser, size = config.optimiser, config.batches.size
    rate, given = peak(optimiser, size), f"optimiser.learning_rate = {optimiser.learning_rate:g}"
    if optimiser.scaling != "constant":
        yield f"{given}, scaled to {rate:g} for batches of {size}", rate
    if isinstance(optimiser, AdamW):
        first = rate / (1 - optimiser.beta1)
        yield f"{given}, which adamw's first step divides by 1 − beta1, to {first:g}", first
        if optimiser.weight_decay:
            yield f"{given} times weight_decay = {optimiser.weight_decay:g}", rate * optimiser.weight_decay


def _check(given: str, value: float, metadata: Mapping[str, Any], precision: str) -> None:
    if value == 0 and within(value, metadata):
        return
    _check_range(given, value, precision, "raise it or set 0" if within(0.0, metadata) else "raise it")
    rounded = torch.tensor(value, dtype=getattr(torch, precision))
    if not within(rounded.item(), metadata):
        below = torch.nextafter(rounded, torch.zeros_like(rounded)).item()
        limits = f"{allowed(metadata)}, but in {precision} it is {rounded.item():g}"
        raise UserError(given, limits, _remedy(f"at most {below:.8g}", precision))


def _check_range(given: str, value: float, precision: str, do: str = "raise it") -> None:
    low, high = _RANGES[precision]
    if value < low:
        raise UserError(given, f"{precision} holds numbers from {low:g}", _remedy(do, precision))
    if value > high:
        raise UserError(given, f"{precision} holds numbers up to {high:g}", _remedy("lower it", precision))


def _check_decay(config: Config) -> None:
    """adamw multiplies weights by 1 − η·λ, which must not be 1."""
    optimiser, precision = config.optimiser, config.train.dtype
    product = peak(optimiser, config.batches.size) * optimiser.weight_decay
    factor = torch.tensor(1 - product, dtype=getattr(torch, precision))
    if optimiser.name == "adamw" and optimiser.weight_decay and factor.item() == 1:
        raise UserError(
            f"optimiser.weight_decay = {optimiser.weight_decay:g}",
            f"adamw multiplies weights by 1 − {product:g} at the peak rate, which in {precision} is 1: nothing decays",
            _remedy("raise it or set 0", precision),
        )


def _remedy(do: str, precision: str) -> str:
    return do if precision == "float64" else f"{do}, or use train.precision = float64"
