"""The section of pictures: one arm's at a time, a square for each step, so that arms can be changed in place."""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from analysis.evaluation.picture import MOST_STEPS, Picture, Pictures
from analysis.evaluation.picture.looks import COLOURS, LOOKS, Look, about, corner, looks, meaning
from analysis.output.thinning import spread
from analysis.report import figures
from analysis.report.charts import Chart, base_layout
from analysis.report.content import Content
from analysis.report.markup import paragraph, text
from analysis.report.traces import Trace, escaped, numbers

MOST_POINTS: Final = 40_000  # of all pictures: about 1 MB of the page, at most 2
_SYMBOLS: Final = {"o": "circle", "^": "triangle-up", "s": "square", "D": "diamond"}
_DIGITS, _NAME = 4, 20  # digits of a coordinate, characters of a class's name


def section(content: Content, drawn: Sequence[Chart | None]) -> str:
    """The pictures that `coupled-analyze picture` has left; "" where it was not called."""
    pictures, reasons = content.pictures, content.missing.get("pictures", [])
    absent = "".join(paragraph(reason, "absent") for reason in reasons)
    if pictures is None:
        return absent
    style_of = list(looks(list(pictures.names)).items())[:LOOKS]
    legend = "".join(f"<span>{_dot(look)} {text(pictures.names[label])}</span>" for label, look in style_of)
    lead = "Made by coupled-analyze picture. Change the arm: the first pictures are turned onto those of the first arm."
    legend = f'<p class="legend">{legend}</p>'
    return paragraph(lead, "lead") + absent + legend + figures.figures(content, drawn, ("pictures",))


def chart(content: Content) -> Chart | None:
    """The pictures of each arm, a panel a step; None without any."""
    pictures = content.pictures
    if pictures is None:
        return None
    all_steps = np.array(pictures.steps, np.int64)
    steps: list[int] = all_steps[spread(all_steps, MOST_STEPS)].tolist()
    rows = _samples(pictures, len(steps))
    layout = base_layout() | {"hovermode": "closest", "height": 330 * -(-len(steps) // 4)}
    layout["margin"] = {"l": 6, "r": 6, "t": 26, "b": 6}
    axis_of = {step: str(i) if i > 1 else "" for i, step in enumerate(steps, 1)}
    for step, number in axis_of.items():
        layout[f"xaxis{number}"], layout[f"yaxis{number}"] = _axes(step, number)
    data = [
        trace
        for own in pictures.pictures
        if own.step in axis_of
        for trace in _traces(pictures, own, rows, axis_of[own.step])
    ]
    notes = [*meaning(pictures), *_left_out(content, pictures, len(steps), len(rows))]
    return Chart(
        id="pictures",
        title=f"{pictures.feature} on {pictures.split}, {pictures.method.upper()}",
        lead=about(pictures),
        data=data,
        layout=layout,
        x="panels",
        choices=tuple(pictures.arms),
        menu="arm",
        alt=f"{about(pictures)} {len(steps)} pictures of each arm, from step {steps[0]:,} to {steps[-1]:,}.",
        notes=tuple(notes),
    )


def _samples(pictures: Pictures, steps: int) -> NDArray[np.intp]:
    """The rows of the samples that the page shows: all, or every k-th."""
    every = -(-len(pictures.ids) * steps * len(pictures.arms) // MOST_POINTS)
    return np.arange(0, len(pictures.ids), every)


def _traces(pictures: Pictures, own: Picture, rows: NDArray[np.intp], number: str) -> list[Trace]:
    """The points of a picture, a trace for each kind of marker, and what stands in its corner."""
    half = pictures.half_widths()[0][own.arm, own.step]
    place: dict[str, Any] = {"xaxis": f"x{number}", "yaxis": f"y{number}", "meta": {"arm": None, "choice": own.arm}}
    style_of, traces = looks(list(pictures.names)), list[Trace]()
    names = {label: escaped(name[:_NAME]) for label, name in pictures.names.items()}
    labels = pictures.classes[rows].tolist()
    for marker in dict.fromkeys(look.marker for look in style_of.values()):
        # In the order of ids, which is none of classes: no class lies above another.
        its = [i for i, label in enumerate(labels) if style_of[label].marker == marker]
        points = own.points[rows][its] / half
        traces.append(
            {
                "type": "scatter",
                "mode": "markers",
                "x": numbers(points[:, 0], _DIGITS),
                "y": numbers(points[:, 1], _DIGITS),
                "customdata": pictures.ids[rows][its].tolist(),
                "text": [names[labels[i]] for i in its],
                "marker": {
                    "color": [COLOURS.index(style_of[labels[i]].colour) for i in its],
                    "colorscale": [[i / (len(COLOURS) - 1), colour] for i, colour in enumerate(COLOURS)],
                    "cmin": 0,
                    "cmax": len(COLOURS) - 1,
                    "symbol": _SYMBOLS[marker],
                    "size": 3.5,
                },
                "hovertemplate": "%{text}, sample %{customdata}<extra></extra>",
                **place,
            }
        )
    note = corner(pictures, own.arm, own.step)
    if note:
        corner_text = {"mode": "text", "x": [-1.03], "y": [-1.03], "text": [note], "textposition": "top right"}
        traces.append({"type": "scatter", **corner_text, "textfont": {"size": 9}, "hoverinfo": "skip", **place})
    return traces


def _axes(step: int, number: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The axes of a panel: a square from −1 to 1 with a frame, the step above it."""
    plain = {"showticklabels": False, "ticks": "", "showgrid": False, "zeroline": False, "range": [-1.06, 1.06]}
    frame = {"showline": True, "linecolor": "#D0D0D0", "mirror": True, "constrain": "domain"}
    title = {"text": f"step {step:,}", "standoff": 4}
    x = plain | frame | {"anchor": f"y{number}", "side": "top", "title": title}
    return x, plain | frame | {"anchor": f"x{number}", "scaleanchor": f"x{number}"}


def _left_out(content: Content, pictures: Pictures, steps: int, samples: int) -> list[str]:
    lines = []
    if steps < len(pictures.steps):
        lines.append(f"Of {len(pictures.steps)} steps {steps} are shown here, about evenly spaced in log(step).")
    if samples < len(pictures.ids):
        lines.append(f"Of {len(pictures.ids):,} samples {samples:,} are shown here; picture.csv has all.")
    if len(content.runs) > 1:
        lines.append(f"Pictures are of {content.run.name} (seed {content.run.config.seed}) alone.")
    return lines


def _dot(look: Look) -> str:
    """A class's marker for the legend."""
    shapes = {
        "o": '<circle cx="5" cy="5" r="4"',
        "^": '<polygon points="5,1 9,9 1,9"',
        "s": '<rect x="1.5" y="1.5" width="7" height="7"',
        "D": '<polygon points="5,0.5 9.5,5 5,9.5 0.5,5"',
    }
    shape = f'{shapes[look.marker]} fill="{look.colour}"/>'
    return f'<svg class="swatch" width="10" height="10" aria-hidden="true">{shape}</svg>'
