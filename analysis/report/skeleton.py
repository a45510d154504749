"""The frame of a page: one HTML file that asks nobody for anything. What is in it comes from elsewhere."""

import base64
import gzip
from collections.abc import Mapping, Sequence
from importlib.resources import files
from string import Template
from typing import Any, Final

from analysis.output.styles import Style
from analysis.report.charts import Chart
from analysis.report.markup import paragraph, script_json, swatch, text

# `default-src 'none'`: the browser itself refuses whatever would leave this file.
_PAGE: Final = Template("""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; script-src 'unsafe-inline'; \
style-src 'unsafe-inline'; img-src data: blob:">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>$title</title>
<style>$style</style>
</head>
<body>
<header>
<h1>$title</h1>
<p class="status $state">$status</p>
$lead
<noscript><p class="banner">This browser runs no scripts: tables and text are complete, and the charts are the PNG and
SVG files beside this page.</p></noscript>
<p class="banner" id="banner" hidden></p>
</header>
<nav aria-label="Sections">$contents</nav>
<div class="bar" role="toolbar" aria-label="What all charts show">
$bar
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

_AXES: Final = (("symlog", "0 and log"), ("log", "log"), ("linear", "linear"))


def page(
    *,
    title: str,
    status: str,
    finished: bool,
    lead: str = "",
    sections: Sequence[tuple[str, str, str]],
    bar: str,
    charts: Sequence[Chart],
    data: Mapping[str, Any],
) -> str:
    """The HTML of a page.

    `lead`: what came out, in a sentence. `sections`: id, title and HTML of each. `bar`: its buttons. `data`: what
    page.js needs beside the charts.
    """
    here = files("analysis.report")
    drawn = [
        {"id": chart.id, "data": chart.data, "layout": chart.layout, "x": chart.x, "choices": chart.choices}
        for chart in charts
    ]
    return _PAGE.substitute(
        title=text(title),
        state="finished" if finished else "unfinished",
        status=text(status),
        lead=paragraph(lead, "result"),
        style=(here / "style.css").read_text("utf-8"),
        contents="".join(f'<a href="#{name}">{text(heading)}</a>' for name, heading, _ in sections),
        bar=bar,
        body="\n".join(
            f'<section id="{name}" aria-labelledby="h-{name}"><h2 id="h-{name}">{text(heading)}</h2>{body}</section>'
            for name, heading, body in sections
        ),
        data=script_json({"charts": drawn, **data}),
        plotly=plotly_script(),
        script=(here / "page.js").read_text("utf-8"),
    )


def plotly_script() -> str:
    """plotly.min.js of the installed package, gzip in base64: 2.0 MB instead of 4.8."""
    script = (files("plotly") / "package_data" / "plotly.min.js").read_bytes()
    return base64.b64encode(gzip.compress(script, 9, mtime=0)).decode()


def arm_buttons(style_of: Mapping[str, Style]) -> str:
    """A button for every arm, which hides it in all charts."""
    buttons = "".join(button("arm", arm, f"{swatch(style)} {text(arm)}", True) for arm, style in style_of.items())
    return f'<span class="arms" role="group" aria-label="Arms">{buttons}</span>'


def axis_buttons() -> str:
    """The buttons that set the axis of steps in all charts."""
    buttons = "".join(button("axis", value, text(label), value == "symlog") for value, label in _AXES)
    return f'<span class="axis" role="group" aria-label="Axis of steps">{buttons}</span>'


def button(kind: str, value: str, label: str, pressed: bool) -> str:
    """A button that page.js listens to by its `kind`; `label` is HTML."""
    return f'<button type="button" data-{kind}="{text(value)}" aria-pressed="{str(pressed).lower()}">{label}</button>'
