"""The sections of a report in their order: each a function from the content to HTML."""

import shlex
from collections.abc import Sequence
from typing import Any

from analysis import table
from analysis.curve import Curve, pick
from analysis.looks import looks, nudge_of
from analysis.report import charts, words
from analysis.report.charts import Chart
from analysis.report.content import Content
from analysis.report.markup import facts, items, paragraph, swatch, text
from analysis.report.markup import table as html_table
from coupled.config import Arm
from coupled.plan import to_toml


def shared(content: Content) -> str:
    """What the arms had in common, and what each differed in."""
    run, config = content.run, content.run.config
    machine, versions = run.facts.get("machine", {}), run.facts.get("versions", {})
    optimiser = config.optimiser
    pairs = [
        ("data", f"{config.data.name}, {config.views.size} px, views {config.views.recipe}"),
        ("batches", f"{config.batches.size} samples × 2 views, {config.batches.stream} stream"),
        ("seed", ", ".join(str(one.config.seed) for one in content.runs)),
        *(_initial(content)),
        ("encoder", f"{config.model.encoder}, projector to d = {config.model.projection_dim}"),
        ("optimiser", f"{optimiser.name}, learning rate {optimiser.learning_rate:g} ({optimiser.schedule})"),
        ("steps", f"{config.train.steps:,}"),
        ("arithmetic", f"{config.train.precision}, {config.train.threads} threads, {machine.get('device', '?')}"),
        ("views forward", config.train.views_forward),
        ("machine", " ".join(str(part) for part in machine.values())),
        ("equal bytes", run.facts.get("determinism", "nothing is promised")),
        ("torch", versions.get("torch", "?")),
    ]
    lead = "The arms differ in nothing but this table; all else, listed below it, is the same for all of them."
    return paragraph(lead, "lead") + _arms(content) + facts(pairs)


def headline(content: Content) -> str:
    """The last step as cards, and the table of steps."""
    rows = table.rows(content.run, content.curves)
    lead = (
        "Each arm against its anchor. Alignment is of the panel's h (test images that no arm trained on), 1 is equality "
        "up to rotation and scale; the weight gap is 0 for equal weights and 2 for unrelated ones at most."
    )
    columns = ["arm", "anchor", "step", "CKA", "RSA", "weight gap", "own loss"]
    columns += ["excess"] if any(curve.measure == "excess" for curve in content.divergence) else []
    body = [_row(content, row)[: len(columns)] for row in rows]
    for before, cells in zip(rows, body[1:], strict=False):
        # An arm's name once: the eye finds where the next begins.
        cells[:2] = ["", ""] if before.arm == cells[0] else cells[:2]
    last = {row.arm: row for row in rows}
    return (
        paragraph(lead, "lead")
        + f'<div class="cards">{"".join(_card(content, row) for row in last.values())}</div>'
        + html_table(columns, body, caption="At single steps", words=2)
        + paragraph(_beneath(content), "small")
    )


def curves(content: Content, made: Sequence[Chart | None]) -> str:
    """Alignment, weights and losses."""
    lead = "Point at a curve for its values; drag over a stretch to enlarge it, double-click to go back."
    names = ("cka", "rsa", "other", "weight_gap", "distance", "loss", "gap")
    return paragraph(lead, "lead") + '<div class="grid">' + _figures(content, made, names) + "</div>"


def bounds(content: Content, made: Sequence[Chart | None]) -> str:
    """Bounds beside what was measured, their assumptions in words."""
    lead = (
        "A bound is worth what its assumptions are: what this run does not meet stands beside it. From its vacuity step "
        "on a bound says no more than the trivial limit does."
    )
    beside = "".join(_bounded(group) for group in words.bounded(content))
    alarms = "".join(paragraph(f"ALARM: {broken}.", "banner") for broken in content.violations)
    return paragraph(lead, "lead") + alarms + _figures(content, made, ("bounds",)) + beside + _tables(content, "bounds")


def divergence(content: Content, made: Sequence[Chart | None]) -> str:
    """How the weights part, and how fast."""
    lead = (
        "How far the weights of each arm are from its anchor's. A nudged twin is the floor: what chaos alone makes of a "
        "difference in the last bit. An independent twin is the ceiling."
    )
    body = paragraph(lead, "lead") + _figures(content, made, ("divergence",))
    return body + _tables(content, "divergence")


def layers(content: Content, made: Sequence[Chart | None]) -> str:
    """The map of layers over steps."""
    lead = "Dark: the layer is where the anchor's is. Relative distance: ‖w − w′‖ over the mean of ‖w‖ and ‖w′‖."
    return paragraph(lead, "lead") + _figures(content, made, ("layers",))


def reproduce(content: Content) -> str:
    """Commands, digests, config, versions."""
    run = content.run
    seeds = [one.config.seed for one in content.runs]
    paths = " ".join(shlex.quote(str(one.path)) for one in content.runs)
    train = ["coupled-run train config.toml"] + [f"coupled-run train config.toml --set seed={s}" for s in seeds[1:]]
    commands = "\n".join([*train, f"coupled-analyze report {paths}"])
    pairs: list[tuple[str, Any]] = [("config digest", one.facts["config_digest"]) for one in content.runs]
    pairs += [("fingerprint", one.facts["fingerprint"]) for one in content.runs]
    pairs += [(name, version) for name, version in sorted(run.facts.get("versions", {}).items())]
    lead = (
        "Save the config below as config.toml and train it: on the same machine type, with the same versions, the "
        "manifest has the same bytes. The digests say whether it is the same config."
    )
    where = f"Numbers and figures: the CSV, PNG and SVG files in {run.path}/analysis/ beside this page."
    return (
        paragraph(lead, "lead")
        + f"<pre><code>{text(commands)}</code></pre>"
        + paragraph(where)
        + facts(pairs)
        + "<details open><summary>Resolved config (TOML)</summary>"
        + f'<pre class="config"><code>{text(to_toml(run.config))}</code></pre></details>'
    )


def notes(content: Content) -> str:
    """Everything that a reader must know and no figure shows."""
    return paragraph("All that is undefined, missing, flagged or left out.", "lead") + items(words.notes(content))


def _arms(content: Content) -> str:
    run, style_of = content.run, looks(content.run.arms)
    rows = []
    for name, spec in run.arms.items():
        kind = _kind(spec)
        tau = "–" if spec.objective == "ce" else f"{spec.temperature:g}"
        lam = "" if spec.lam is None else f", λ = {spec.lam:g}"
        positive = ", positive in the denominator" if spec.positive_in_denominator else ""
        cells = (kind, f"{spec.objective}{lam}{positive}", spec.labelling or "–", tau, spec.anchor or "–")
        head = f'<th scope="row">{swatch(style_of[name])} {text(name)}</th>'
        rows.append(f"<tr>{head}{''.join(f'<td>{text(cell)}</td>' for cell in cells)}</tr>")
    columns = ("arm", "kind", "objective", "labels", "τ", "anchor")
    heads = "".join(f'<th scope="col">{name}</th>' for name in columns)
    return (
        '<div class="scroll" tabindex="0" role="region" aria-label="Arms"><table><caption>What differs</caption>'
        f"<thead><tr>{heads}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )


def _kind(spec: Arm) -> str:
    match spec.kind:
        case "twin":
            return f"exact copy of {spec.of}"
        case "nudged":
            return f"{nudge_of(spec)} of {spec.of}"
        case "independent":
            return f"{spec.of} from other initial weights"
    return "objective"


def _initial(content: Content) -> list[tuple[str, object]]:
    found = []
    for run in content.runs:
        digest = str(run.facts.get("certificate", {}).get("initial_weights", "not recorded"))
        of = f" (seed {run.config.seed})" if len(content.runs) > 1 else ""
        found.append((f"initial weights{of}", digest))
    return found


def _row(content: Content, row: table.Row) -> list[str]:
    cells = [
        _with_interval(pick(content.curves, measure, row.arm, source=source, feature=feature), row.step)
        for measure, source, feature in _CELLS
    ]
    return [row.arm, row.anchor or "–", f"{row.step:,}", *cells, words.number(_excess(content, row.arm, row.step), 3)]


_CELLS = (("cka", "panel", "h"), ("rsa", "panel", "h"), ("weight_gap", None, None), ("loss", None, None))


def _with_interval(curve: Curve | None, step: int) -> str:
    value = None if curve is None else curve.at(step)
    said = words.number(value)
    if curve is None or value is None or curve.interval is None:
        return said
    low, high = (float(side[curve.steps == step][0]) for side in (curve.interval.low, curve.interval.high))
    return said if low != low else f"{said} ({words.number(low)} – {words.number(high)})"


def _excess(content: Content, arm: str, step: int) -> float | None:
    curve = pick(content.divergence, "excess", arm)
    return None if curve is None else curve.at(step)


def _card(content: Content, row: table.Row) -> str:
    style_of = looks(content.run.arms)
    lines = []
    for (measure, source, feature), name in zip(_CELLS, ("CKA", "RSA", "weight gap", "own loss"), strict=True):
        curve = pick(content.curves, measure, row.arm, source=source, feature=feature)
        # The last state has no batch: the loss is that of the last batch.
        step = int(curve.steps[-1]) if curve is not None and measure == "loss" else row.step
        value = words.number(None if curve is None else curve.at(step))
        spread = _with_interval(curve, step)[len(value) :].strip()
        lines.append(f"<div><dt>{name}</dt><dd><b>{text(value)}</b> <span>{text(spread)}</span></dd></div>")
    excess = _excess(content, row.arm, row.step)
    if excess is not None:
        lines.append(f"<div><dt>excess</dt><dd><b>{text(words.number(excess, 3))}</b></dd></div>")
    head = f"{swatch(style_of[row.arm])} {text(row.arm)}"
    against = f" against {row.anchor}" if row.anchor else ""
    return (
        f'<section class="card"><h3>{head}</h3><p>{text(f"step {row.step:,}{against}")}</p>'
        f"<dl>{''.join(lines)}</dl></section>"
    )


def _beneath(content: Content) -> str:
    said = [table.notes(content.run, content.curves)]
    panel = pick(content.curves, "cka", list(content.run.arms)[-1], source="panel", feature="h")
    if panel is not None and panel.interval is not None:
        said.append(f"In brackets: {panel.interval.what}.")
    if panel is not None and panel.null is not None:
        last = len(panel.steps) - 1
        low, high = words.number(float(panel.null.low[last])), words.number(float(panel.null.high[last]))
        said.append(f"CKA of {panel.arm} with nothing in common ({panel.null.what}): {low} to {high} at the last step.")
    return " ".join(said)


def _bounded(group: words.Bounded) -> str:
    """The words beside a bound's chart: shown with the menu's choice, and all of them without scripts."""
    rows = []
    for bound in group.bounds:
        step = int(bound.steps[-1]) if len(bound.steps) else 0
        measured = group.measured.at(step) if group.measured else None
        values = (words.number(bound.at(step)), words.number(measured), f"{step:,}")
        rows.append((bound.bound, bound.kind, *values, words.vacuity(bound, group.bounds)))
    flags = list(group.measured.flags) if group.measured else []
    flags += dict.fromkeys(f"{bound.bound}: {flag}" for bound in group.bounds for flag in bound.flags)
    columns = ("bound", "kind", "value", "measured", "at step", "vacuous from")
    return (
        f'<div class="beside" data-chart="bounds" data-choice="{text(group.name)}"><h3>{text(group.name)}</h3>'
        + html_table(columns, rows, words=2)
        + (items(flags) or paragraph("No assumption is flagged."))
        + "</div>"
    )


def _tables(content: Content, section: str) -> str:
    return "".join(
        html_table(columns, rows, caption=caption, words=2) for caption, columns, rows in words.tables(content, section)
    )


def _figures(content: Content, made: Sequence[Chart | None], names: Sequence[str]) -> str:
    """The charts of these ids, and for what is not there the reason."""
    there = {chart.id: chart for chart in made if chart is not None}
    return "".join(
        figure(content, there[name]) if name in there else paragraph(absent(content, name), "absent") for name in names
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
    streams = stream.split("/")
    if any(run.awaits(one, *run.arms) for one in streams if one not in ("bounds", "divergence")):
        return f"{title}: nothing committed yet."
    return f"{title}: not recorded (streams: {', '.join(streams)})."


_ABSENT = {
    "cka": ("CKA to the anchor", "panel/similarity"),
    "rsa": ("RSA to the anchor", "panel/similarity"),
    "other": ("Other alignment measures", "panel/similarity"),
    "weight_gap": ("Weight gap", "scalars"),
    "distance": ("Distance of all weights", "scalars"),
    "loss": ("Own loss", "scalars"),
    "gap": ("Loss gap", "scalars"),
    "bounds": ("Bounds", "bounds"),
    "divergence": ("Divergence", "scalars"),
    "layers": ("Per-layer map", "layers"),
}


def figure(content: Content, chart: Chart) -> str:
    """A chart's place on the page: title, lead, its own controls, the plot, a legend, remarks."""
    style_of = looks(content.run.arms)
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
    legend = "".join(f"<span>{swatch(style_of[arm])} {text(style_of[arm].label)}</span>" for arm in chart.arms)
    legend = legend if chart.id not in ("bounds", "layers") else ""
    height = int(chart.layout["height"])
    return (
        f'<figure id="figure-{chart.id}"><figcaption><h3>{text(chart.title)}</h3>{paragraph(chart.lead)}</figcaption>'
        f'<div class="controls">{"".join(controls)}</div>'
        f'<div class="plot" id="plot-{chart.id}" role="img" aria-label="{text(chart.alt)}" '
        f'style="min-height:{height}px"></div>'
        f'<p class="legend">{legend}</p>{items(chart.notes)}</figure>'
    )


def all_charts(content: Content) -> list[Chart | None]:
    """Every chart of the page, None where its records are not there."""
    return [
        charts.alignment(content, "cka"),
        charts.alignment(content, "rsa"),
        charts.other_alignment(content),
        charts.weights(content, "weight_gap"),
        charts.weights(content, "distance"),
        charts.losses(content),
        charts.gaps(content),
        charts.bounds(content),
        charts.divergence(content),
        charts.layer_map(content),
    ]
