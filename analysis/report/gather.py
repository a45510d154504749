"""What one run has for a report: each analysis is run once, and what cannot be done is said in words."""

import importlib
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from analysis.curve import Curve
from analysis.curves import curves
from analysis.growth import Growth
from analysis.report.layers import LayerGrid, layer_grids
from analysis.run import Run
from coupled.errors import UserError

# Tables of bounds: function, what it takes, caption, columns.
_TABLES: Final = (
    (
        "vacuity", "found",
        "First step at which a drift bound exceeds the trivial limit of the surrogate (2n) and of two true matrices "
        "(√2·n); – at none of the run's steps",
        ("arm", "anchor", "bound", "surrogate_limit", "true_limit"),
    ),
    (
        "factors", "run and found",
        "Where the slack of drift bounds comes from: bound ÷ measured (ratio) is the product of the next three",
        ("arm", "anchor", "step", "bound", "ratio", "over_rows", "over_surrogate", "over_measured", "exponential"),
    ),
)  # fmt: skip
_GROWTH: Final = (
    "Growth exponents: slope of log distance against the cumulative learning rate, with its 95 % interval",
    ("arm", "window", "first", "last", "n", "exponent", "low", "high", "doubling_steps", "r2", "better", "undefined"),
)


@dataclass(frozen=True)
class Rows:
    """A table: what is under each of its columns are attributes of its rows."""

    section: str
    caption: str
    columns: tuple[str, ...]
    rows: list[Any]


@dataclass
class Gathered:
    """One run's part of a report. `missing` says, section by section, why something is not there."""

    run: Run
    curves: list[Curve]
    bounds: list[Curve] = field(default_factory=list)
    divergence: list[Curve] = field(default_factory=list)
    growth: list[Growth] = field(default_factory=list)
    tables: list[Rows] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)
    layers: list[LayerGrid] = field(default_factory=list)
    missing: dict[str, list[str]] = field(default_factory=dict)


def gather(run: Run, say: Callable[[str], None] = lambda _: None) -> Gathered:
    """Everything that a report shows of a run; `say` hears what is being worked on.

    Raises UserError for a run without a committed step, StoreError for damaged records.
    """
    say("curves")
    made = Gathered(run, curves(run))
    say("bounds")
    made.bounds = _asked(made, "bounds", "bounds", run) or []
    for function, of, caption, columns in _TABLES if made.bounds else ():
        rows = _asked(made, "bounds", function, *((run, made.bounds) if of == "run and found" else (made.bounds,)))
        made.tables += [Rows("bounds", caption, columns, rows)] if rows else []
    made.violations = (_asked(made, "bounds", "violations", made.bounds) or []) if made.bounds else []
    say("divergence")
    made.divergence = _asked(made, "divergence", "divergence", run) or []
    made.growth = _asked(made, "growth", "growth", run, section="divergence") or [] if made.divergence else []
    made.tables += [Rows("divergence", *_GROWTH, made.growth)] if made.growth else []
    say("layers")
    made.layers = layer_grids(run, made.missing)
    made.missing = {section: list(dict.fromkeys(said)) for section, said in made.missing.items()}
    return made


def optional(module: str, function: str) -> Callable[..., Any] | None:
    """A function of a sibling module of `analysis`, None where this version has none."""
    if importlib.util.find_spec(f"analysis.{module}") is None:
        return None
    return getattr(importlib.import_module(f"analysis.{module}"), function, None)


def _asked(made: Gathered, module: str, function: str, *given: Any, section: str | None = None) -> Any:
    """What the function says; a run that lacks the records for it has the reason in `missing`."""
    asked = optional(module, function)
    if asked is None:
        made.missing.setdefault(section or module, []).append(f"This version of coupled-analyze has no {module}.")
        return None
    try:
        return asked(*given)
    except UserError as error:
        made.missing.setdefault(section or module, []).append(f"{error}.")
        return None
