"""What one run has for a report: each analysis is run once, and what cannot be done is said in words."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from analysis.bounds import bounds
from analysis.bounds.checks import factors, vacuity, violations
from analysis.curves import curves
from analysis.divergence import divergence
from analysis.divergence.growth import Growth, growth
from analysis.report.layers import LayerGrid, layer_grids
from analysis.runs.curve import Curve
from analysis.runs.recorded import check_steps
from analysis.runs.run import Run
from coupled.errors import UserError

_VACUITY: Final = (
    "First step at which a drift bound exceeds the trivial limit of the surrogate (2n) and of two true matrices "
    "(√2·n); – at none of the run's steps",
    ("arm", "reference", "bound", "surrogate_limit", "true_limit"),
)
_FACTORS: Final = (
    "Where the slack of drift bounds comes from: bound ÷ measured (ratio) is the product of the next three",
    ("arm", "reference", "step", "bound", "ratio", "over_rows", "over_surrogate", "over_measured", "exponential"),
)
_GROWTH: Final = (
    "Growth exponents: slope of log distance against the cumulative learning rate, with its 95 % interval",
    ("arm", "window", "first", "last", "n", "exponent", "low", "high", "doubling_steps", "r2", "better", "undefined"),
)


@dataclass(frozen=True)
class PageTable:
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
    tables: list[PageTable] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)
    layers: list[LayerGrid] = field(default_factory=list)
    missing: dict[str, list[str]] = field(default_factory=dict)

    def asked(self, section: str, function: Callable[[Run], list[Any]], run: Run) -> list[Any]:
        """What the function finds; of a run that lacks the records for it, nothing, with the reason in `missing`."""
        try:
            return function(run)
        except UserError as error:
            self.missing.setdefault(section, []).append(f"{error}.")
            return []

    def table(self, section: str, about: tuple[str, tuple[str, ...]], rows: Sequence[Any]) -> None:
        """Adds a table, caption and columns `about` it, if it has rows."""
        self.tables += [PageTable(section, *about, list(rows))] if rows else []


def gather(
    run: Run,
    say: Callable[[str], None] = lambda _: None,
    there: Callable[[str, Gathered], None] = lambda section, made: None,
) -> Gathered:
    """Everything that a report shows of a run; `say` hears what is being worked on, `there` which section is complete.

    Raises UserError for a run without a committed step, StoreError for damaged records.
    """
    check_steps(run)
    made = Gathered(run, [])
    say("curves")
    made.curves = curves(run)
    there("curves", made)
    # The quickest next, so that its figure too is drawn while the bounds are computed.
    say("divergence")
    made.divergence = made.asked("divergence", divergence, run)
    made.growth = made.asked("divergence", growth, run)
    there("divergence", made)
    say("bounds")
    made.bounds = made.asked("bounds", bounds, run)
    there("bounds", made)
    made.violations = violations(made.bounds)
    made.table("bounds", _VACUITY, vacuity(made.bounds))
    made.table("bounds", _FACTORS, factors(run, made.bounds))
    made.table("divergence", _GROWTH, made.growth)
    say("layers")
    made.layers = layer_grids(run, made.missing)
    made.missing = {section: list(dict.fromkeys(said)) for section, said in made.missing.items()}
    return made
