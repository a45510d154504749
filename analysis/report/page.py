"""The page of a run, or of one config at several seeds."""

from collections.abc import Mapping, Sequence
from typing import Final
from urllib.parse import quote

from analysis.output.styles import styles
from analysis.output.table import title
from analysis.report import checkpoints, picture_chart, response_section, sections, skeleton
from analysis.report.charts import Chart
from analysis.report.content import Content
from analysis.report.headline import headline
from analysis.report.markup import text
from analysis.report.opening import opening
from analysis.report.traces import numbers
from coupled.config.formats import IMPORTED

_SECTIONS: Final = (
    ("curves", "Curves"),
    ("headline", "Headline numbers"),
    ("shared", "What was shared, what differed"),
    ("bounds", "Bounds and measured values"),
    ("divergence", "Divergence of the weights"),
    ("response", "Response"),
    ("layers", "Layer by layer"),
    ("evaluated", "Kept checkpoints on whole splits"),
    ("usefulness", "How useful the representations are"),
    ("pictures", "Pictures"),
    ("reproduce", "How to reproduce"),
    ("notes", "Notes"),
)


def page(content: Content, files: Mapping[str, Sequence[str]] | None = None) -> str:
    """The HTML of a report. Equal contents give equal pages. `files`: what lies beside it, as links of a section."""
    drawn = sections.all_charts(content)
    bodies = checkpoints.bodies(content, drawn) or {
        "shared": sections.shared(content),
        "headline": headline(content),
        "curves": sections.curves(content, drawn),
        "bounds": sections.bounds(content, drawn),
        "divergence": sections.divergence(content, drawn),
        "response": response_section.section(content, drawn),
        "layers": sections.layers(content, drawn),
        "evaluated": sections.evaluated(content, drawn),
        "usefulness": sections.usefulness(content, drawn),
        "pictures": picture_chart.section(content, drawn),
        "reproduce": sections.reproduce(content),
        "notes": sections.notes(content),
    }
    there = [chart for chart in drawn if chart is not None]
    for section, paths in (files or {}).items():
        bodies[section] += _links(paths) if bodies.get(section) else ""
    return skeleton.page(
        title=content.run.name,
        status=_status(content),
        lead=opening(content),
        finished=all(run.finished for run in content.runs),
        sections=[(name, title, bodies[name]) for name, title in _SECTIONS if bodies[name]],
        bar=f"{skeleton.arm_buttons(styles(content.run.arms))}\n{skeleton.axis_buttons()}",
        charts=there,
        data={"rates": _rates(content, there)},
    )


def _links(paths: Sequence[str]) -> str:
    links = ", ".join(f'<a href="{text(quote(path))}">{text(path.rpartition("/")[2])}</a>' for path in paths)
    return f'<p class="small">Files: {links}</p>'


def _status(content: Content) -> str:
    run = content.run
    facts = title(run).removeprefix(f"{run.name}: ")
    facts = facts if not run.finished or IMPORTED in run.facts else f"{facts}; finished, {run.planned_steps:,} steps"
    others = [f"{one.name} (seed {one.config.seed})" for one in content.runs]
    if len(others) == 1:
        return facts
    late = [one.name for one in content.runs if not one.finished]
    unfinished = f" UNFINISHED: {', '.join(late)}." if late and run.finished else ""
    return f"{facts}. Mean and range over {len(others)} seeds: {', '.join(others)}.{unfinished}"


def _rates(content: Content, charts: Sequence[Chart]) -> dict[str, float | int | None]:
    """The learning-rate sum at each step that is drawn over it."""
    steps = sorted({x for chart in charts if chart.x == "rate" for trace in chart.data for x in trace["x"]})
    sums = content.rates
    known = len(sums) > 1 and (not steps or steps[-1] < len(sums))
    return dict(zip(map(str, steps), numbers(sums[steps]), strict=True)) if known and steps else {}
