"""What a terminal shows of divergence: what came out for each arm, then how fast its weights parted."""

from collections.abc import Callable, Iterator, Sequence
from typing import Final

from rich.table import Table

from analysis.divergence import OVER
from analysis.divergence.growth import Growth
from analysis.output.table import title
from analysis.runs.controls import arms_with_reference, floor_of, is_floor, is_twin
from analysis.runs.curve import Curve, pick
from analysis.runs.numbers import ABSENT, known, number
from analysis.runs.run import Run

COLUMNS: Final = ("steps", "exponent, 95 %", "doubling", "fits better")
MORE_COLUMNS: Final = ("steps", "exponential R²", "power law", "R²")
_A: Final = {"exponential": "an exponential", "power law": "a power law"}
_NOTE: Final = (
    f"exponent: slope of log|w-w'| over the cumulative learning rate S; doubling: in steps, at the window's mean rate, "
    f"{ABSENT} where the interval holds 0; fits better: by AIC, an exponential in S or a power law S^k"
)


def printed(
    run: Run, curves: Sequence[Curve], growths: Sequence[Growth], *, verbose: bool = False
) -> Iterator[Table | str]:
    """From the first line to the last: tables, and lines of text. `verbose`: how well either law fits, as well."""
    of_all = [one for one in growths if one.layer is None]
    yield title(run)
    yield from ("", "What came out at the last step (weight gap: 0 is equal, 2 the most):")
    yield from (f"- {line}" for line in verdicts(run, curves, of_all))
    yield from (f"{name}: {floor_of(run, name)}" for name in run.arms if is_floor(run, name))
    yield ""
    yield _table(of_all, COLUMNS, _fit)
    yield ""
    yield _NOTE
    yield from (f"no exponent: {one.arm}, {one.window}: {one.undefined}" for one in of_all if one.undefined)
    if verbose:
        yield from ("", _table(of_all, MORE_COLUMNS, _laws))
    else:
        yield "--verbose: how well an exponential and a power law fit"


def verdicts(run: Run, curves: Sequence[Curve], growths: Sequence[Growth]) -> list[str]:
    """A line for each arm with a reference: weight gap, distance over each floor's, and the law that fits better."""
    return [f"{arm}: {'; '.join(_of_arm(run, curves, growths, arm))}" for arm in arms_with_reference(run)]


def _of_arm(run: Run, curves: Sequence[Curve], growths: Sequence[Growth], arm: str) -> Iterator[str]:
    gap = pick(curves, "weight_gap", arm)
    if gap is not None and len(gap.values):
        yield f"weight gap {number(float(gap.values[-1]))}"
    if is_twin(run, arm):
        yield f"an exact twin of {run.arms[arm].of}"
        return
    if over := [f"{number(value)} × {name}'s" for _, value, name in excess_at_end(curves, arm)]:
        yield f"distance {', '.join(over)}"
    for law in dict.fromkeys(one.better for one in growths if one.arm == arm and one.better):
        windows = ", ".join(one.window for one in growths if one.arm == arm and one.better == law)
        yield f"neither law is better ({windows})" if law == "undecided" else f"{_A[law]} fits better ({windows})"


def excess_at_end(curves: Sequence[Curve], arm: str) -> list[tuple[int, float, str]]:
    """(last step, value, the nudged twin) of each excess curve of an arm."""
    of_arm = [curve for curve in curves if curve.measure == "excess" and curve.arm == arm and len(curve.values)]
    return [
        (int(curve.steps[-1]), float(curve.values[-1]), curve.estimator.removeprefix(OVER).partition(" (")[0])
        for curve in of_arm
    ]


def _table(growths: Sequence[Growth], columns: Sequence[str], cells: Callable[[Growth], list[str]]) -> Table:
    """A row for each window, under the name of its arm."""
    table = Table(box=None, header_style="bold", padding=(0, 1, 0, 0))
    table.add_column("arm, window")
    for column in columns:
        table.add_column(column, justify="right", no_wrap=True)
    before = None
    for fitted in growths:
        if fitted.arm != before:
            table.add_row(fitted.arm)
            before = fitted.arm
        table.add_row(f"  {fitted.window}", f"{fitted.first:,}–{fitted.last:,}", *cells(fitted))
    return table


def _fit(fitted: Growth) -> list[str]:
    if fitted.undefined:
        return ["undefined", ABSENT, ABSENT]
    exponent = f"{number(fitted.exponent)} [{number(fitted.low)}, {number(fitted.high)}]"
    doubling = known(fitted.doubling_steps)
    return [exponent, doubling, fitted.better]


def _laws(fitted: Growth) -> list[str]:
    if fitted.undefined:
        return [ABSENT] * 3
    return [number(fitted.r2), f"S^{fitted.power:.2f}", number(fitted.power_r2)]
