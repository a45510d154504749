"""The sections of a report in their order: each a function from the content to HTML."""

from collections.abc import Callable, Sequence
from typing import Any, Final

from analysis.output import files
from analysis.output.styles import styles
from analysis.report import (
    accuracy_chart,
    charts,
    few_shot_chart,
    figures,
    picture_chart,
    probe_charts,
    response_charts,
    wording,
)
from analysis.report.charts import Chart
from analysis.report.content import Content
from analysis.report.evaluated import TABLES
from analysis.report.markup import facts, items, paragraph, scrolling, swatch, text
from analysis.report.markup import table as html_table
from analysis.report.usefulness import READERS
from analysis.runs.controls import ANSWERS, control_of
from analysis.runs.labels import own_labelling
from analysis.runs.numbers import number
from coupled.config.formats import FORMAT
from coupled.config.toml import to_toml
from coupled.models import activation_of
from coupled.models.activation import about
from coupled.reading.imported import imported
from coupled.terminal.shell import shell

# The charts of how useful the representations are, by id.
USEFULNESS: Final[dict[str, Callable[[Content], Chart | None]]] = {
    "probe_shots": probe_charts.against_shots,
    "probe_steps": probe_charts.over_steps,
    "few_shot": few_shot_chart.chart,
    "accuracy": accuracy_chart.chart,
}


def shared(content: Content) -> str:
    """The settings that all arms shared, and a table of those in which they differed."""
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
    return paragraph(lead, "lead") + arms(content) + facts(pairs)


def curves(content: Content, drawn: Sequence[Chart | None]) -> str:
    """Alignment, weights and losses."""
    lead = "Point at a curve for its values; drag over a stretch to enlarge it, double-click to go back."
    names = ("cka", "rsa", *(["own"] if content.own else []), "other", "weight_gap", "distance", "loss", "gap")
    return paragraph(lead, "lead") + '<div class="grid">' + figures.figures(content, drawn, names) + "</div>"


def bounds(content: Content, drawn: Sequence[Chart | None]) -> str:
    """Bounds beside what was measured, their assumptions in words."""
    lead = (
        "A bound is worth as much as its assumptions are; those that this run does not meet stand beside it. From its "
        "vacuity step on, a bound says no more than the trivial limit does."
    )
    beside = "".join(_bounded(group) for group in wording.bounded(content))
    alarms = "".join(paragraph(f"ALARM: {violation}.", "banner") for violation in content.violations)
    return (
        paragraph(lead, "lead")
        + alarms
        + figures.figures(content, drawn, ("bounds",))
        + beside
        + _tables(content, "bounds")
    )


def divergence(content: Content, drawn: Sequence[Chart | None]) -> str:
    """How the weights part, and how fast."""
    lead = (
        "How far the weights of each arm are from its reference's. A nudged twin (floor) shows what a difference of "
        "the nudge's size grows to in the run's precision, with one and the same loss. A distance above it "
        "need not be the loss's: larger differences of any cause lie there. How much the loss makes takes a placebo or "
        "a kicked arm to tell. An independent twin (ceiling) shows how far apart other initial weights bring one loss."
    )
    kinds = dict.fromkeys(spec.kind for spec in content.run.arms.values())
    lead = " ".join([lead, *(ANSWERS[kind] for kind in kinds if kind in ANSWERS)])
    config = content.run.config
    activation = about(activation_of(config.model), config.train.dtype)
    lead = f"{lead} In this run {activation}."
    body = paragraph(lead, "lead") + figures.figures(content, drawn, ("divergence",))
    return body + _tables(content, "divergence")


def layers(content: Content, drawn: Sequence[Chart | None]) -> str:
    """The map of layers over steps."""
    lead = "Dark: the layer is where the reference's is. Relative distance: ‖w − w′‖ over the mean of ‖w‖ and ‖w′‖."
    return paragraph(lead, "lead") + figures.figures(content, drawn, ("layers",))


def evaluated(content: Content, drawn: Sequence[Chart | None]) -> str:
    """What other commands found of kept checkpoints on whole splits; "" where none was called."""
    there = {chart.id: chart for chart in drawn if chart is not None and chart.id in TABLES}
    reasons = "".join(paragraph(reason, "absent") for reason in content.missing.get("evaluated", []))
    if not there and not reasons:
        return ""
    lead = "Made by coupled-analyze alignment, losses and geometry, whose CSV files lie beside this page."
    return paragraph(lead, "lead") + reasons + figures.figures(content, drawn, tuple(there))


def usefulness(content: Content, drawn: Sequence[Chart | None]) -> str:
    """What was found of how useful the representations are; "" where no command was called."""
    there = {chart.id: chart for chart in drawn if chart is not None and chart.id in USEFULNESS}
    reasons = "".join(paragraph(reason, "absent") for reason in content.missing.get("usefulness", []))
    if not there and not reasons:
        return ""
    names = [name for part, (name, _) in READERS.items() if getattr(content.usefulness, part)]
    lead = f"What earlier commands found of kept checkpoints; their numbers: {', '.join(names)} beside this page."
    if len(content.runs) > 1:
        lead += f" All of it is of {content.run.name} (seed {content.run.config.seed}) alone."
    lead = paragraph(lead, "lead") if names else ""
    return lead + reasons + f'<div class="grid">{figures.figures(content, drawn, tuple(there))}</div>'


def reproduce(content: Content) -> str:
    """Commands, digests, config, versions."""
    run = content.run
    seeds = [one.config.seed for one in content.runs]
    paths = " ".join(shell(one.path, "utf-8") for one in content.runs)
    train = ["coupled-run train config.toml"] + [f"coupled-run train config.toml --set seed={s}" for s in seeds[1:]]
    named = dict.fromkeys(own.file.name for own in content.own if own.file is not None)
    code = "".join(f" --code {shell(file, 'utf-8')}" for file in named)
    commands = "\n".join([*train, f"coupled-analyze report {paths}{code}"])
    pairs: list[tuple[str, Any]] = [("config digest", one.facts["config_digest"]) for one in content.runs]
    pairs += [("fingerprint", one.facts["fingerprint"]) for one in content.runs]
    pairs += [(name, version) for name, version in sorted(run.facts.get("versions", {}).items())]
    pairs += [(f"measure {own.name}", f"{own.file.name}, SHA-256 {own.sha256}") for own in content.own if own.file]
    lead = (
        "Save the config below as config.toml and train it: on the same machine type, with the same versions, the "
        "manifest has the same bytes. The digests say whether it is the same config."
    )
    if run.facts["schema"] != FORMAT:
        lead = (
            "Save the config below as config.toml and train it: on the same machine type, with the same versions, its "
            f"records and checkpoints have the same bytes. This run is of format {run.facts['schema']}; what is "
            f"trained today is of format {FORMAT}: its manifest and its config digest are others, its fingerprint is "
            "the same."
        )
    where = f"Numbers and figures: the CSV, PNG and SVG files in {files.folder(run.path)}/."
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
    return paragraph("All that is undefined, missing, flagged or left out.", "lead") + items(wording.notes(content))


def arms(content: Content) -> str:
    """The table of arms: what each minimises, on which labels, at which temperature where that is known."""
    run, style_of = content.run, styles(content.run.arms)
    origin, rows = imported(run.facts), []
    columns = ("arm", "kind", "objective", "labels", "τ", "reference")
    no_tau = origin is not None and not origin.knows("train.temperature")
    for name, spec in run.arms.items():
        kind = f"{spec.kind}: {control_of(spec)}" if control_of(spec) else spec.kind
        tau = "–" if no_tau or spec.objective == "ce" else f"{spec.temperature:g}"
        lam = "" if spec.lam is None else f", λ = {spec.lam:g}"
        positive = ", positive in the denominator" if spec.positive_in_denominator else ""
        # CL's formulas take no labels: naming them as the others' would say that they do.
        own = own_labelling(run.arms, name)
        labels = f"{own} (loss gap alone)" if spec.objective in ("dcl", "nt_xent") and spec.kind != "anti" else own
        labels = labels if spec.labelling else "–"
        cells = (kind, f"{spec.objective}{lam}{positive}", labels, tau, spec.reference or "–")
        head = f'<th scope="row">{swatch(style_of[name])} {text(name)}</th>'
        named = zip(columns[1:], cells, strict=True)
        of_arm = "".join(f'<td data-label="{column}">{text(cell)}</td>' for column, cell in named)
        rows.append(f"<tr>{head}{of_arm}</tr>")
    heads = "".join(f'<th scope="col">{name}</th>' for name in columns)
    table_html = f"<table><thead><tr>{heads}</tr></thead><tbody>{''.join(rows)}</tbody></table>"
    return scrolling(table_html, "What differs", "What differs")


def _initial(content: Content) -> list[tuple[str, object]]:
    pairs = []
    for run in content.runs:
        digest = str(run.facts.get("certificate", {}).get("initial_weights", "not recorded"))
        of = f" (seed {run.config.seed})" if len(content.runs) > 1 else ""
        pairs.append((f"initial weights{of}", digest))
    return pairs


def _bounded(group: wording.Bounded) -> str:
    """The words beside a bound's chart: shown with the menu's choice, and all of them without scripts."""
    rows = []
    for bound in group.bounds:
        step = int(bound.steps[-1]) if len(bound.steps) else 0
        measured = group.measured.at(step) if group.measured else None
        values = (number(bound.at(step)), number(measured), f"{step:,}")
        rows.append((bound.bound, bound.kind, *values, wording.vacuity(bound, group.bounds)))
    flags = list(group.measured.flags) if group.measured else []
    flags += dict.fromkeys(f"{bound.bound}: {flag}" for bound in group.bounds for flag in bound.flags)
    columns = ("bound", "kind", "value", "measured", "at step", "vacuous from")
    legend = "".join(f"<span>{swatch(style)} {text(style.label)}</span>" for _, style in charts.bound_styles(group))
    return (
        f'<div class="beside" data-chart="bounds" data-choice="{text(group.name)}"><p class="legend">{legend}</p>'
        f"<h3>{text(group.name)}</h3>"
        + html_table(columns, rows)
        + (items(flags) or paragraph("No assumption is flagged."))
        + "</div>"
    )


def _tables(content: Content, section: str) -> str:
    return "".join(
        html_table(columns, rows, caption=caption) for caption, columns, rows in wording.tables(content, section)
    )


def all_charts(content: Content) -> list[Chart | None]:
    """Every chart of the page, None where its records are not there."""
    return [
        charts.alignment(content, "cka"),
        charts.alignment(content, "rsa"),
        charts.own_measures(content),
        charts.other_alignment(content),
        charts.weights(content, "weight_gap"),
        charts.weights(content, "distance"),
        charts.losses(content),
        charts.gaps(content),
        charts.bounds(content),
        charts.divergence(content),
        response_charts.response(content),
        response_charts.paths(content),
        charts.layer_map(content),
        *(charts.on_whole_splits(content, chart) for chart in TABLES),
        *(chart(content) for chart in USEFULNESS.values()),
        picture_chart.chart(content),
    ]
