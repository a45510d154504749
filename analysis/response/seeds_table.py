"""The tables over seeds: response_seeds.csv, and what the terminal shows, or markdown."""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import numpy as np
from rich.table import Table

from analysis.output.csv import number_cell, write_rows
from analysis.output.table import title
from analysis.response.ranks import JointRank
from analysis.response.seeds import MEASURES, SeedCurve
from analysis.runs.controls import arms_with_reference, control_of
from analysis.runs.numbers import ABSENT, known
from analysis.runs.run import Run
from analysis.statistics.proportions import Interval

CSV_NAME: Final = "response_seeds.csv"
RANKS_NAME: Final = "response_seeds_ranks.csv"
_HEADER: Final = ("measure", "arm", "against", "scale", "step", "seeds", "mean", "low", "high")
_RANKED: Final = (
    "arm", "measure", "across", "seed", "step", "placebos", "below", "above", "p_two_sided", "exact", "why",
)  # fmt: skip
_COLUMNS: Final = ("arm", "what", "weight gap", "CKA")
_SENTENCES: Final = {
    "contrast": "at one and the same weights, how far the gradient of {0} is from its reference's, over how far that "
    "of {1} is",
    "energy_share": "the share of the squared distance between {0} and {1} that copies of one of them, nudged by {2}, "
    "have too",
}
_BESIDE: Final = ("arm", "less", "weight gap", "CKA")


def write(runs: Sequence[Run], curves: Sequence[SeedCurve]) -> Path:
    """Writes response_seeds.csv into the first run's analysis/: mean, 95 % interval, and the value of each seed."""
    seeds = [f"seed {run.config.seed}" for run in runs]
    rows = (row for curve in curves for row in _rows(curve))
    return write_rows(runs[0], CSV_NAME, (*_HEADER, *seeds), rows)


def _rows(curve: SeedCurve) -> Iterator[tuple[object, ...]]:
    about = (curve.measure, curve.arm, curve.against, curve.scale)
    for place, step in enumerate(curve.steps.tolist()):
        numbers = (*curve.interval(place), *curve.values[:, place].tolist())
        yield *about, step, len(curve.values), *map(number_cell, numbers)


def write_ranks(runs: Sequence[Run], ranks: Sequence[JointRank]) -> Path:
    """Writes response_seeds_ranks.csv into the first run's analysis/: each seed's rank, and after them a row "all",
    whose counts are sums and whose p is that of all seeds together.
    """
    return write_rows(runs[0], RANKS_NAME, _RANKED, (row for joint in ranks for row in _rank_rows(runs, joint)))


def _rank_rows(runs: Sequence[Run], joint: JointRank) -> Iterator[tuple[object, ...]]:
    first = joint.of_seeds[0]
    about = (first.arm, first.measure, first.across)
    for run, of_seed in zip(runs, joint.of_seeds, strict=True):
        rank = of_seed.rank
        counts = (of_seed.placebos, rank.below, rank.above, number_cell(rank.p))
        yield *about, run.config.seed, of_seed.step, *counts, of_seed.exact, of_seed.why
    yield *about, "all", "", *_sums(joint), number_cell(joint.p), joint.exact, joint.why


def _sums(joint: JointRank) -> tuple[int, int, int]:
    """Of all seeds: how many placebos there are, lie below, and above."""
    ranks = joint.of_seeds
    below, above = (sum(getattr(rank.rank, side) for rank in ranks) for side in ("below", "above"))
    return sum(rank.placebos for rank in ranks), below, above


def rank_lines(ranks: Sequence[JointRank]) -> list[str]:
    """Where arms lie among the placebos of all seeds, as sentences."""
    sentences = []
    for joint in ranks:
        first, (placebos, below, above) = joint.of_seeds[0], _sums(joint)
        each = ", ".join(str(rank.rank.below) for rank in joint.of_seeds)
        kind = "exact" if joint.exact else "for orientation"
        p = known(joint.p)
        sentences.append(
            f"{first.arm}: {first.measure} over {len(joint.of_seeds)} seeds, {below} of {placebos} placebos below "
            f"({each}), {above} above: joint p = {p} two-sided ({kind}: {joint.why}; the sum of the seeds' ranks)"
        )
    return sentences


def rich_tables(runs: Sequence[Run], curves: Sequence[SeedCurve]) -> list[Table]:
    """Two tables for a terminal: every arm, and arms less their controls; the second only where there are such."""
    tables = []
    for columns, rows in _parts(runs[0], curves):
        table = Table(title=None if tables else _title(runs), title_justify="left", caption_justify="left")
        for column in columns[:2]:
            table.add_column(column, overflow="fold")
        for column in columns[2:]:
            table.add_column(column, justify="right", no_wrap=True)
        for row in rows:
            table.add_row(*row)
        tables.append(table)
    if tables:
        tables[-1].caption = notes(runs, curves)
    return tables


def markdown(runs: Sequence[Run], curves: Sequence[SeedCurve], ranks: Sequence[JointRank]) -> str:
    """The same as GitHub markdown, title, notes and lines included."""
    parts = [f"**{_title(runs)}**"]
    for columns, rows in _parts(runs[0], curves):
        parts.append("\n".join(f"| {' | '.join(row)} |" for row in (columns, ("---", "---", "---:", "---:"), *rows)))
    return "\n\n".join([*parts, notes(runs, curves), *lines(curves), *rank_lines(ranks)])


def notes(runs: Sequence[Run], curves: Sequence[SeedCurve]) -> str:
    """What the numbers are, and what is not there."""
    lasts = {curve.measure: int(curve.steps[-1]) for curve in curves if curve.measure in MEASURES}
    each = ", ".join(f"{step:,} ({MEASURES[measure]})" for measure, step in lasts.items())
    alike = len(set(lasts.values())) == 1
    steps = f"At step {max(lasts.values()):,}" if alike else f"At the last step that all seeds have, {each}"
    unfinished = [f"seed {run.config.seed} up to step {run.steps}" for run in runs if not run.finished]
    own = [curve for curve in curves if curve.measure in MEASURES and not curve.against]
    undefined = [f"{MEASURES[curve.measure]} of {curve.arm}" for curve in own if np.isnan(curve.values[:, -1]).any()]
    sentences = [
        f"{steps}, to each arm's reference. Mean over {len(runs)} seeds ± half the 95 % interval (Student's t over "
        "seeds). Differences are taken within each seed; * marks those whose interval, by itself, leaves out 0.",
        *([f"UNFINISHED: {', '.join(unfinished)}."] if unfinished else []),
        *([f"{ABSENT} undefined in a seed: {', '.join(undefined)}."] if undefined else []),
        *(f"No {MEASURES[name]}: not recorded, or not yet in every seed." for name in MEASURES if name not in lasts),
    ]
    return " ".join(sentences)


def lines(curves: Sequence[SeedCurve]) -> list[str]:
    """Contrasts over those of placebos, and energy shares, as sentences."""
    sentences = []
    for curve in curves:
        if curve.measure not in _SENTENCES:
            continue
        ends = range(len(curve.steps)) if curve.measure == "energy_share" else dict.fromkeys((0, len(curve.steps) - 1))
        values = ", ".join(f"{_signed(curve.interval(place))} at step {int(curve.steps[place]):,}" for place in ends)
        sentences.append(f"{_SENTENCES[curve.measure].format(curve.arm, curve.against, curve.scale)}: {values}")
    return sentences


def _title(runs: Sequence[Run]) -> str:
    return title(runs[0], seeds=[run.config.seed for run in runs])


def _parts(run: Run, curves: Sequence[SeedCurve]) -> list[tuple[tuple[str, ...], list[tuple[str, ...]]]]:
    """Columns and rows of the table of arms, and of that of their differences from controls if there are any."""
    parts = [(_COLUMNS, _own(run, curves)), (_BESIDE, _differences(curves))]
    return [(columns, rows) for columns, rows in parts if rows]


def _own(run: Run, curves: Sequence[SeedCurve]) -> list[tuple[str, ...]]:
    known = {(curve.measure, curve.arm): curve.interval() for curve in curves if not curve.against}
    rows = []
    for arm in arms_with_reference(run):
        cells = [_signed(known[key]) if (key := (measure, arm)) in known else ABSENT for measure in MEASURES]
        rows.append((arm, control_of(run.arms[arm]) or str(run.arms[arm].objective), *cells))
    return rows


def _differences(curves: Sequence[SeedCurve]) -> list[tuple[str, ...]]:
    known = {(curve.measure, curve.arm, curve.against): curve.interval() for curve in curves if curve.against}
    pairs = dict.fromkeys((arm, control) for measure, arm, control in known if measure in MEASURES)
    return [
        (*pair, *(_marked(known[key]) if (key := (measure, *pair)) in known else ABSENT for measure in MEASURES))
        for pair in pairs
    ]


def _marked(interval: Interval) -> str:
    apart = interval.low > 0 or interval.high < 0
    return f"{_signed(interval, plus=True)}{' *' if apart else ''}"


def _signed(interval: Interval, *, plus: bool = False) -> str:
    """ "0.512 ± 0.021": three decimals, and two digits of what is smaller; an exact 0 stays 0."""
    if math.isnan(interval.value):
        return ABSENT
    half = interval.high - interval.value
    sign = "+" if plus and interval.value else ""
    value = f"{interval.value:{sign}.3f}" if _readable(interval.value) else f"{interval.value:{sign}.2g}"
    if math.isnan(half) or interval.value == half == 0:
        return value
    return f"{value} ± {half:.3f}" if _readable(half) else f"{value} ± {half:.1g}"


def _readable(number: float) -> bool:
    return abs(number) >= 5e-4
