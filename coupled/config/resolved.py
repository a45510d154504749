"""The resolved config: what `resolve` gives and all other code takes.

Each class is one of `schema.py` in which the fields that resolution always fills are no longer None. Sections that
look the same after it (code, data, batches, train, …) have their class in `schema.py` alone.
"""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from coupled.config import schema

T = TypeVar("T")


def _always(written: Any, name: str) -> Any:
    """A field that resolution always fills: without default, described as the one of `written`, a class of schema.py.

    A type checker takes it for one with a default; `filled` makes sure of its value.
    """
    return dataclasses.field(metadata=written.__dataclass_fields__[name].metadata, kw_only=True)


def _unless_written(written: Any, name: str, default: Any) -> Any:
    """A field that came later, with what it is unless a user writes it; described as the one of `written`."""
    return dataclasses.field(default=default, metadata=written.__dataclass_fields__[name].metadata, kw_only=True)


@dataclass(frozen=True)
class Views(schema.Views):
    """[views] with its size."""

    size: int = _always(schema.Views, "size")


@dataclass(frozen=True)
class Model(schema.Model):
    """[model] with its widths; an option stays None where the encoder does not take it."""

    projection_hidden: int = _always(schema.Model, "projection_hidden")


@dataclass(frozen=True)
class Optimiser(schema.Optimiser):
    """[optimiser], always of one of the three kinds below.

    `reference_batch` is None where scaling = constant, `horizon` where schedule = constant.
    """


@dataclass(frozen=True)
class Sgd(Optimiser):
    """SGD with its own number."""

    momentum: float = _always(schema.Optimiser, "momentum")


@dataclass(frozen=True)
class Lars(Optimiser):
    """LARS with its own numbers."""

    momentum: float = _always(schema.Optimiser, "momentum")
    trust: float = _always(schema.Optimiser, "trust")


@dataclass(frozen=True)
class AdamW(Optimiser):
    """AdamW with its own numbers."""

    beta1: float = _always(schema.Optimiser, "beta1")
    beta2: float = _always(schema.Optimiser, "beta2")
    epsilon: float = _always(schema.Optimiser, "epsilon")


@dataclass(frozen=True)
class Arm(schema.Arm):
    """[arms.<name>] with what it minimises; controls have that of the arm they copy.

    `labelling` is None only where the data set has no labels; then no objective needs them.
    """

    objective: str = _always(schema.Arm, "objective")
    temperature: float = _always(schema.Arm, "temperature")


@dataclass(frozen=True)
class Nudged(Arm):
    """A control whose weights are moved once: `match` is None unless scale = "matched"."""

    scale: float | str = _always(schema.Arm, "scale")
    draw: int = _always(schema.Arm, "draw")
    at: int = _unless_written(schema.Arm, "at", 0)
    direction: str = _unless_written(schema.Arm, "direction", "random")


@dataclass(frozen=True)
class Independent(Arm):
    """A control with initial weights of its own."""

    draw: int = _always(schema.Arm, "draw")


@dataclass(frozen=True)
class Placebo(Arm):
    """A control whose objective sees permuted labels."""

    draw: int = _always(schema.Arm, "draw")
    across: str = _unless_written(schema.Arm, "across", "batch")


@dataclass(frozen=True)
class Kicked(Arm):
    """A control that is moved at every step, at random, as far as the objective of `match` differs."""

    draw: int = _always(schema.Arm, "draw")
    match: str = _always(schema.Arm, "match")


@dataclass(frozen=True)
class Anti(Arm):
    """A control that minimises twice the loss of `against` less that of `of`."""

    against: str = _always(schema.Arm, "against")


@dataclass(frozen=True)
class OtherInputs(Arm):
    """A control that sees other batches, or the same ones under other views."""

    draw: int = _always(schema.Arm, "draw")
    inputs: str = _unless_written(schema.Arm, "inputs", "batches")


@dataclass(frozen=True)
class Config(schema.Written):
    """A whole run, every default filled in."""

    views: Views = _always(schema.Written, "views")
    model: Model = _always(schema.Written, "model")
    optimiser: Optimiser = _always(schema.Written, "optimiser")
    arms: dict[str, Arm] = _always(schema.Written, "arms")


def filled(cls: Callable[..., T], written: Any, **values: Any) -> T:
    """`written`, a section as a user wrote it, as a resolved `cls`: `values` replace fields of it."""
    section = cls(**{field.name: getattr(written, field.name) for field in dataclasses.fields(written)} | values)
    for field in dataclasses.fields(section):  # type: ignore[arg-type]
        needed = field.default is field.default_factory is dataclasses.MISSING
        assert not needed or getattr(section, field.name) is not None, field.name
    return section
