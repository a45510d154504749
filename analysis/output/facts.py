"""The facts of a run that stand above every table and figure; of imported checkpoints, those that are known."""

from collections.abc import Sequence

from analysis.runs.run import Run
from coupled.reading.imported import imported


def view_flags(run: Run) -> tuple[str, ...]:
    """What a reader must know of numbers that augmented views are in."""
    content = imported(run.facts)
    if content is None or content.knows("views.recipe"):
        return ()
    return (f"views recipe {run.config.views.recipe} is not known to be the training's",)


def facts(run: Run, *, temperature: bool = False, seeds: Sequence[int] = ()) -> list[str]:
    """Batch size, temperatures if asked for, activation if it is not the encoder's own, precision and seed, in words.

    `seeds`: those of several runs that are shown together.
    """
    config, content = run.config, imported(run.facts)
    taus = sorted({spec.temperature for spec in run.arms.values()})
    named = {
        "batches.size": f"B = {config.batches.size}",
        "train.temperature": f"τ = {', '.join(f'{tau:g}' for tau in taus)}" if temperature else "",
        "train.precision": run.precision,
        "model.activation": config.model.activation or "",
        "seed": f"seeds {', '.join(map(str, seeds))}" if seeds else f"seed {config.seed}",
    }
    known = [text for name, text in named.items() if text and (content is None or content.knows(name))]
    if content is None:
        return known
    return [*known, "imported checkpoints", *(["steps are epochs"] if content.unit == "epochs" else [])]
