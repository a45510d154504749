"""The page of a sweep."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from analysis.aggregation.matching import AXES
from analysis.report import skeleton
from analysis.report.charts import Chart
from analysis.sweeps import charts, curves, heat_map, sections, wording
from analysis.sweeps.arms import family_styles
from analysis.sweeps.axes import axes_of
from analysis.sweeps.claims import claims
from analysis.sweeps.numbers import MATCHES, QUANTITIES, Numbers
from analysis.sweeps.reading import Swept

_BY_STEP: Final = ("rsa", "weight_gap", "gap", "loss", "motion", "similarity_motion")


@dataclass(frozen=True)
class _Drawn:
    """The charts of the page, by section."""

    axes: list[Chart]
    curves: list[Chart]
    heat_map: Chart | None

    @property
    def all(self) -> list[Chart]:
        return [*self.axes, *self.curves, *([self.heat_map] if self.heat_map is not None else [])]


def page(swept: Swept, numbers: Numbers, path: Path) -> str:
    """The HTML, for a file at `path`, from which links go. Equal records give equal pages."""
    style_of = family_styles(swept.arms, swept.placed)
    drawn = _drawn(swept, numbers)
    left_out = max(0, len(axes_of(swept)) - charts.MOST_AXES)
    bodies = [
        ("summary", "What was swept, and what came out", sections.summary(swept, numbers)),
        ("axes", "Each axis against each measure", sections.axes(swept, drawn.axes, style_of)),
        ("curves", "Curves by step", sections.curves(drawn.curves, style_of)),
        ("map", "Classes and steps", sections.heat_map(drawn.heat_map, style_of)),
        ("claims", "What the papers claim", claims(swept)),
        ("runs", "The runs", sections.runs(swept, path)),
        ("notes", "Notes", sections.notes(swept, left_out)),
    ]
    first = numbers.best_match
    buttons = "".join(skeleton.button("match", match, AXES[match], match == first) for match in MATCHES)
    matches = f'<span class="matches" role="group" aria-label="What is compared at">{buttons}</span>'
    return skeleton.page(
        title=swept.name,
        status=wording.status(swept),
        finished=all(member.is_finished for member in swept.members),
        sections=[body for body in bodies if body[2]],
        bar=f"{skeleton.arm_buttons(style_of)}\n{matches}\n{skeleton.axis_buttons()}",
        charts=drawn.all,
        data={"rates": {}, "match": first},
    )


def _drawn(swept: Swept, numbers: Numbers) -> _Drawn:
    style_of = family_styles(swept.arms, swept.placed)
    by_axis = [
        charts.against(swept, numbers, style_of, axis, quantity, id=f"axis{i}-{quantity}")
        for i, axis in enumerate(axes_of(swept)[: charts.MOST_AXES])
        for quantity in numbers.quantities
    ]
    by_step = [
        curves.chart(swept, ["cka"], style_of, id="steps-cka", title=f"{QUANTITIES['cka']} by step"),
        curves.chart(swept, _BY_STEP, style_of, id="steps-other", title="Other measures by step"),
    ]
    return _Drawn(
        [chart for chart in by_axis if chart is not None],
        [chart for chart in by_step if chart is not None],
        heat_map.chart(swept),
    )
