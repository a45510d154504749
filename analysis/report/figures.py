"""The charts of the page in their places; where a chart is missing, its place says why."""

from collections.abc import Mapping, Sequence

from analysis.output.styles import Style, styles
from analysis.report.charts import Chart
from analysis.report.content import Content
from analysis.report.markup import items, matched, paragraph, swatch, text

_ABSENT = {
    "cka": ("CKA to the reference", "panel/similarity"),
    "rsa": ("RSA to the reference", "panel/similarity"),
    "other": ("Other alignment measures", "panel/similarity"),
    "weight_gap": ("Weight gap", "scalars"),
    "distance": ("Distance of all weights", "scalars"),
    "loss": ("Own loss", "scalars"),
    "gap": ("Loss gap", "scalars"),
    "bounds": ("Bounds", "bounds"),
    "divergence": ("Divergence", "scalars"),
    "response": ("What came out over what was put in", "response"),
    "paths": ("Distance and path bounds", "response"),
    "layers": ("Per-layer map", "layers"),
}

# Why a chart that is made of no one stream is not there.
_UNKNOWN = {
    "response": "of no arm it is known yet what was put in; record.ledger, or a nudge, would tell.",
    "paths": "no arm has a distance.",
}


def figures(content: Content, charts: Sequence[Chart | None], names: Sequence[str]) -> str:
    """The charts of these ids; for one that is not there, the reason."""
    there = {chart.id: chart for chart in charts if chart is not None}
    style_of = styles(content.run.arms)
    return "".join(
        figure(there[name], style_of) if name in there else paragraph(absent(content, name), "absent") for name in names
    )


def absent(content: Content, name: str) -> str:
    """Why a chart is not there."""
    title, stream = _ABSENT[name]
    run = content.run
    section = stream if stream in content.missing else name
    if content.missing.get(section):
        return f"{title}: {' '.join(content.missing[section])}"
    if len(run.arms) == 1 and name not in ("loss", "gap"):
        return f"{title}: the run has one arm, there is nothing to compare it with."
    if name in _UNKNOWN:
        return f"{title}: {_UNKNOWN[name]}"
    streams = stream.split("/")
    if any(run.awaits(one, *run.arms) for one in streams if one not in ("bounds", "divergence")):
        return f"{title}: nothing committed yet."
    return f"{title}: not recorded (streams: {', '.join(streams)})."


def figure(chart: Chart, style_of: Mapping[str, Style]) -> str:
    """A chart's place on the page: title, lead, its own controls, the plot, a legend, remarks. `style_of`: of arms."""
    controls = []
    if len(chart.choices) > 1:
        entries = "".join(f'<option value="{text(choice)}">{text(choice)}</option>' for choice in chart.choices)
        controls.append(f'<label>{text(chart.menu)} <select data-menu="{chart.id}">{entries}</select></label>')
    elif chart.choices:
        controls.append(f"<span>{text(chart.choices[0])}</span>")
    if chart.x == "rate":
        entries = '<option value="step">step</option><option value="rate">cumulative learning rate</option>'
        controls.append(f'<label>over <select data-over="{chart.id}">{entries}</select></label>')
    if chart.y_log is not None:
        checked = " checked" if chart.y_log else ""
        controls.append(f'<label><input type="checkbox" data-log="{chart.id}"{checked}> log y</label>')
    looks = [*chart.legend, *(style_of[arm] for arm in chart.arms)]
    legend = "".join(f"<span>{swatch(style)} {text(style.label)}</span>" for style in looks)
    legend = legend if chart.id not in ("bounds", "layers") else ""
    notes = items(chart.notes) + "".join(
        f'<div data-chart="{chart.id}" data-choice="{text(choice)}">{items(of)}</div>'
        for choice, of in chart.notes_of.items()
        if of
    )
    height = int(chart.layout["height"])
    title = text(chart.title) + "".join(matched("span", match, text(words)) for match, words in chart.matched.items())
    return (
        f'<figure id="figure-{chart.id}"><figcaption><h3>{title}</h3>{paragraph(chart.lead)}</figcaption>'
        f'<div class="controls">{"".join(controls)}</div>'
        f'<div class="plot" id="plot-{chart.id}" role="img" aria-label="{text(chart.alt)}" '
        f'style="min-height:{height}px"></div>'
        f'<p class="legend">{legend}</p>{notes}</figure>'
    )
