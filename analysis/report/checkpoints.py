"""The sections of a report of imported checkpoints: what is known, which records lack, and what was found."""

from collections.abc import Sequence
from typing import Any, Final

from analysis.output.facts import view_flags
from analysis.report import picture_chart, sections
from analysis.report.charts import Chart
from analysis.report.content import Content
from analysis.report.gather import OF_RECORDS
from analysis.report.markup import facts, items, paragraph, text
from analysis.report.markup import table as html_table
from coupled.config.toml import to_toml
from coupled.reading.imported import Imported, imported
from coupled.terminal.shell import shell

_FILES: Final = ("arm", "epoch", "step", "name", "size", "sha256")


def bodies(content: Content, drawn: Sequence[Chart | None]) -> dict[str, str] | None:
    """The HTML of every section by its name; None where the run was trained, and the sections are others."""
    origin = imported(content.run.facts)
    if origin is None:
        return None
    missing = {name: "".join(paragraph(line, "absent") for line in content.missing[name]) for name in OF_RECORDS}
    return {
        "shared": _shared(content, origin),
        **missing,
        "response": "",
        "evaluated": sections.evaluated(content, drawn) + items(_flags(content)),
        "usefulness": sections.usefulness(content, drawn),
        "pictures": picture_chart.section(content, drawn),
        "reproduce": _reproduce(content, origin),
        "notes": sections.notes(content),
    }


def _flags(content: Content) -> list[str]:
    """What a reader must know of the tables that augmented views are in."""
    of_views = "whole_losses" in content.evaluated or "whole_geometry" in content.evaluated
    return [f"Losses, and augmentation_collapse: {flag}." for flag in view_flags(content.run)] if of_views else []


def _shared(content: Content, origin: Imported) -> str:
    """What is known of all arms, and the table of what is known of each."""
    config = content.run.config
    pairs: list[tuple[str, Any]] = [
        ("data", f"{config.data.name}, {config.views.size} px"),
        ("normalised by", f"mean {_numbers(origin.mean)}, std {_numbers(origin.std)}"),
        ("encoder", f"{config.model.encoder}, projector to d = {config.model.projection_dim}"),
        ("steps", origin.unit if origin.batch is None else f"of {origin.batch} samples × 2 views"),
        ("epochs", ", ".join(map(str, _epochs(origin)))),
        ("not known", ", ".join(origin.placeholders)),
    ]
    lead = (
        "The checkpoints come from elsewhere. That the arms differ in nothing but this table cannot be told: no file "
        "holds what they were trained with."
    )
    return paragraph(lead, "lead") + sections.arms(content) + facts(pairs)


def _reproduce(content: Content, origin: Imported) -> str:
    """Commands, digests of the files, config."""
    run = content.run
    arms = " ".join(f"--arm {shell(f'{arm}=DIR', 'utf-8')}" for arm in run.arms)
    words = [f"--data-set {shell(run.config.data.name, 'utf-8')}"]
    words += [f"--labelling {shell(run.config.data.labelling, 'utf-8')}"] if run.config.data.labelling else []
    words += [f"--batch {origin.batch}"] if origin.batch is not None else []
    words += [f"--code {shell(file, 'utf-8')}" for file in run.config.code.files]
    words += [f"--heads {run.config.model.heads}"] if run.config.model.encoder == "vit" else []
    words += [f"--epochs {' '.join(map(str, _epochs(origin)))} --size {run.config.views.size}"]
    words += [f"--mean {_numbers(origin.mean)} --std {_numbers(origin.std)} --output {shell(run.path, 'utf-8')}"]
    commands = f"coupled-analyze import {arms} {' '.join(words)}\ncoupled-analyze report {shell(run.path, 'utf-8')}"
    rows = [[getattr(source, name) for name in _FILES] for source in origin.sources]
    pairs = [("config digest", run.facts["config_digest"]), ("fingerprint", run.facts["fingerprint"])]
    lead = "Import the files with these digests, DIR being an arm's folder. What they were trained with is not known."
    return (
        paragraph(lead, "lead")
        + f"<pre><code>{text(commands)}</code></pre>"
        + facts(pairs)
        + f"<details><summary>Files</summary>{html_table(_FILES, rows)}</details>"
        + "<details><summary>Config (TOML), with nobody's values for what is not known</summary>"
        + f'<pre class="config"><code>{text(to_toml(run.config))}</code></pre></details>'
    )


def _numbers(values: Sequence[float]) -> str:
    return " ".join(map(str, values))


def _epochs(origin: Imported) -> list[int]:
    return list(dict.fromkeys(source.epoch for source in origin.sources))
