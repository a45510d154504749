"""The labels that a placebo's loss saw in the recorded batches, made again from their addresses."""

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from analysis.runs.run import Run
from coupled.config.traits import Permuted
from coupled.errors import UserError
from coupled.inputs.dataset import load_split
from coupled.inputs.placebo import overlap_by_chance, permuted
from coupled.reading.here import config_here
from coupled.reading.log import last_data_path
from coupled.reading.records import Block
from coupled.recording.layout import SHARED, owner_of_inputs


def of_batches(run: Run, key: Permuted, arm: str) -> Iterator[Block]:
    """(steps (k,), permuted labels (k, B)) of the batches that an arm sees, from the stream similarity, shard by shard.

    Those of a relabelled data set need the data set: UserError, before the first block, where it is not here.
    """
    whole = of_split(run, key.labelling) if key.across == "run" else None
    return _blocks(run, key, owner_of_inputs(run.config, arm), whole)


def of_split(run: Run, labelling: str) -> Tensor:
    """The true labels (N,) of the training set, which no record has. UserError where the data set is not here."""
    return run.remembered(("labels of the training set", labelling), lambda: _loaded(run, labelling))


def _loaded(run: Run, labelling: str) -> Tensor:
    labels = load_split(config_here(run.path, run.facts, last_data_path(run.path)), "train").labels(labelling)
    recorded = (run.blocks("similarity", SHARED, f"batch.{name}") for name in ("ids", f"labels.{labelling}"))
    for (_, ids), (_, of_batch) in zip(*recorded, strict=False):
        if ids.max() >= len(labels) or not np.array_equal(labels.numpy()[ids], of_batch):
            raise UserError(f"the data set of {run.path}", "what lies where it lay has other labels", "put it back")
    return labels


def _blocks(run: Run, key: Permuted, owner: str, whole: Tensor | None) -> Iterator[Block]:
    column, seed = "batch.ids" if whole is not None else f"batch.labels.{key.labelling}", run.config.seed
    for steps, rows in run.blocks("similarity", owner, column):
        own = torch.tensor(rows)
        # The labels of a batch are a split of their own, whose samples have the ids 0 … B − 1.
        places = torch.arange(own.shape[1])
        labels = [
            permuted(key, row, seed=seed, step=step, ids=places)
            if whole is None
            else permuted(key, whole, seed=seed, step=step, ids=row)
            for step, row in zip(steps.tolist(), own, strict=True)
        ]
        yield steps, torch.stack(labels).numpy()


def right_by_chance(run: Run, key: Permuted, arm: str) -> float:
    """The expected share of the pairs of one permuted class that are of one true class too: across the run in the whole
    training set, else in the mean over the recorded batches that have such pairs. docs/theory.md (100).
    """
    if key.across == "run":
        return overlap_by_chance(torch.bincount(of_split(run, key.labelling)))
    shares: list[NDArray[np.float64]] = []
    for _, rows in run.blocks("similarity", owner_of_inputs(run.config, arm), f"batch.labels.{key.labelling}"):
        shares.append(np.array([overlap_by_chance(torch.bincount(row)) for row in torch.tensor(rows)]))
    every = np.concatenate(shares)
    return float(every[~np.isnan(every)].mean()) if (~np.isnan(every)).any() else float("nan")
