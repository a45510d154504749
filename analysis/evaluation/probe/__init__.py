"""How useful the representations of a run's arms are: accuracies of classifiers on their frozen features, at any number
of labels.

Shots are drawn by address, the same for every arm, step and run: differences between arms are paired.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from itertools import count
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from analysis.evaluation.features import Evaluation, Place
from analysis.evaluation.kept import Kept
from analysis.evaluation.probe.curves import AccuracyCurve, Subject, accuracies
from analysis.evaluation.probe.settings import GROUPS, Settings, settings
from analysis.evaluation.probe.trials import FORMAT, Probed, of_all, of_few
from analysis.evaluation.samples import SPLITS
from analysis.extra import alone, extra
from analysis.runs.parallel import side_by_side
from coupled.arms.network import meta_network
from coupled.data.splits import SplitName, content_digest
from coupled.errors import UserError, unknown

_TASKS_BYTES: Final = 3 << 29  # that places side by side may take
_Key = tuple[str, int, str, str]  # arm, step, feature, labelling


def probe(
    evaluation: Evaluation,
    *,
    shots: Sequence[int | None] | None = None,
    draws: int | None = None,
    protocol: str = "default",
    groups: Sequence[str] = GROUPS,
    features: Sequence[str] | None = None,
    labelling: str | None = None,
) -> list[AccuracyCurve]:
    """Accuracies on train and test of every arm at each step that is evaluated, and their differences to the
    reference's, under every labelling of the run: C-way and two-way.

    shots: samples of train a class that a classifier is fitted to; None is all of them. Default: 1 5 10 20 50 100 200
    500 and all. draws: of shots (default 10). groups: "centre" (nearest class centre), "linear" (the linear probe at
    its optimum, docs/theory.md (87)), "knn" (5, 10 and 20 nearest neighbours by cosine, (88)). protocol "p1", "p2": the
    linear probe of the first or second paper's code (89), and their feature and shots where none are given. labelling:
    one of the run's (default: all).

    Raises UserError for a data set without labels or with one class, for what cannot be, where scikit-learn is not
    installed, and what `Evaluation` raises.
    """
    chosen = settings(shots=shots, draws=draws, protocol=protocol, groups=groups, features=features)
    run, labels = evaluation.run, {split: evaluation.sample(split).labels for split in SPLITS}
    if not labels["train"]:
        raise UserError(f"the data set of {run.path} has no labels", "a probe is fitted to labelled samples")
    if labelling is not None and labelling not in labels["train"]:
        raise unknown("labelling", labelling, labels["train"])
    chosen_labellings = [labelling] if labelling is not None else list(labels["train"])
    for name in chosen_labellings:
        own, of_test = labels["train"][name], labels["test"][name]
        if len(own.unique()) < 2:
            raise UserError(f"{name}: all train samples are of one class", "a probe tells classes apart")
        if not torch.isin(of_test, own).any():
            raise UserError(f"{name}: no test sample is of a class of train", "take more with --samples, or --all")
    if chosen.groups != ("centre",):  # the nearest centre alone needs no library
        extra("sklearn.exceptions", "scikit-learn", "probe")  # missed before the first feature is made
    evaluation.prepare(kinds=("plain",))
    kept, done = Kept(evaluation.folder), count(1)
    places = [
        (arm, step, feature) for step in evaluation.steps for arm in evaluation.arms for feature in chosen.features
    ]

    def work(place: tuple[str, int, str]) -> Iterator[tuple[_Key, dict[str, NDArray]]]:
        arm, step, feature = place
        f: dict[SplitName, Tensor] = {split: evaluation.features(Place(arm, step, split), feature) for split in SPLITS}
        for name in chosen_labellings:
            of_labelling: dict[SplitName, Tensor] = {split: labels[split][name] for split in SPLITS}
            yield (arm, step, feature, name), _columns(kept, f, of_labelling, chosen)
        evaluation.progress(f"probes of {run.name}", next(done), len(places))

    with nullcontext() if chosen.groups == ("centre",) else alone("probe"):
        columns = dict(side_by_side(places, work, most=max(1, _TASKS_BYTES // _task_bytes(evaluation))))
    return [
        curve
        for name in chosen_labellings
        for feature in chosen.features
        for arm in evaluation.arms
        for curve in accuracies(_subject(evaluation, arm, feature, name, columns), chosen)
    ]


def _subject(
    evaluation: Evaluation, arm: str, feature: str, labelling: str, columns: Mapping[_Key, Mapping[str, NDArray]]
) -> Subject:
    run, network = evaluation.run, meta_network(evaluation.run.config)
    samples = {split: evaluation.sample(split) for split in SPLITS}

    def over_steps(of: str) -> dict[str, NDArray]:
        by_step = [columns[of, step, feature, labelling] for step in evaluation.steps]
        return {name: np.stack([of_step[name] for of_step in by_step]) for name in by_step[0]}

    reference = run.arms[arm].reference
    if reference not in evaluation.arms:
        reference = None
    return Subject(
        arm=arm,
        reference=reference,
        steps=np.array(evaluation.steps, np.int64),
        feature=feature,
        d=network.feature_dim if feature == "h" else run.config.model.projection_dim,
        labelling=labelling,
        labels={split: samples[split].labels[labelling] for split in SPLITS},
        flags={split: samples[split].flags for split in SPLITS},
        columns=over_steps(arm),
        of_reference=None if reference is None else over_steps(reference),
    )


def _task_bytes(evaluation: Evaluation) -> int:
    """What one place takes at most: features in float64 a few times, scores of classes, guesses of all draws."""
    classes = max(len(labels.unique()) for labels in evaluation.sample("train").labels.values())
    n, width = sum(len(evaluation.sample(split)) for split in SPLITS), meta_network(evaluation.run.config).feature_dim
    return n * (4 * 8 * width + 4 * 8 * classes + 4000)


def _columns(
    kept: Kept, f: Mapping[SplitName, Tensor], labels: Mapping[SplitName, Tensor], chosen: Settings
) -> dict[str, NDArray]:
    """The columns of all groups for one place's features: of the fits to all samples and of those to shots."""
    of_all_samples, columns = None in chosen.shots, dict[str, NDArray]()
    tensors = {f"f.{split}": f[split] for split in SPLITS} | {f"labels.{split}": labels[split] for split in SPLITS}
    facts = {"probe": FORMAT, "features": content_digest(tensors), "draws": chosen.draws}
    probed: list[Probed] = []

    def prepared() -> Probed:
        if not probed:
            probed.append(Probed(f["train"], labels["train"], f["test"], labels["test"]))
        return probed[0]

    for group in chosen.groups:
        own = facts | {"group": group, "protocol": chosen.protocol if group == "linear" else ""}
        if of_all_samples:
            size = 8 * (len(labels["train"]) + len(labels["test"]))
            made = kept.of("probe", own | {"shots": "all"}, 1, size, lambda g=group: of_all(prepared(), g, chosen))
            columns |= {f"all.{name}": values[0] for name, values in made.items()}
        if chosen.few:
            size = 256 * len(chosen.few) * chosen.draws
            of_group = own | {"shots": list(chosen.few)}
            made = kept.of("probe", of_group, 1, size, lambda g=group: of_few(prepared(), g, chosen))
            columns |= {f"few.{name}": values[0] for name, values in made.items()}
    return columns
