"""The tables of curves: curves.csv, and each arm against its reference at a few steps for a terminal or as markdown."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from rich.table import Table

from analysis.output.csv import write_csv
from analysis.output.table import title
from analysis.runs.curve import Curve, pick
from analysis.runs.numbers import ABSENT, number
from analysis.runs.own_measures import own_among
from analysis.runs.recorded import not_compared, not_measured, waiting
from analysis.runs.run import Run

STEPS: Final = (10, 30, 100, 300)
COLUMNS: Final = ("arm", "reference", "step", "weight gap", "CKA", "RSA", "own loss")


def write(run: Run, curves: Sequence[Curve], *, all_steps: bool = False) -> list[Path]:
    """Writes RUN/analysis/curves.csv: every curve; long ones are thinned unless `all_steps`."""
    return [write_csv(run, curves, all_steps=all_steps)]


@dataclass(frozen=True)
class Row:
    """One arm at one step; None where the run has no such record, NaN where the value is undefined. `own`: measures of
    the user's own, in the order in which they were registered.
    """

    arm: str
    reference: str | None
    step: int
    weight_gap: float | None
    cka: float | None
    rsa: float | None
    loss: float | None
    own: tuple[float | None, ...] = ()

    def cells(self) -> list[str]:
        """The row as text, in the order of `columns`."""
        measured = map(number, (self.weight_gap, self.cka, self.rsa, self.loss, *self.own))
        return [self.arm, self.reference or ABSENT, f"{self.step:,}", *measured]


def columns(curves: Sequence[Curve]) -> list[str]:
    """The heads of the table's columns: measures of the user's own come last, under their names."""
    return [*COLUMNS, *own_among(curves)]


def rows(run: Run, curves: Sequence[Curve]) -> list[Row]:
    """The rows of every arm but the first (of the first if it is alone): steps 10, 30, 100, 300 and the last.

    A step counts if any of the columns is recorded there. Panel h for CKA (debiased) and RSA.
    """
    arms = list(run.arms)[1:] or list(run.arms)
    return [row for arm in arms for row in _rows_of(run, curves, arm)]


def _rows_of(run: Run, curves: Sequence[Curve], arm: str) -> list[Row]:
    built_in = [
        pick(curves, "weight_gap", arm),
        pick(curves, "cka", arm, source="panel", feature="h"),
        pick(curves, "rsa", arm, source="panel", feature="h"),
        pick(curves, "loss", arm),
    ]
    own = [pick(curves, measure, arm) for measure in own_among(curves)]
    recorded = {int(step) for curve in (*built_in, *own) if curve is not None for step in curve.steps}
    wanted = [step for step in STEPS if step in recorded] + ([max(recorded)] if recorded else [])
    return [_row(run, arm, step, built_in, own) for step in dict.fromkeys(wanted)]


def _row(run: Run, arm: str, step: int, built_in: Sequence[Curve | None], own: Sequence[Curve | None]) -> Row:
    gap, cka, rsa, loss = _at(built_in, step)
    return Row(arm, run.arms[arm].reference, step, gap, cka, rsa, loss, tuple(_at(own, step)))


def _at(curves: Sequence[Curve | None], step: int) -> list[float | None]:
    return [None if curve is None else curve.at(step) for curve in curves]


def notes(run: Run, curves: Sequence[Curve]) -> str:
    """n, d and estimators of the table's columns, and which streams have no committed step yet, on one line."""
    sentences = [f"{left}." for left in (*waiting(run), *not_compared(run), *not_measured(run))]
    panel = next((c for c in curves if c.measure == "cka" and (c.source, c.feature) == ("panel", "h")), None)
    if panel is not None:
        sentences = [
            f"CKA: {panel.estimator}; RSA: cosine + Pearson; both on panel h, n = {panel.n} {panel.split} images, "
            f"d = {panel.d}. {ABSENT} not recorded at that step (the last state has no batch, so no loss).",
            *sentences,
        ]
    return " ".join(sentences) or (
        "no alignment: the run has one arm" if len(run.arms) == 1 else "no alignment: the run records no panel"
    )


def rich_table(run: Run, curves: Sequence[Curve]) -> Table:
    """The table for a terminal."""
    table = Table(title=title(run), caption=notes(run, curves), title_justify="left", caption_justify="left")
    # On a narrow terminal names break; a number never does, as half of one still looks like a number.
    for column in COLUMNS[:2]:
        table.add_column(column, overflow="fold")
    for column in columns(curves)[2:]:
        table.add_column(
            column, justify="right", no_wrap=True, min_width=max(len(column), 5 if column == "step" else 7)
        )
    before = None
    for row in rows(run, curves):
        if before not in (None, row.arm):
            table.add_section()
        # An arm's name once: the eye finds where the next begins.
        cells = row.cells() if row.arm != before else ["", "", *row.cells()[2:]]
        table.add_row(*cells)
        before = row.arm
    return table


def markdown(run: Run, curves: Sequence[Curve]) -> str:
    """The table as GitHub markdown, title and notes included."""
    heads = columns(curves)
    lines = [f"**{title(run)}**", "", _line(heads), _line(["---", "---", *["---:"] * (len(heads) - 2)])]
    lines += [_line(row.cells()) for row in rows(run, curves)]
    return "\n".join([*lines, "", notes(run, curves)])


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
