"""CKA over the number of classes and steps (P2, figure 3): a row for each number of classes, a column for each step."""

from collections.abc import Sequence
from typing import Final

import numpy as np

from analysis.output.thinning import spread
from analysis.report.charts import Chart, base_layout
from analysis.report.traces import Trace, escaped, numbers
from analysis.sweeps.curves import over_seeds
from analysis.sweeps.kept import WHOLE
from analysis.sweeps.reading import CLASS_AXES, Swept, SweptPoint, shown
from coupled.config import Config
from coupled.errors import UserError
from coupled.inputs.dataset import data_info

MOST_STEPS: Final = 120
# What a map is of, whole splits first: the quantity of a summary, and its words.
SOURCES: Final = {
    "test": ((WHOLE["test"], "test, whole split at kept checkpoints"), ("cka", "test, the panel")),
    "train": ((WHOLE["train"], "train, whole split at kept checkpoints"), ("batch_cka", "train, recorded batches (z)")),
}
_Row = tuple[int | None, str, SweptPoint, str]  # classes, its name, where it is of


def chart(swept: Swept) -> Chart | None:
    """Maps of every family of arms, on test and on train; None where the number of classes is on no axis."""
    if not swept.has_classes:
        return None
    data: list[Trace] = []
    for family in dict.fromkeys(swept.placed[arm].family for arm in swept.shown_arms):
        rows = _rows(swept, family)
        for sources in SOURCES.values() if len(rows) > 1 else ():
            maps = [_map(rows, quantity, family, words) for quantity, words in sources]
            there = [trace for trace in maps if trace is not None]
            # Whole splits where every row has them: one run that was evaluated takes no recorded panel away.
            whole = [trace for trace in there if all(any(v is not None for v in row) for row in trace["z"])]
            data += (whole or there[-1:])[:1]
    if not data:
        return None
    layout = base_layout()
    ticks = sorted({step for trace in data for step in _ticks(trace["x"])})
    most = max(len(trace["y"]) for trace in data)
    layout["xaxis"] |= {"type": "category", "tickangle": 0, "showgrid": False}
    layout["xaxis"] |= {"tickvals": [f"{step}" for step in ticks], "ticktext": [f"{step:,}" for step in ticks]}
    layout["yaxis"] |= {"type": "category", "showgrid": False, "tickfont": {"size": 11}, "title": {"text": "classes"}}
    del layout["xaxis"]["title"]  # it would lie on the ticks; the lead says what a column is
    layout |= {"height": 150 + 34 * max(3, most), "hovermode": "closest"}
    return Chart(
        id="classes-map",
        title="CKA by number of classes and step",
        lead="A column is a recorded step, a value the mean over the seeds that have it. White: not recorded there.",
        data=data,
        layout=layout,
        x="own",
        choices=tuple(dict.fromkeys(trace["meta"]["choice"] for trace in data)),
        menu="arm and split",
        alt=f"Heat maps of CKA, up to {most} numbers of classes by {len(data[0]['x'])} steps.",
        notes=(
            "Panel: h of fixed test images, debiased CKA. Recorded batches: z of the batches that were trained on. "
            "Whole splits: h, by coupled-analyze alignment.",
        ),
    )


def _rows(swept: Swept, family: str) -> list[_Row]:
    """The rows of a map, few classes first."""
    rows: list[_Row] = []
    for point in swept.points:
        for arm in point.arms:
            place = swept.placed[arm]
            if place.family == family and point.arms[arm].reference is not None:
                count, name = _classes(swept, point, arm)
                others = [f"{a} = {' or '.join(map(shown, v))}" for a, v in point.values.items() if a not in CLASS_AXES]
                others += [f"{a} = {shown(v)}" for a, v in place.values.items() if a not in CLASS_AXES]
                rows.append((count, ", ".join([name, *others]), point, arm))
    rows.sort(key=lambda row: (row[0] is None, row[0] or 0))
    return rows


def _classes(swept: Swept, point: SweptPoint, arm: str) -> tuple[int | None, str]:
    """How many classes the arm tells apart, and in words; with the labelling where several are there."""
    assert point.run is not None
    labelling = point.arms[arm].labelling
    count = count_of(point.run.config, labelling)
    words = "?" if count is None else str(count)
    several = any(axis.endswith("labelling") for axis in (*swept.axes, *swept.arm_axes))
    return count, f"{words} ({shown(labelling)})" if several else words


def count_of(config: Config, labelling: str | None) -> int | None:
    """The number of classes of a labelling in a config's data set; None where it is not known here."""
    if labelling == config.data.labelling and config.data.classes:
        return len(config.data.classes)
    try:
        return data_info(config).classes.get(str(labelling))
    except UserError:
        return None


def _map(rows: Sequence[_Row], quantity: str, family: str, words: str) -> Trace | None:
    of_rows = [over_seeds(point, quantity, arm) for _, _, point, arm in rows]
    known = [found for found in of_rows if found is not None and len(found[0])]
    if not known:
        return None
    steps = np.unique(np.concatenate([found[0] for found in known]))
    steps = steps[spread(steps, MOST_STEPS)]
    z = np.full((len(rows), len(steps)), np.nan)
    for row, found in zip(z, of_rows, strict=True):
        if found is not None:
            there = np.isin(steps, found[0])
            row[there] = found[1][np.searchsorted(found[0], steps[there])]
    names = [name for _, name, _, _ in rows]
    return {
        "type": "heatmap",
        "x": [f"{step}" for step in steps],
        "y": [escaped(_once(names, i)) for i in range(len(names))],
        "z": [numbers(row, 4) for row in z],
        "colorscale": "Cividis",
        "colorbar": {"orientation": "h", "y": 1.0, "yanchor": "bottom", "thickness": 10, "len": 1},
        "meta": {"arm": family, "choice": f"{family}: {words}"},
        "hovertemplate": "C = %{y}<br>step %{x}<br>CKA %{z}<extra></extra>",
    }


def _once(names: Sequence[str], at: int) -> str:
    """A name that no other row has."""
    return names[at] if names.count(names[at]) == 1 else f"{names[at]} #{names[: at + 1].count(names[at])}"


def _ticks(columns: Sequence[str]) -> set[int]:
    """The columns nearest to 0, 1, 3, 10, 30 …, and the last."""
    steps = np.array(list(map(int, columns)))
    wanted = [0, *(factor * 10**power for power in range(12) for factor in (1, 3))]
    near = (int(steps[np.abs(steps - step).argmin()]) for step in wanted if step <= steps[-1])
    return {*near, int(steps[-1])}
