"""The sections of a sweep's page: each a function to HTML."""

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final
from urllib.parse import quote

from analysis.aggregation.gap import Gap
from analysis.aggregation.matching import AXES
from analysis.output import files
from analysis.output.styles import Style
from analysis.report.charts import Chart
from analysis.report.figures import figure
from analysis.report.markup import items, matched, paragraph, scrolling, text
from analysis.report.markup import table as html_table
from analysis.sweeps import wording
from analysis.sweeps.axes import ARM, axes_of
from analysis.sweeps.numbers import MATCHES, QUANTITIES, TO_REFERENCE, Difference, Numbers, Row, too_few
from analysis.sweeps.reading import Member, Swept, SweptPoint
from coupled.errors import printable
from coupled.terminal.shell import shell

REPORT: Final = "report.html"
_MOST_REASONS: Final = 40  # beneath a table


class Footnotes:
    """Reasons beneath a table, each once, called by their numbers."""

    def __init__(self) -> None:
        self.numbers: dict[str, int] = {}

    def mark(self, reasons: Sequence[str]) -> str:
        """ " [1]" for these reasons, "" for none."""
        if not reasons:
            return ""
        said = "; ".join(reasons)
        return f" [{self.numbers.setdefault(said, len(self.numbers) + 1)}]"

    @property
    def lines(self) -> list[str]:
        """The reasons in their order; of very many the first."""
        lines = [f"[{number}] {reason}." for reason, number in self.numbers.items()]
        more = len(lines) - _MOST_REASONS
        return lines[:_MOST_REASONS] + ([f"{more} more reasons: sweep.csv has all."] if more > 0 else [])


def summary(swept: Swept, numbers: Numbers) -> str:
    """What was swept, and the table of numbers and contrasts of every match."""
    lead = paragraph(wording.swept_words(swept), "lead") + paragraph(wording.apart(swept))
    return lead + "".join(matched("div", match, _tables(swept, numbers, match)) for match in MATCHES)


def axes(swept: Swept, charts: Sequence[Chart], style_of: Mapping[str, Style]) -> str:
    """The charts of each axis against each measure."""
    names = axes_of(swept)
    lead = (
        "Full lines are objectives, broken ones controls; a placebo, a nudged arm (the floor) and an independent one "
        "(the ceiling) look as they do in the report of a run. Buttons above hide arms and choose what is compared at."
    )
    if names == [ARM]:
        lead = f"Nothing but the seed was varied: arms stand side by side. {lead}"
    grid = "".join(figure(chart, style_of) for chart in charts)
    return paragraph(lead, "lead") + f'<div class="grid">{grid}</div>'


def curves(charts: Sequence[Chart], style_of: Mapping[str, Style]) -> str:
    """The charts by step."""
    lead = (
        "Equal steps are not equal progress where rates, batches or temperatures differ: compare with the charts above."
    )
    return paragraph(lead, "lead") + "".join(figure(chart, style_of) for chart in charts)


def heat_map(chart: Chart | None, style_of: Mapping[str, Style]) -> str:
    """The map of CKA over classes and steps; "" where no axis has classes."""
    return "" if chart is None else figure(chart, style_of)


def runs(swept: Swept, page: Path) -> str:
    """Every run with its own report, or the command that makes it; and where the numbers are."""
    rows = "".join(_run(member, page) for member in swept.members)
    heads = "".join(f'<th scope="col">{head}</th>' for head in ("run", "state", "its own report"))
    table = f"<table><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>"
    where = "Numbers of all matches: sweep.csv; figure: sweep.png and sweep.svg, all in "
    return paragraph(f"{where}{printable(str(files.folder(swept.path)))}/.") + scrolling(table, "Runs")


def notes(swept: Swept, left_out: int) -> str:
    """What a reader must know and no chart shows."""
    kept = [run.about["kept"] for point in swept.points for run in point.begun.runs]
    sentences = [f"Accuracy: of h on test, {about['accuracy']}, all samples." for about in kept if about["accuracy"]]
    if swept.has_classes and any(about["accuracy"] for about in kept):
        sentences.append("Accuracies among different numbers of classes do not compare.")
    sentences += [reason for about in kept for reason in about["reasons"]]
    sentences += [f"{left_out} more axes have no chart: sweep.csv has them."] if left_out else []
    sentences.append(
        "An arm is at an amount when it first gets there: of a distance the furthest so far counts, of an own loss the "
        "smallest so far, after smoothing. Values are linear between the two recorded steps that bracket it, and never "
        "from beyond the first or the last."
    )
    sentences.append(
        "CKA and RSA are of panel h (debiased; cosine and Pearson), to the arm's reference. Weights moved: ‖w − w₀‖ of "
        "all weights. Σ moved: of the panel's z, relative to the larger norm. Both where the first of the row's "
        "measures is compared. An interval is not cut to a measure's range."
    )
    return items(dict.fromkeys(sentences))


def _tables(swept: Swept, numbers: Numbers, match: str) -> str:
    rows = [row for row in numbers.rows if row.match == match]
    by_arm: dict[tuple[str, str], dict[str, Row]] = {}
    for row in rows:
        by_arm.setdefault((row.point.name, row.arm), {})[row.quantity] = row
    footnotes = Footnotes()
    cells = [
        _row(point, arm, by_arm[point.name, arm], numbers.quantities, footnotes)
        for point in swept.points
        for arm in point.arms
        if (point.name, arm) in by_arm
    ]
    cells += [[point.name or "all runs", "none has begun"] for point in swept.points if not point.arms]
    columns = [
        "point",
        "arm",
        "to",
        *(QUANTITIES[name] for name in numbers.quantities),
        "seeds",
        "weights moved",
        "Σ moved",
    ]
    cells = [[*row, *[""] * (len(columns) - len(row))] for row in cells]
    caption = f"{wording.compared_at(numbers, match)} In brackets: {wording.INTERVAL}. Moved: means."
    if too_few(row.number for row in rows):
        caption += " Of fewer than three seeds the values stand, without an interval."
    return (
        html_table(columns, cells, caption=caption)
        + items([*footnotes.lines, *wording.cautions(swept, match)])
        + _contrasts(numbers, match)
    )


def _row(
    point: SweptPoint, arm: str, of_arm: Mapping[str, Row], quantities: Iterable[str], footnotes: Footnotes
) -> list[str]:
    # Of all arms that are compared with the first one, nothing has to be said.
    references = {spec.reference for spec in point.arms.values()} - {None, next(iter(point.arms))}
    cells = [point.name, arm, (point.arms[arm].reference or "–") if references else ""]
    for quantity in quantities:
        row = of_arm.get(quantity)
        cells.append("–" if row is None else wording.cell(row.number) + footnotes.mark(row.number.reasons))
    # The quantity at which it is said how far anything had moved.
    row = next(of_arm[name] for name in (*TO_REFERENCE, "gap", *of_arm) if name in of_arm)
    n = f"{len(row.number.known)} of {len(row.number.by_seed)}"
    return [*cells, n, *(wording.plain(number.value) for number in (row.motion, row.similarity_motion))]


def _contrasts(numbers: Numbers, match: str) -> str:
    """Arms less what they are told from, within each seed."""
    shown = [one for one in numbers.differences if one.match == match]
    if not shown:
        return ""
    gaps = [one.contrast.reason for one in shown if isinstance(one.contrast, Gap)]
    if len(gaps) == len(shown):
        return paragraph(f"No differences within seeds: {gaps[0]}.")
    footnotes = Footnotes()
    rows = {(row.match, row.point.name, row.arm, row.quantity): row for row in numbers.rows}
    by = {one: rows[one.match, one.point.name, one.arm, one.quantity] for one in shown}
    cells = [
        [
            one.point.name, f"{one.arm} − {one.against}", QUANTITIES[one.quantity], *_difference(one, footnotes),
            *(wording.plain(moved.value) for moved in (by[one].motion, by[one].similarity_motion)),
        ]
        for one in shown
    ]  # fmt: skip
    caption = (
        f"Differences within each seed, at equal {AXES[match]}. In brackets: {wording.INTERVAL}. Variance ratio: how "
        "many times the seeds unpaired runs would need; its interval is wide with few seeds. Moved: the first arm."
    )
    columns = ["point", "difference", "measure", "mean", "variance ratio", "seeds", "weights moved", "Σ moved"]
    return html_table(columns, cells, caption=caption) + items(footnotes.lines)


def _difference(one: Difference, footnotes: Footnotes) -> list[str]:
    value = one.contrast
    if isinstance(value, Gap):
        return [f"none{footnotes.mark([value.reason])}", "–", "–"]
    missing = footnotes.mark([f"seed {seed}: {reason}" for seed, reason in value.missing.items()])
    mean = wording.with_interval(value.value, value.low, value.high)
    ratio = wording.with_interval(value.variance_ratio, value.ratio_low, value.ratio_high)
    return [f"{mean}{missing}", ratio, f"{len(value.by_seed)} of {len(value.by_seed) + len(value.missing)}"]


def _run(member: Member, page: Path) -> str:
    name = printable(member.entry.name)
    report = files.found(member.path, REPORT)
    if report.is_file():
        there = quote(os.path.relpath(report.absolute(), page.absolute().parent).encode(errors="surrogateescape"))
        link = f'<a href="{text(there)}">report</a>'
    elif member.run is None:
        link = "–"
    else:
        link = f"<code>coupled-analyze report {text(shell(member.path, 'utf-8'))}</code>"
    return f'<tr><th scope="row">{text(name)}</th><td>{text(member.state)}</td><td>{link}</td></tr>'
