"""What one run has for a report: each analysis is run once, and what cannot be done leaves its reason."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from analysis.bounds import bounds, bounds_of, check_bounds, joined
from analysis.bounds.checks import factors, vacuity, violations
from analysis.curves import curves, curves_of
from analysis.divergence import divergence
from analysis.divergence.growth import Growth, growth
from analysis.evaluation.picture import Pictures
from analysis.report.evaluated import check_reportable, evaluated
from analysis.report.layers import LayerGrid, layer_grids
from analysis.report.pictures import read_pictures
from analysis.report.usefulness import Usefulness, read_usefulness
from analysis.response import Response, response, speaks
from analysis.response.table import violations as path_violations
from analysis.runs.curve import Curve
from analysis.runs.own_measures import OwnMeasure, own_among, registered
from analysis.runs.processes import for_arms
from analysis.runs.recorded import check_steps
from analysis.runs.run import Run
from coupled.config.formats import IMPORTED
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


# The sections that need records, each with what says which.
OF_RECORDS: Final[dict[str, Callable[[Run], list[Curve]]]] = {
    "headline": curves, "curves": curves, "bounds": bounds, "divergence": divergence, "layers": divergence
}  # fmt: skip


@dataclass(frozen=True)
class PageTable:
    """A table of the page: each column shows the attribute of that name of every row."""

    section: str
    caption: str
    columns: tuple[str, ...]
    rows: list[Any]


@dataclass
class Gathered:
    """One run's part of a report. `own`: the measures of the user's own among the curves. `missing` says, section by
    section, why something is not there.
    """

    run: Run
    curves: list[Curve]
    bounds: list[Curve] = field(default_factory=list)
    divergence: list[Curve] = field(default_factory=list)
    growth: list[Growth] = field(default_factory=list)
    tables: list[PageTable] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)
    layers: list[LayerGrid] = field(default_factory=list)
    response: Response | None = None
    evaluated: dict[str, list[Curve]] = field(default_factory=dict)
    usefulness: Usefulness = field(default_factory=Usefulness)
    pictures: Pictures | None = None
    own: tuple[OwnMeasure, ...] = ()
    missing: dict[str, list[str]] = field(default_factory=dict)

    def unless_missing(self, section: str, function: Callable[[Run], list[Any]], run: Run) -> list[Any]:
        """What the function gives for the run; an empty list, and the reason in `missing`, where records lack."""
        try:
            return function(run)
        except UserError as error:
            self.missing.setdefault(section, []).append(f"{error}.")
            return []

    def table(self, section: str, about: tuple[str, tuple[str, ...]], rows: Sequence[Any]) -> None:
        """Adds a table, caption and columns `about` it, if it has rows."""
        self.tables += [PageTable(section, *about, list(rows))] if rows else []


def gather(run: Run, working: Callable[[str], None] = lambda section: None) -> Gathered:
    """Everything that a report shows of a run. `working` is told what is worked on.

    Raises UserError for a run without a committed step, and for imported checkpoints of which no other command has left
    a table; StoreError for damaged records.
    """
    check_reportable(run)
    gathered = Gathered(run, [])
    if IMPORTED in run.facts:
        for section, function in OF_RECORDS.items():
            gathered.unless_missing(section, function, run)
        _read_beside(run, gathered)
        return gathered
    working("curves and bounds")
    check_steps(run)
    by_arm = for_arms(run, lambda arm: _curves_and_bounds(run, arm))
    gathered.curves = [curve for curves, _ in by_arm for curve in curves]
    gathered.own = tuple(registered[name] for name in own_among(gathered.curves))
    run.take(gathered.curves)
    gathered.bounds = gathered.unless_missing("bounds", lambda run: _bounds(run, [bounds for _, bounds in by_arm]), run)
    working("divergence")
    gathered.divergence = gathered.unless_missing("divergence", divergence, run)
    gathered.growth = gathered.unless_missing("divergence", growth, run)
    gathered.violations = violations(gathered.bounds)
    gathered.table("bounds", _VACUITY, vacuity(gathered.bounds))
    gathered.table("bounds", _FACTORS, factors(run, gathered.bounds))
    gathered.table("divergence", _GROWTH, gathered.growth)
    if speaks(run):
        working("response")
        gathered.response = next(iter(gathered.unless_missing("response", lambda run: [response(run)], run)), None)
    if gathered.response is not None:
        gathered.violations += path_violations(gathered.response)
    working("layers")
    gathered.layers = layer_grids(run, gathered.missing)
    _read_beside(run, gathered)
    gathered.missing = {section: list(dict.fromkeys(reasons)) for section, reasons in gathered.missing.items()}
    return gathered


def _curves_and_bounds(run: Run, arm: str) -> tuple[list[Curve], list[list[Curve]] | UserError]:
    """Both of one arm, as they share estimates; in place of bounds the reason why there are none."""
    curves = list(curves_of(run, arm))
    try:
        return curves, bounds_of(run, arm)
    except UserError as error:
        return curves, error


def _bounds(run: Run, by_arm: Sequence[list[list[Curve]] | UserError]) -> list[Curve]:
    check_bounds(run)
    for of_arm in by_arm:
        if isinstance(of_arm, UserError):
            raise of_arm
    return joined(of_arm for of_arm in by_arm if not isinstance(of_arm, UserError))


def _read_beside(run: Run, gathered: Gathered) -> None:
    """What other commands have left of kept checkpoints."""
    gathered.evaluated, gathered.missing["evaluated"] = evaluated(run)
    gathered.usefulness, gathered.missing["usefulness"] = read_usefulness(run)
    gathered.pictures, gathered.missing["pictures"] = read_pictures(run)
