"""What a report shows; the page is a pure function of this."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from analysis.evaluation.picture import Pictures
from analysis.report.comparisons import Comparison, comparisons
from analysis.report.gather import Gathered, PageTable, gather
from analysis.report.layers import LayerGrid
from analysis.report.usefulness import Usefulness
from analysis.response import Response
from analysis.runs.curve import Curve
from analysis.runs.own_measures import OwnMeasure
from analysis.runs.run import Run
from analysis.runs.seeds import by_seed, differing, over_seeds
from coupled.errors import UserError

_SAME: Final = (
    "measure", "arm", "reference", "feature", "source", "split", "labelling", "kind", "bound", "estimator", "n", "d",
)  # fmt: skip


@dataclass(frozen=True)
class Content:
    """What a report shows: runs of one config at one or several seeds, and what was measured in them.

    Curves are means over seeds where there are several (`interval` is then their range). Each of `tables` comes with
    the seed that it is of. `comparisons`: arms beside the controls that go first. `responses`: of each run that has
    something to say, `response_curves` those of all, over seeds. `layers`, `usefulness`, `pictures` and `rates`, the
    cumulative learning rate of the first t steps, are of the first run. `evaluated`: what other commands have left of
    kept checkpoints, by chart. `own`: the measures of the user's own among the curves. `missing` says in words why
    something is not there, by section ("bounds", "divergence", "response", "layers", "evaluated", "usefulness",
    "pictures").
    """

    runs: tuple[Run, ...]
    curves: list[Curve]
    bounds: list[Curve] = field(default_factory=list)
    divergence: list[Curve] = field(default_factory=list)
    tables: list[tuple[int, PageTable]] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)
    comparisons: list[Comparison] = field(default_factory=list)
    responses: list[tuple[Run, Response]] = field(default_factory=list)
    response_curves: list[Curve] = field(default_factory=list)
    layers: list[LayerGrid] = field(default_factory=list)
    evaluated: dict[str, list[Curve]] = field(default_factory=dict)
    usefulness: Usefulness = field(default_factory=Usefulness)
    pictures: Pictures | None = None
    own: tuple[OwnMeasure, ...] = ()
    rates: NDArray[np.float64] = field(default_factory=lambda: np.zeros(1))
    missing: dict[str, list[str]] = field(default_factory=dict)

    @property
    def run(self) -> Run:
        """The first run: where the seeds do not matter, it stands for all."""
        return self.runs[0]


def check(runs: Sequence[Run]) -> None:
    """Raises UserError unless the runs differ in the seed alone."""
    groups = by_seed(runs)
    if len(groups) > 1:
        raise UserError(
            f"{groups[0][0].path} and {groups[1][0].path} differ in more than the seed: "
            + "; ".join(differing(groups[0][0], groups[1][0])),
            "a report is of one config, at one or several seeds",
            "make one report for each",
        )


def content_of(runs: Sequence[Run]) -> Content:
    """Everything that a report of these runs shows.

    Raises UserError if the runs differ in more than the seed or have no committed step, StoreError if one is damaged.
    """
    check(runs)
    return combine([gather(run) for run in runs])


def combine(gathered: Sequence[Gathered]) -> Content:
    """The parts of several runs as one content."""
    missing: dict[str, list[str]] = {}
    for part in gathered:
        for section, reasons in part.missing.items():
            missing.setdefault(section, []).extend(reasons)
    return Content(
        runs=tuple(part.run for part in gathered),
        curves=merged([part.curves for part in gathered]),
        bounds=merged([part.bounds for part in gathered]),
        divergence=merged([part.divergence for part in gathered]),
        tables=[(part.run.config.seed, table) for part in gathered for table in part.tables],
        violations=[violation for part in gathered for violation in part.violations],
        comparisons=comparisons([(part.run, part.curves) for part in gathered]),
        responses=[(part.run, part.response) for part in gathered if part.response is not None],
        response_curves=merged([part.response.curves for part in gathered if part.response is not None]),
        layers=gathered[0].layers,
        evaluated={
            chart: merged([part.evaluated.get(chart, []) for part in gathered])
            for chart in dict.fromkeys(chart for part in gathered for chart in part.evaluated)
        },
        usefulness=gathered[0].usefulness,
        pictures=gathered[0].pictures,
        own=tuple(dict.fromkeys(own for part in gathered for own in part.own)),
        rates=_cumulative_rates(gathered[0].run),
        missing={section: list(dict.fromkeys(reasons)) for section, reasons in missing.items()},
    )


def merged(by_run: Sequence[Sequence[Curve]]) -> list[Curve]:
    """Curves of several runs as one list: those of the same quantity become their mean and range."""
    groups: dict[tuple[Any, ...], list[Curve]] = {}
    for curves in by_run:
        seen: Counter[tuple[Any, ...]] = Counter()
        for curve in curves:
            facts = tuple(getattr(curve, name) for name in _SAME)
            # Two of one run (twins that differ in their draw, say) are no two seeds.
            groups.setdefault((*facts, seen[facts]), []).append(curve)
            seen[facts] += 1
    return [over_seeds(same) for same in groups.values()]


def _cumulative_rates(run: Run) -> NDArray[np.float64]:
    """[0, η_0, η_0 + η_1, …]; only [0] where the rates are not recorded at every step."""
    if not run.schedules("scalars", "batch") or run.awaits("scalars", "shared"):
        return np.zeros(1)
    steps, rates = run.column("scalars", "shared", "batch.learning_rate")
    whole = len(steps) == steps[-1] + 1
    return np.concatenate([[0.0], np.cumsum(rates)]) if whole else np.zeros(1)
