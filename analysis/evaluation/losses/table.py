"""The tables of losses at checkpoints: losses.csv, and what a terminal shows of the last checkpoint."""

import csv
import io
import math
from collections.abc import Iterator, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Final

import torch
from rich.table import Table

from analysis.arrays.split_losses import Gap
from analysis.evaluation.losses import NO_BOUND, SCOPES, Row
from analysis.evaluation.losses.forms import Form, form_of
from analysis.evaluation.losses.settings import name_of
from analysis.output import files
from analysis.output.csv import number_cell
from analysis.output.table import title
from analysis.runs.numbers import ABSENT
from analysis.runs.run import Run

CSV_NAME: Final = "losses.csv"
_ABOUT: Final = (
    "step", "epoch", "arm", "split", "scope", "batch", "labelling", "temperature", "second_view", "n", "batches",
    "classes", "largest_class",
)  # fmt: skip
_GAP: Final = tuple(field.name for field in fields(Gap))


def write(run: Run, rows: Sequence[Row]) -> Path:
    """Writes RUN/analysis/losses.csv: a row per step, arm, labelling, split and scope, full precision (repr).

    An undefined number is an empty cell; gap_data_set is empty in scope batch, where it is no bound.
    """
    names = list(dict.fromkeys(objective for row in rows for objective in row.of.losses))
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    losses = [f"loss_{name_of(objective)}" for objective in names]
    gaps = [f"{_column(name)}{form}" for form in ("", "_with_positive") for name in (*_GAP, "share")]
    writer.writerow([*_ABOUT, *losses, *gaps, "flags"])
    for row in rows:
        about = [getattr(row.of if name == "batches" else row, name) for name in _ABOUT]
        values = [row.of.losses.get(objective, math.nan) for objective in names]
        of_forms = ((row.of.gap, row.share), (row.of.gap_with_positive, row.share_with_positive))
        numbers = [number for gap, share in of_forms for number in (*(getattr(gap, name) for name in _GAP), share)]
        writer.writerow([*map(_cell, (*about, *values, *numbers)), "; ".join(row.flags)])
    return files.write(files.folder(run.path) / CSV_NAME, text.getvalue().encode())


def _column(name: str) -> str:
    """The name of a field of `Gap` as a column: "gap", "gap_tighter", "mass"."""
    return name if name in ("gap", "mass", "residual", "skipped", "share") else f"gap_{name}"


def printed(run: Run, rows: Sequence[Row]) -> Iterator[Table | str]:
    """What a terminal shows, from the first line to the last: for every labelling a table of each scope, and notes."""
    yield title(run)
    for labelling in dict.fromkeys(row.labelling for row in rows):
        form, of = form_of(run, rows, labelling), [row for row in rows if row.labelling == labelling]
        for scope in SCOPES:
            yield ""
            yield rich_table([row for row in of if row.scope == scope], form)
    yield ""
    yield from notes(rows)


def rich_table(rows: Sequence[Row], form: Form) -> Table:
    """Losses, gap and bounds of the arms in one scope, under one labelling, at the last checkpoint."""
    row, last = rows[0], max(row.step for row in rows)
    over = "one Σ of all samples" if row.batch is None else f"mean over batches of {row.batch}"
    taus = ", ".join(f"{tau:g}" for tau in sorted({row.temperature for row in rows}))
    of = "no labels" if row.labelling is None else f"labels {row.labelling}"
    heading = (
        f"Scope {row.scope}: {over}\nstep {last:,}, {of}, τ = {taus}, view 2 {row.second_view}\n"
        f"CL is {name_of(form.cl)}, NSCL is {name_of(form.ns)}"
    )
    table = Table(title=heading, title_justify="left", box=None, header_style="bold")
    table.add_column("arm", overflow="fold")
    table.add_column("split", no_wrap=True)
    for column in _numbers(row, form):
        # A number never breaks, as half of one still looks like a number.
        table.add_column(column.replace(" ", "\n"), justify="right", no_wrap=True)
    for row in (row for row in rows if row.step == last):
        table.add_row(row.arm, row.split, *_numbers(row, form).values())
    return table


def _numbers(row: Row, form: Form) -> dict[str, str]:
    """The numbers of a row of the terminal's table, by column; the data-set bound in scope split alone."""
    gap = form.gap(row)
    losses = [row.of.losses.get(objective, math.nan) for objective in (form.cl, form.ns)]
    numbers = {"CL": losses[0], "NSCL": losses[1], "share": form.share(row), "gap": gap.gap, "equal": gap.equal}
    numbers |= {"tighter": gap.tighter, "per anchor": gap.per_anchor}
    if row.scope == "split":
        numbers["data set"] = math.nan if gap.data_set is None else gap.data_set
    return {
        name: ABSENT if math.isnan(value) else f"{value:.{4 if name in ('CL', 'NSCL') else 3}g}"
        for name, value in numbers.items()
    }


def notes(rows: Sequence[Row]) -> Iterator[str]:
    """What the columns mean, and every flag of the rows, once."""
    yield "share: of the reduction of the NSCL loss since step 0 that the arm trained by NSCL has, if it has any"
    yield "gap: CL - NSCL; tighter, per anchor, data set: bounds on it; equal: the value at equal similarities"
    yield f"{NO_BOUND}; {ABSENT}: undefined"
    yield from dict.fromkeys(flag for row in rows for flag in row.flags if flag != NO_BOUND)


def violations(run: Run, rows: Sequence[Row]) -> list[str]:
    """A sentence for every row with a gap above a bound on it, or an identity that is off by more than rounding."""
    return [f"{_place(row)}: {fault}" for row in rows for fault in _faults(run, row)]


def _faults(run: Run, row: Row) -> Iterator[str]:
    dtype = getattr(torch, run.config.train.dtype)
    # A cosine of rounded z is off by a few of their roundings, and its logit by 1/τ times that.
    room = 32 * torch.finfo(dtype).eps / min(1.0, row.temperature)
    for name, gap in (("gap", row.of.gap), ("gap with the positive", row.of.gap_with_positive)):
        if gap.slack < -room:
            yield f"an anchor's {name} is above the tighter bound by {-gap.slack:.3g}"
        for bound in ("tighter", "per_anchor", "data_set"):
            value = getattr(gap, bound)
            if value is not None and gap.gap > value + room:
                yield f"the {name} {gap.gap:.6g} is above the {bound.replace('_', '-')} bound {value:.6g}"
        if gap.residual > (1e-6 if dtype == torch.float32 else 1e-12 / min(1.0, row.temperature)):
            yield f"CL − NSCL is off the {name} by {gap.residual:.3g}"


def _place(row: Row) -> str:
    labels = "" if row.labelling is None else f", {row.labelling}"
    return f"{row.arm} at step {row.step} on {row.split}{labels}, scope {row.scope}"


def _cell(value: object) -> object:
    return number_cell(value) if isinstance(value, float) else value
