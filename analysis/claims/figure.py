"""The scoreboard as a figure: every row's effect in margins, with its interval, seed by seed."""

import math
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Final

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, NullLocator

from analysis.claims import Finding
from analysis.claims.rules import Claim
from analysis.claims.table import numbers, several
from analysis.claims.verdicts import CONTRADICTED, EQUIVALENT, HOLDS, SUPPORTED, UNDECIDED, VIOLATED, Verdict
from analysis.output import files
from analysis.output.figure import ALARM, GREY, save_figure_in
from analysis.output.styles import OBJECTIVES

NAMES: Final = ("claims.png", "claims.svg")
# Words stand beside every colour.
COLOURS: Final = {
    SUPPORTED: OBJECTIVES[1],
    HOLDS: OBJECTIVES[1],
    EQUIVALENT: OBJECTIVES[2],
    CONTRADICTED: OBJECTIVES[0],
    VIOLATED: ALARM,
    UNDECIDED: GREY,
}
_WIDTH, _HEAD, _FOOT, _LINE = 13.34, 1.15, 1.5, 0.30  # inches
_LEFT, _RIGHT = 5.15, 4.6
_MARGINS: Final = 100.0  # to which the axis goes
_TICKS: Final = (1, 3, 10, 30)
_REASON: Final = 36  # characters


def save(folder: Path, findings: Sequence[Finding]) -> list[Path]:
    """Draws FOLDER/analysis/claims.png and .svg; equal findings give equal bytes."""
    return save_figure_in(files.folder(folder), NAMES, lambda: draw(findings))


def draw(findings: Sequence[Finding]) -> Figure:
    """A line for each finding, claim by claim: its words, its effect with interval, its verdict. Rows that no sweep was
    given for are named beneath.
    """
    absent = [each.row.id for each in findings if not each.sweep]
    findings = [each for each in findings if each.sweep]
    rows = [row for claim, of_claim in groupby(findings, lambda each: each.claim) for row in (claim, *of_claim)]
    height = _HEAD + _LINE * len(rows) + _FOOT
    figure = Figure(figsize=(_WIDTH, height))
    figure.text(0.02, 1 - 0.42 / height, "What the papers claim", fontsize=20, fontweight="bold")
    lead = "effect in margins, to the right as claimed (±: inside)   ·   bars: 95 % intervals over seeds, dots: seeds"
    figure.text(0.02, 1 - 0.72 / height, lead, fontsize=13, color=GREY)
    width = (_WIDTH - _LEFT - _RIGHT) / _WIDTH
    axes = figure.add_axes((_LEFT / _WIDTH, _FOOT / height, width, _LINE * len(rows) / height))
    _axis(axes, len(rows))
    for y, row in enumerate(rows):
        if isinstance(row, Claim):
            _words(axes, y, 0.15, f"{row.number}. {row.title}", fontweight="bold")
        else:
            _line(axes, y, row, findings)
    if absent:
        said = f"no sweep was given for {', '.join(absent)}"
        figure.text(0.02, 0.6 / height, said, fontsize=11.5, color=GREY)
    _legend(figure, height)
    return figure


def _axis(axes: Axes, lines: int) -> None:
    axes.set_xscale("symlog", linthresh=1, linscale=0.6)
    axes.set_xlim(-_MARGINS, _MARGINS)
    axes.set_ylim(lines - 0.5, -0.5)
    axes.axvspan(-1, 1, color="#F0F0F0", zorder=0)
    axes.axvline(0, color=GREY, linewidth=0.8)
    places = [*(-tick for tick in reversed(_TICKS)), 0, *_TICKS]
    axes.xaxis.set_major_locator(FixedLocator(places))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xticklabels([f"{place:g}".replace("-", "−") for place in places], fontsize=11)
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    axes.set_xlabel("effect / margin", fontsize=12)


def _words(axes: Axes, y: int, inches: float, text: str, **looks: object) -> None:
    """Text at so many inches from the left edge of the figure."""
    transform = axes.get_yaxis_transform()
    x = (inches - _LEFT) / (_WIDTH - _LEFT - _RIGHT)
    axes.text(x, y, text, transform=transform, va="center", fontsize=11.5, parse_math=False, **looks)  # type: ignore[arg-type]


def _line(axes: Axes, y: int, finding: Finding, findings: Sequence[Finding]) -> None:
    row, verdict = finding.row, finding.verdict
    of = f" ({finding.sweep})" if several(findings)[row.id] > 1 else ""
    within = " ±" if row.side == "within" else ""
    _words(axes, y, 0.3, f"{row.id:4} {row.words}{within}{of}")
    colour = COLOURS[verdict.verdict]
    right = _WIDTH - _RIGHT + 0.15
    _words(axes, y, right, verdict.verdict, color=colour, fontweight="bold")
    effect, interval = numbers(verdict)
    # Bounds have no interval: their effect is a tightness, and no number of margins.
    is_bound = verdict.verdict in (HOLDS, VIOLATED)
    if is_bound:
        said = f"bound/measured {effect}"
    elif math.isnan(verdict.low):
        said = verdict.reason if len(verdict.reason) <= _REASON else f"{verdict.reason[: _REASON - 1]}…"
        _words(axes, y, right + 1.4, said, color=GREY)
        return
    else:
        said = f"{effect}   [{interval.replace(' ', ', ')}]"
    _words(axes, y, right + 1.4, said)
    if not is_bound:
        _interval(axes, y, verdict, _scale(finding), colour)


def _scale(finding: Finding) -> float:
    """From an effect to margins towards what is claimed."""
    sign = -1 if finding.row.side == "below" else 1
    return sign / finding.row.margin


def _interval(axes: Axes, y: int, verdict: Verdict, scale: float, colour: str) -> None:
    def inside(value: float) -> float:
        return min(max(value * scale, -_MARGINS), _MARGINS)

    seeds = [inside(value) for value in (verdict.by_seed or {}).values()]
    axes.plot(seeds, [y] * len(seeds), "o", color=colour, alpha=0.35, markersize=4, markeredgewidth=0, zorder=2)
    ends = [inside(end) for end in (verdict.low, verdict.high)]
    axes.plot(ends, [y, y], color=colour, linewidth=2.6, solid_capstyle="butt", zorder=3)
    effect = inside(verdict.effect)
    # Beyond the axis an arrow says which way.
    marker = {-_MARGINS: "<", _MARGINS: ">"}.get(effect, "|")
    look = {"color": colour, "markersize": 7 if marker != "|" else 11, "markeredgewidth": 2.6 if marker == "|" else 0}
    axes.plot([effect], [y], marker, clip_on=False, zorder=4, **look)


def _legend(figure: Figure, height: float) -> None:
    handles = [Line2D([], [], color=COLOURS[name], linewidth=2.6, label=name) for name in COLOURS if name != HOLDS]
    handles[0].set_label(f"{SUPPORTED}, {HOLDS}")
    figure.legend(handles=handles, loc="lower center", ncols=len(handles), bbox_to_anchor=(0.5, 0.12 / height))
