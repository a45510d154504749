"""The page: one HTML file that asks nobody for anything."""

import base64
import gzip
from collections.abc import Sequence
from importlib.resources import files
from string import Template
from typing import Final

from analysis.output.styles import styles
from analysis.output.table import title
from analysis.report import checkpoints, picture_chart, response_section, sections
from analysis.report.charts import Chart
from analysis.report.content import Content
from analysis.report.headline import headline
from analysis.report.markup import script_json, swatch, text
from analysis.report.traces import numbers
from coupled.config.formats import IMPORTED

# `default-src 'none'`: the browser itself refuses whatever would leave this file.
_PAGE: Final = Template("""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; script-src 'unsafe-inline'; \
style-src 'unsafe-inline'; img-src data: blob:">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>$title</title>
<style>$style</style>
</head>
<body>
<header>
<h1>$title</h1>
<p class="status $state">$status</p>
<noscript><p class="banner">This browser runs no scripts: tables and text are complete, and the charts are the PNG and
SVG files beside this page.</p></noscript>
<p class="banner" id="banner" hidden></p>
</header>
<nav aria-label="Sections">$contents</nav>
<div class="bar" role="toolbar" aria-label="What all charts show">
<span class="arms" role="group" aria-label="Arms">$arms</span>
<span class="axis" role="group" aria-label="Axis of steps">$axis</span>
</div>
<main>
$body
</main>
<footer><p>Made by coupled-analyze report. Charts: plotly.js (MIT licence), inside this file.</p></footer>
<script type="application/json" id="data">$data</script>
<script type="text/plain" id="plotly">$plotly</script>
<script>$script</script>
</body>
</html>
""")

_SECTIONS: Final = (
    ("shared", "What was shared, what differed"),
    ("headline", "Headline numbers"),
    ("curves", "Curves"),
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
_AXES: Final = (("symlog", "0 and log"), ("log", "log"), ("linear", "linear"))


def page(content: Content) -> str:
    """The HTML of a report. Equal contents give equal pages."""
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
    shown = [(name, title) for name, title in _SECTIONS if bodies[name]]
    here = files("analysis.report")
    finished = all(run.finished for run in content.runs)
    return _PAGE.substitute(
        title=text(content.run.name),
        state="finished" if finished else "unfinished",
        status=text(_status(content)),
        style=(here / "style.css").read_text("utf-8"),
        contents="".join(f'<a href="#{name}">{text(title)}</a>' for name, title in shown),
        arms=_arm_buttons(content),
        axis="".join(_button("axis", value, text(label), value == "symlog") for value, label in _AXES),
        body="\n".join(
            f'<section id="{name}" aria-labelledby="h-{name}"><h2 id="h-{name}">{text(title)}</h2>{bodies[name]}'
            "</section>"
            for name, title in shown
        ),
        data=script_json(_data(content, drawn)),
        plotly=plotly_script(),
        script=(here / "page.js").read_text("utf-8"),
    )


def plotly_script() -> str:
    """plotly.min.js of the installed package, gzip in base64: 2.0 MB instead of 4.8."""
    script = (files("plotly") / "package_data" / "plotly.min.js").read_bytes()
    return base64.b64encode(gzip.compress(script, 9, mtime=0)).decode()


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


def _arm_buttons(content: Content) -> str:
    style_of = styles(content.run.arms)
    return "".join(_button("arm", arm, f"{swatch(style_of[arm])} {text(arm)}", True) for arm in content.run.arms)


def _button(kind: str, value: str, label: str, pressed: bool) -> str:
    return f'<button type="button" data-{kind}="{text(value)}" aria-pressed="{str(pressed).lower()}">{label}</button>'


def _data(content: Content, charts: Sequence[Chart | None]) -> dict[str, object]:
    """What the page's script draws: the charts, and the learning-rate sum at each step that is drawn over it."""
    there = [chart for chart in charts if chart is not None]
    steps = sorted({x for chart in there if chart.x == "rate" for trace in chart.data for x in trace["x"]})
    sums = content.rates
    known = len(sums) > 1 and (not steps or steps[-1] < len(sums))
    return {
        "charts": [
            {"id": chart.id, "data": chart.data, "layout": chart.layout, "x": chart.x, "choices": chart.choices}
            for chart in there
        ],
        "rates": dict(zip(map(str, steps), numbers(sums[steps]), strict=True)) if known and steps else {},
    }
