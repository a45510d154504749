"""The tables of few-shot error: few_shot.csv, few_shot_pairs.csv, and the last step for a terminal."""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from rich.table import Table

from analysis.arrays.few_shot_bounds import BOUNDS
from analysis.evaluation.few_shot import FEATURES, FewShot, Row, a_of
from analysis.output.csv import number_cell, write_rows
from analysis.output.table import title
from analysis.runs.numbers import ABSENT, known
from analysis.runs.run import Run

CSV_NAME: Final = "few_shot.csv"
PAIRS_NAME: Final = "few_shot_pairs.csv"
WORDS: Final = {"p1": "P1", "p3": "P3", "cantelli": "Cantelli"}  # the bounds as headings
_ABOUT: Final = ("setting", "step", "arm", "split", "feature", "labelling", "ways", "shots")
HEADER: Final = (
    *_ABOUT, "error", "standard_error", "draws", *BOUNDS,
    *(f"{name}_{what}" for what in ("tightness", "vacuous", "dominant", "holds") for name in BOUNDS),
    "p1_a", "n", "classes", "flags", "note",
)  # fmt: skip
PAIRS_HEADER: Final = (*_ABOUT, "class_a", "class_b", "error", *BOUNDS, "p1_a")


def write(run: Run, measured: FewShot) -> list[Path]:
    """Writes RUN/analysis/few_shot.csv and, where `measured` has pairs, few_shot_pairs.csv; full precision (repr).

    few_shot.csv: a row per setting, step, arm, split, feature, labelling, ways and shots. tightness: bound over error,
    empty where the error is 0. vacuous: is the bound at least 1 − 1/ways? dominant: its largest term. holds: is the
    error no more than 3 standard errors above it? Empty in practice, where nothing is promised. p1_a: empty two-way,
    where each pair has its own. An undefined number is an empty cell, and `note` says why.
    few_shot_pairs.csv: C-way what each ordered pair contributes, two-way the bounds of each pair beside its error.
    """
    paths = [write_rows(run, CSV_NAME, HEADER, map(_cells, measured.rows))]
    if any(row.pairs is not None for row in measured.rows):
        pairs = (cells for row in measured.rows for cells in _pair_cells(row))
        paths.append(write_rows(run, PAIRS_NAME, PAIRS_HEADER, pairs))
    return paths


def _about(row: Row) -> list[object]:
    return [getattr(row, name) for name in _ABOUT]


def _cells(row: Row) -> list[object]:
    bounds = row.bounds
    return [
        *_about(row), number_cell(row.error), number_cell(row.standard_error), row.draws,
        *(number_cell(bounds[name].value) for name in BOUNDS),
        *(number_cell(row.tightness(name)) for name in BOUNDS),
        *(_truth(None if math.isnan(bounds[name].value) else bounds[name].vacuous) for name in BOUNDS),
        *(bounds[name].dominant for name in BOUNDS),
        *(_truth(row.holds(name)) for name in BOUNDS),
        number_cell(a_of(row)), row.n, row.classes, "; ".join(row.flags), row.note,
    ]  # fmt: skip


def _truth(value: bool | None) -> str:
    return "" if value is None else str(value).lower()


def _pair_cells(row: Row) -> Iterator[list[object]]:
    if row.pairs is None:
        return
    of = row.pairs
    columns = [of.errors, *(of.bounds[name] for name in BOUNDS), of.a]
    for (first, second), *numbers in zip(of.labels.tolist(), *columns, strict=True):
        yield [*_about(row), first, second, *(number_cell(float(number)) for number in numbers)]


def printed(run: Run, measured: FewShot) -> Iterator[Table]:
    """For a terminal, a table of each labelling and number of ways: the exact setting on test, at the last step, for at
    most four numbers of shots.
    """
    last = max(row.step for row in measured.rows)
    feature = next(name for name in FEATURES if any(row.feature == name for row in measured.rows))
    for labelling in dict.fromkeys(row.labelling for row in measured.rows):
        rows = [
            row
            for row in measured.rows
            if (row.step, row.labelling, row.feature) == (last, labelling, feature)
            and (row.setting, row.split) == ("exact", "test")
        ]
        shown = _spread(sorted({row.shots for row in rows}))
        for ways in dict.fromkeys(row.ways for row in rows):
            yield rich_table(run, [row for row in rows if row.ways == ways and row.shots in shown])


def _spread(shots: Sequence[int]) -> list[int]:
    """At most four of them, the first and the last among these."""
    return [shots[round(k * (len(shots) - 1) / 3)] for k in range(4)] if len(shots) > 4 else list(shots)


def rich_table(run: Run, rows: Sequence[Row]) -> Table:
    """Rows of one step, labelling, feature, setting, split and number of ways: a line per arm and shots."""
    first = rows[0]
    heading = (
        f"{title(run)}; {first.labelling}, step {first.step:,}\n"
        f"{first.ways}-way few-shot error of {first.feature} on {first.split} ({first.setting}) beside its bounds"
    )
    table = Table(title=heading, caption=notes(rows), title_justify="left", caption_justify="left")
    table.add_column("arm", overflow="fold")
    for name in ("shots", "error ± se", *WORDS.values()):
        table.add_column(name, justify="right", no_wrap=True)
    for arm in dict.fromkeys(row.arm for row in rows):
        table.add_section()
        for line, row in enumerate(row for row in rows if row.arm == arm):
            table.add_row("" if line else arm, f"{row.shots:,}", *_shown(row))
    return table


def _shown(row: Row) -> list[str]:
    error = ABSENT if math.isnan(row.error) else f"{row.error:.3f}"
    error += "" if math.isnan(row.standard_error) else f" ± {row.standard_error:.3f}"
    cells = []
    for bound in row.bounds.values():
        value = known(bound.value)
        cells.append(f"({value})" if bound.vacuous else value)
    return [error, *cells]


def notes(rows: Sequence[Row]) -> str:
    """What the columns are, and what the reading of their numbers depends on."""
    first = rows[0]
    over = "over pairs of classes, " if first.ways < first.classes else ""
    sentences = [
        "Error of the nearest class centre made of so many samples of each class (shots): mean over classes, "
        f"{over}then over {first.draws} draws ± its standard error. Bounds: P1 of the first paper, P3 of the third "
        f"(from 10 shots on), Cantelli ours. In brackets: vacuous, no less than the error of guessing, "
        f"{1 - 1 / first.ways:.3g}.",
        f"Exact: the {first.n:,} evaluated samples of {first.split} are the population, shots are drawn from it with "
        "replacement, ties are errors: bounds are theorems about the mean. Practice (shots of train, error on test), "
        f"which they promise nothing of, is in {CSV_NAME}, with train and all features, shots and steps.",
    ]
    # What is so of some rows alone is too much for a caption.
    common = [flag for flag in first.flags if all(flag in row.flags for row in rows)]
    more = sum(len(row.flags) > len(common) for row in rows)
    further = [f"{more} of {len(rows)} numbers here have further flags in {CSV_NAME}"] if more else []
    lines = [*common, *dict.fromkeys(row.note for row in rows if row.note), *further]
    return " ".join([*sentences, *(f"{line}." for line in lines)])
