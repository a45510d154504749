"""The states of two runs at the checkpoints that both keep, and how far their embeddings are apart."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from coupled.comparison.records import Records
from coupled.config import Config
from coupled.opened import checkpoints_of, open_arm
from coupled.store import Manifest, TensorFile, read_saved

_MOST_STEPS = 12  # of the table of growth


class LayerDifference(NamedTuple):
    """A parameter, buffer or optimiser tensor that differs: max |Δ| and ‖Δ‖/‖a‖ (nan where ‖a‖ is 0)."""

    name: str
    largest: float
    relative: float


class StateDifference(NamedTuple):
    """One arm at a common checkpoint: ‖Δ‖/‖w‖ over all weights, and what differs, in the network's order."""

    step: int
    arm: str
    relative: float
    layers: tuple[LayerDifference, ...]


def states_differing(
    paths: Sequence[Path], opened: Sequence[tuple[Mapping[str, Any], Config, Manifest]]
) -> Iterator[StateDifference]:
    """Every common arm at every common checkpoint, ascending; files of equal hash are not opened."""
    kept = [checkpoints_of(path, manifest) for path, (_, _, manifest) in zip(paths, opened, strict=True)]
    arms = [arm for arm in opened[0][1].arms if arm in opened[1][1].arms]
    prints = [facts["fingerprint"] for facts, _, _ in opened]
    order = [layer["name"] for layer in opened[0][0]["layers"]]
    for step in sorted(kept[0].keys() & kept[1].keys()):
        saved = [read_saved(path, entries[step]) for path, entries in zip(paths, kept, strict=True)]
        for arm in arms:
            listed = [state.files.get(f"{arm}.safetensors") for state in saved]
            if listed[0] is not None and listed[0] == listed[1]:
                yield StateDifference(step, arm, 0.0, ())
                continue
            a, b = (open_arm(path, state, arm, mark) for path, state, mark in zip(paths, saved, prints, strict=True))
            yield _compared(step, arm, a, b, order)


def _compared(step: int, arm: str, a: TensorFile, b: TensorFile, order: Sequence[str]) -> StateDifference:
    layers, gap, norm = [], 0.0, 0.0
    places = {f"weights.{name}": place for place, name in enumerate(order)}
    for name in sorted(a, key=lambda name: (places.get(name, len(places)), name)):
        if name not in b or a[name].shape != b[name].shape or a[name].dtype != b[name].dtype:
            continue
        one, other = a[name], b[name]
        x, y = one.astype(np.float64), other.astype(np.float64)
        squares = float(np.square(x - y).sum()), float(np.square(x).sum())
        if name.startswith("weights."):
            gap, norm = gap + squares[0], norm + squares[1]
        if one.tobytes() != other.tobytes():
            largest = float(np.abs(x - y).max())
            layers.append(LayerDifference(name, largest, _ratio(*squares)))
    return StateDifference(step, arm, _ratio(gap, norm), tuple(layers))


def _ratio(gap: float, norm: float) -> float:
    return float(np.sqrt(gap / norm)) if norm else float("nan")


def z_growth(records: Records) -> Iterator[tuple[int, str, float]]:
    """(step, arm, max |Δz|) at log-spaced steps whose batch embeddings both recorded."""
    for stream, arm in records.pairs():
        if stream != "similarity" or "batch.z" not in records.columns(stream, arm):
            continue
        steps = np.intersect1d(records.a.steps(stream, arm, "batch"), records.b.steps(stream, arm, "batch"))
        at = np.unique(np.geomspace(1, max(len(steps), 1), _MOST_STEPS).round().astype(int)) - 1
        for step in steps[at[at < len(steps)]].tolist():
            one, other = (shards.row(stream, arm, "batch.z", step) for shards in (records.a, records.b))
            if one is not None and other is not None:
                yield step, arm, float(np.abs(one.astype(np.float64) - other.astype(np.float64)).max())
