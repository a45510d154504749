"""The headline numbers of a report: the last step as cards, single steps as a table."""

from typing import Final

import numpy as np

from analysis.curves import table
from analysis.divergence import OVER
from analysis.output.styles import styles
from analysis.report import wording
from analysis.report.comparisons import Comparison
from analysis.report.content import Content
from analysis.report.markup import paragraph, swatch, text
from analysis.report.markup import table as html_table
from analysis.response.seeds import MEASURES
from analysis.runs.curve import Curve, pick
from analysis.runs.numbers import ABSENT, number

_CELLS = (("cka", "panel", "h"), ("rsa", "panel", "h"), ("weight_gap", None, None), ("loss", None, None))

_UNTOLD: Final = (
    "This run has no placebo, kicked arm or matched nudge of a loss: how much of a distance the loss makes cannot be "
    "told from it."
)


def headline(content: Content) -> str:
    """The last step as cards, and the table of steps."""
    rows = table.rows(content.run, content.curves)
    lead = (
        "Each arm against its reference. Alignment is of the panel's h (test images that no arm trained on), 1 is "
        "equality up to rotation and scale; the weight gap is 0 for equal weights and 2 for unrelated ones at most."
    )
    columns = ["arm", "reference", "step", "CKA", "RSA", "weight gap", "own loss"]
    columns += [f"× {over}" for over in _floors(content)[:1]]
    body = [_row(content, row)[: len(columns)] for row in rows]
    for before, cells in zip(rows, body[1:], strict=False):
        # An arm's name once: the eye finds where the next begins.
        cells[:2] = ["", ""] if before.arm == cells[0] else cells[:2]
    last = {row.arm: row for row in rows}
    return (
        paragraph(lead, "lead")
        + _first(content)
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
        row.reference or ABSENT,
        f"{row.step:,}",
        *cells,
        number(_excess(content, row.arm, row.step), 3),
    ]


def _first(content: Content) -> str:
    """Arms beside placebos and what was pushed as far: the first thing to look at, where there are any."""
    if not content.comparisons:
        others = any(spec.kind == "objective" and spec.reference is not None for spec in content.run.arms.values())
        return paragraph(_UNTOLD, "small") if others else ""
    several = len(content.runs)
    rows = [
        [row.arm, row.named, f"{row.step:,}", *(cell for m in MEASURES for cell in _pair(row, m))]
        for row in content.comparisons
    ]
    columns = ["arm", "control", "step"]
    columns += [f"{what}{name}" for name in ("weight gap", "CKA") for what in ("", "control's ", "difference in ")]
    seeds = (
        f"Means over {several} seeds; the differences are taken seed by seed, in brackets their range."
        if several > 1
        else "Of one seed: how much of a difference is chance takes more seeds to tell."
    )
    words = (
        "A placebo lacks the labels' meaning, a kicked arm and a matched nudge the direction of the loss. What a "
        f"control reaches as well is not about what it lacks. {seeds}"
    )
    return html_table(columns, rows, caption="Each loss beside its own controls") + paragraph(words, "small")


def _pair(row: Comparison, measure: str) -> list[str]:
    """The means of arm and control, and the mean of their difference with its range over seeds."""
    pairs = row.values.get(measure, [])
    if not pairs:
        return [ABSENT] * 3
    own, its, apart = (np.array(values) for values in ((*zip(*pairs, strict=True), [a - b for a, b in pairs])))
    between = f" ({_signed(apart.min())} – {_signed(apart.max())})" if len(pairs) > 1 else ""
    return [number(float(own.mean())), number(float(its.mean())), _signed(apart.mean()) + between]


def _signed(value: float) -> str:
    return f"{value:+.4f}" if value else "0"


def _with_interval(curve: Curve | None, step: int) -> str:
    value = None if curve is None else curve.at(step)
    between = "" if curve is None or value is None else wording.interval_at(curve, step)
    return number(value) + (between and f" ({between})")


def _floors(content: Content) -> list[str]:
    """The nudged arms that distances are divided by, with scale and precision: "nudged (one-ulp nudge, float32)"."""
    excess = (curve.estimator for curve in content.divergence if curve.measure == "excess")
    return list(dict.fromkeys(of.removeprefix(OVER).partition("; mean over")[0] for of in excess))


def _excess(content: Content, arm: str, step: int) -> float | None:
    curve = pick(content.divergence, "excess", arm)
    return None if curve is None else curve.at(step)


def _card(content: Content, row: table.Row) -> str:
    style_of = styles(content.run.arms)
    lines = []
    for (measure, source, feature), name in zip(_CELLS, ("CKA", "RSA", "weight gap", "own loss"), strict=True):
        curve = pick(content.curves, measure, row.arm, source=source, feature=feature)
        # The last there is: the last state has no batch, so no loss, and a run may have stopped between panels.
        recorded = curve is None or not len(curve.steps) or curve.at(row.step) is not None
        step = row.step if curve is None or recorded else int(curve.steps[-1])
        name += "" if step == row.step else f", step {step:,}"
        value = number(None if curve is None else curve.at(step))
        spread = _with_interval(curve, step)[len(value) :].strip()
        lines.append(f"<div><dt>{name}</dt><dd><b>{text(value)}</b> <span>{text(spread)}</span></dd></div>")
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
        low, high = number(float(panel.null.low[last])), number(float(panel.null.high[last]))
        by_chance = f"CKA of {panel.arm} with nothing in common ({panel.null.what})"
        sentences.append(f"{by_chance}: {low} to {high} at the last step.")
    floors = _floors(content)
    if floors:
        first, *others = floors
        more = f" Over other nudges: divergence.csv ({'; '.join(others)})." if others else ""
        sentences.append(
            f"× {first}: distance of all weights over that of the nudged arm. It depends on the nudge's size and the "
            f"precision, and is no measure of what the loss does.{more}"
        )
    return " ".join(sentences)
