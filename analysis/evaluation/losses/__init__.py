"""Contrastive losses, loss gaps and their bounds of a run's arms at kept checkpoints, in two scopes that never mix.

Scope *split* takes all evaluated samples at once, scope *batch* mini-batches of them: docs/theory.md (83), (84).
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

import torch
from torch import Tensor

from analysis.arrays.split_losses import DCL, NSCL, NSCL_POSITIVE, NT_XENT, Gap, Losses, batch_losses, split_losses
from analysis.evaluation.features import Evaluation, Place
from analysis.evaluation.losses.row_sums import RowSums
from analysis.evaluation.losses.settings import Second, Settings, name_of
from analysis.evaluation.samples import SPLITS, batches
from analysis.runs.parallel import side_by_side
from analysis.runs.run import Run
from coupled.data.splits import SplitName
from coupled.objectives.registry import Objective, registered

Scope = Literal["split", "batch"]
SCOPES: Final[tuple[Scope, ...]] = ("split", "batch")
NO_BOUND: Final = "the data-set bound is NOT a bound in scope batch"
NO_LABELS: Final = "no labels: there are no classes to compare"
_NO_GAP: Final = Gap(*[math.nan] * 5, data_set=None, slack=math.nan, residual=math.nan, skipped=0)
_TASKS_BYTES: Final = 1 << 30  # that arms side by side may take


@dataclass(frozen=True)
class Row:
    """The losses of one arm at one checkpoint: a row of losses.csv.

    batch: B in scope batch, None in scope split. labelling: None where the data set has no labels. n: samples that
    count; classes and largest_class: of all samples taken, 0 without labels. share: of the reduction of the NSCL loss
    since step 0 that the arm trained by NSCL has, docs/theory.md (86), without and with the positive in the
    denominator; NaN where there is no such arm with the same τ, or no step 0. flags: what a reader must know.
    """

    step: int
    epoch: float
    arm: str
    split: SplitName
    scope: Scope
    batch: int | None
    labelling: str | None
    temperature: float
    second_view: Second
    n: int
    classes: int
    largest_class: int
    of: Losses
    share: float = math.nan
    share_with_positive: float = math.nan
    flags: tuple[str, ...] = ()


def losses(
    evaluation: Evaluation,
    *,
    temperature: float | None = None,
    batch: int | None = None,
    second: Second = "augmented",
) -> list[Row]:
    """Every arm under every labelling at every evaluated step, on train and test, in both scopes.

    temperature: one τ for all arms (default: each arm's own). batch: B of scope batch (default: the run's). second
    "plain": view 2 is the image un-augmented, the first paper's protocol. Raises UserError for a B that the samples do
    not fill, features that are not finite, and what `Evaluation` raises.
    """
    settings = Settings(evaluation, temperature, batch, second)
    run = evaluation.run
    for arm in evaluation.arms:
        settings.temperature_of(arm)
    positions = {split: batches(split, len(evaluation.sample(split)), settings.batch_size) for split in SPLITS}
    evaluation.prepare(kinds=("views", "plain") if second == "plain" else ("views",))
    places = [Place(arm, step, split) for arm in evaluation.arms for split in SPLITS for step in evaluation.steps]
    sums, done = RowSums(evaluation.folder), list[Place]()

    def work(place: Place) -> Iterator[Row]:
        yield from _rows(settings, place, positions[place.split], sums)
        done.append(place)
        evaluation.progress(f"losses of {run.name}", len(done), len(places))

    rows = side_by_side(places, work, most=max(1, _TASKS_BYTES // _task_bytes(evaluation)))
    arms, labellings = list(evaluation.arms), [None, *evaluation.sample("train").labels]

    def order(row: Row) -> tuple[int, ...]:
        of_scope = SPLITS.index(row.split), SCOPES.index(row.scope)
        return arms.index(row.arm), labellings.index(row.labelling), *of_scope

    return _with_shares(run, sorted(rows, key=order))


def _task_bytes(evaluation: Evaluation) -> int:
    """What the rows of one place take: some copies of z in its own precision, and numbers of every anchor."""
    anchors = 2 * max(len(evaluation.sample(split)) for split in SPLITS)
    return anchors * (6 * evaluation.run.config.model.projection_dim * 8 + 50 * 8)


def _rows(settings: Settings, place: Place, positions: Tensor, sums: RowSums) -> Iterator[Row]:
    """The rows of a place: every labelling in both scopes."""
    evaluation, temperature = settings.evaluation, settings.temperature_of(place.arm)
    sample, z = evaluation.sample(place.split), evaluation.views(place, second=settings.second)
    for labelling, labels in (sample.labels or {None: torch.arange(len(sample))}).items():
        objectives = settings.objectives if labelling is not None else (DCL, NT_XENT)
        sizes = labels.unique(return_counts=True)[1] if labelling is not None else torch.zeros(0)
        for scope in SCOPES:
            if scope == "split":
                of, batch = split_losses(z, labels, temperature, objectives, reduce=sums.of), None
            else:
                of, batch = batch_losses(z, labels, temperature, positions, objectives), settings.batch_size
            if labelling is None:
                of = replace(of, gap=_NO_GAP, gap_with_positive=_NO_GAP)
            yield Row(
                step=place.step, epoch=settings.epoch(place.step), arm=place.arm, split=place.split, scope=scope,
                batch=batch, labelling=labelling, temperature=temperature, second_view=settings.second,
                n=of.anchors // 2, classes=len(sizes), largest_class=int(sizes.max()) if len(sizes) else 0, of=of,
                flags=(*sample.flags, *evaluation.view_flags, *_flags(of, len(sample), len(sizes), batch)),
            )  # fmt: skip


def _flags(of: Losses, n: int, classes: int, batch: int | None) -> Iterator[str]:
    if batch is not None:
        yield NO_BOUND
        if n % batch:
            yield f"{n % batch} of {n} samples are left over: they fill no batch"
    else:
        names = [name_of(objective) for objective in of.losses if registered(objective.name) is not None]
        yield from (f"{name} is a function of a whole similarity matrix: in scope batch alone" for name in names)
    if not classes:
        yield NO_LABELS
    elif classes == 1:
        yield "one class: no anchor has a sample of another, and there is no gap"
    elif of.gap.skipped:
        yield f"{of.gap.skipped} of {of.anchors} anchors have no sample of another class: in no gap, mass or bound"


def trained_by_nscl(rows: Sequence[Row], run: Run, labelling: str | None, temperature: float) -> str | None:
    """The first arm of the run that minimises NSCL on a labelling and has rows at this τ; None without one."""
    at_temperature = {row.arm for row in rows if row.temperature == temperature}
    for arm, spec in run.arms.items():
        if (
            spec.kind == "objective"
            and (spec.objective, spec.labelling) == ("nscl", labelling)
            and arm in at_temperature
        ):
            return arm
    return None


def _with_shares(run: Run, rows: Sequence[Row]) -> list[Row]:
    """The rows with `share` and `share_with_positive`."""
    at = {(row.arm, row.step, row.labelling, row.split, row.scope): row for row in rows}
    kinds = dict.fromkeys((row.labelling, row.temperature) for row in rows)
    beside = {kind: trained_by_nscl(rows, run, *kind) for kind in kinds}

    def share(row: Row, form: Objective) -> float:
        return _share(at, row, beside[row.labelling, row.temperature], form)

    return [replace(row, share=share(row, NSCL), share_with_positive=share(row, NSCL_POSITIVE)) for row in rows]


def _share(at: Mapping[Any, Row], row: Row, other: str | None, form: Objective) -> float:
    """docs/theory.md (86), beside the arm `other`, which NSCL trained; NaN where it is not known."""
    places = [(arm, step, row.labelling, row.split, row.scope) for arm in (row.arm, other) for step in (0, row.step)]
    if row.labelling is None or not all(place in at for place in places):
        return math.nan
    start, now, other_start, other_now = (at[place].of.losses[form] for place in places)
    return (start - now) / (other_start - other_now) if other_start > other_now else math.nan
