"""The headline numbers of a report: the last step as cards, single steps as a table."""

import math

from analysis.curves import table
from analysis.output.styles import styles
from analysis.report import wording
from analysis.report.content import Content
from analysis.report.markup import paragraph, swatch, text
from analysis.report.markup import table as html_table
from analysis.runs.curve import Curve, pick

_CELLS = (("cka", "panel", "h"), ("rsa", "panel", "h"), ("weight_gap", None, None), ("loss", None, None))


def headline(content: Content) -> str:
    """The last step as cards, and the table of steps."""
    rows = table.rows(content.run, content.curves)
    lead = (
        "Each arm against its reference. Alignment is of the panel's h (test images that no arm trained on), 1 is "
        "equality up to rotation and scale; the weight gap is 0 for equal weights and 2 for unrelated ones at most."
    )
    columns = ["arm", "reference", "step", "CKA", "RSA", "weight gap", "own loss"]
    columns += ["excess"] if any(curve.measure == "excess" for curve in content.divergence) else []
    body = [_row(content, row)[: len(columns)] for row in rows]
    for before, cells in zip(rows, body[1:], strict=False):
        # An arm's name once: the eye finds where the next begins.
        cells[:2] = ["", ""] if before.arm == cells[0] else cells[:2]
    last = {row.arm: row for row in rows}
    return (
        paragraph(lead, "lead")
        + f'<div class="cards">{"".join(_card(content, row) for row in last.values())}</div>'
        + html_table(columns, body, caption="At single steps")
        + paragraph(_beneath(content), "small")
    )


def _row(content: Content, row: table.Row) -> list[str]:
    cells = [
        _with_interval(pick(content.curves, measure, row.arm, source=source, feature=feature), row.step)
        for measure, source, feature in _CELLS
    ]
    return [
        row.arm,
        row.reference or "–",
        f"{row.step:,}",
        *cells,
        wording.number(_excess(content, row.arm, row.step), 3),
    ]


def _with_interval(curve: Curve | None, step: int) -> str:
    value = None if curve is None else curve.at(step)
    shown = wording.number(value)
    if curve is None or value is None or curve.interval is None:
        return shown
    low, high = (float(side[curve.steps == step][0]) for side in (curve.interval.low, curve.interval.high))
    return shown if math.isnan(low) else f"{shown} ({wording.number(low)} – {wording.number(high)})"


def _excess(content: Content, arm: str, step: int) -> float | None:
    curve = pick(content.divergence, "excess", arm)
    return None if curve is None else curve.at(step)


def _card(content: Content, row: table.Row) -> str:
    style_of = styles(content.run.arms)
    lines = []
    for (measure, source, feature), name in zip(_CELLS, ("CKA", "RSA", "weight gap", "own loss"), strict=True):
        curve = pick(content.curves, measure, row.arm, source=source, feature=feature)
        # The last state has no batch: the loss is that of the last batch.
        step = int(curve.steps[-1]) if curve is not None and measure == "loss" else row.step
        name += "" if step == row.step else f", step {step:,}"
        value = wording.number(None if curve is None else curve.at(step))
        spread = _with_interval(curve, step)[len(value) :].strip()
        lines.append(f"<div><dt>{name}</dt><dd><b>{text(value)}</b> <span>{text(spread)}</span></dd></div>")
    excess = _excess(content, row.arm, row.step)
    if excess is not None:
        lines.append(f"<div><dt>excess</dt><dd><b>{text(wording.number(excess, 3))}</b></dd></div>")
    head = f"{swatch(style_of[row.arm])} {text(row.arm)}"
    against = f" against {row.reference}" if row.reference else ""
    return (
        f'<section class="card"><h3>{head}</h3><p>{text(f"step {row.step:,}{against}")}</p>'
        f"<dl>{''.join(lines)}</dl></section>"
    )


def _beneath(content: Content) -> str:
    sentences = [table.notes(content.run, content.curves)]
    panel = pick(content.curves, "cka", list(content.run.arms)[-1], source="panel", feature="h")
    if panel is not None and panel.interval is not None:
        sentences.append(f"In brackets: {panel.interval.what}.")
    if panel is not None and panel.null is not None:
        last = len(panel.steps) - 1
        low, high = wording.number(float(panel.null.low[last])), wording.number(float(panel.null.high[last]))
        by_chance = f"CKA of {panel.arm} with nothing in common ({panel.null.what})"
        sentences.append(f"{by_chance}: {low} to {high} at the last step.")
    excess = dict.fromkeys(curve.estimator for curve in content.divergence if curve.measure == "excess")
    if excess:
        first, *others = excess
        sentences.append(f"Excess: {first}" + (f"; also in divergence.csv: {'; '.join(others)}." if others else "."))
    return " ".join(sentences)
