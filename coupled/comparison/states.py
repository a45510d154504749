"""The states of two runs at the checkpoints that both keep, and how far their embeddings are apart."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from coupled.comparison.records import RecordPair
from coupled.comparison.rows import Sizes, differing, sizes_of
from coupled.config import Config
from coupled.models.flat import HEAD
from coupled.reading.checkpoints import checkpoints_of, open_arm
from coupled.recording.checkpoints import ledger_file
from coupled.store import Manifest, Saved, TensorFile, read_saved

_MOST_STEPS = 12  # of the table of growth
_PIECE = 1 << 20  # elements in float64 at a time


class LayerDifference(NamedTuple):
    """A parameter, buffer or optimiser tensor that differs: sizes of the pairs that do, ‖Δ‖/‖a‖ (nan for ‖a‖ = 0)."""

    name: str
    sizes: Sizes
    relative: float


class StateDifference(NamedTuple):
    """One arm at a common checkpoint: ‖Δ‖/‖w‖ of the weights that both have, and what differs, in the network's order.

    `unmatched`: tensors that one of them lacks or has in another shape.
    """

    step: int
    arm: str
    relative: float
    layers: tuple[LayerDifference, ...] = ()
    unmatched: tuple[str, ...] = ()

    @property
    def differs(self) -> bool:
        return bool(self.layers or self.unmatched)


class Checkpoints(NamedTuple):
    """Every common arm at every common checkpoint, ascending, and the first of these that carries another chain."""

    states: tuple[StateDifference, ...]
    chain: int | None


def compare_checkpoints(
    paths: Sequence[Path], runs: Sequence[tuple[Mapping[str, Any], Config, Manifest]]
) -> Checkpoints:
    """What the kept checkpoints say; what is equal by its hash is not opened. Raises StoreError."""
    kept = [checkpoints_of(path, manifest) for path, (_, _, manifest) in zip(paths, runs, strict=True)]
    arms = [arm for arm in runs[0][1].arms if arm in runs[1][1].arms]
    fingerprints = [facts["fingerprint"] for facts, _, _ in runs]
    order = [layer["name"] for layer in runs[0][0]["layers"]]
    states, chain = [], None
    for step in sorted(kept[0].keys() & kept[1].keys()):
        if kept[0][step].sha256 == kept[1][step].sha256:
            states += [StateDifference(step, arm, 0.0) for arm in arms]
            continue
        saved = [read_saved(path, entries[step]) for path, entries in zip(paths, kept, strict=True)]
        links = [[state.state.get(key) for key in ("chain", "chains")] for state in saved]
        if chain is None and links[0] != links[1]:
            chain = step
        states += [_arm(paths, saved, arm, fingerprints, order) for arm in arms]
    return Checkpoints(tuple(states), chain)


def _arm(
    paths: Sequence[Path], saved: Sequence[Saved], arm: str, fingerprints: Sequence[str], order: Sequence[str]
) -> StateDifference:
    step = saved[0].step
    own = _opened(paths, saved, arm, fingerprints)
    difference = StateDifference(step, arm, 0.0) if own is None else _difference(step, arm, *own, order)
    # A ledger changes nothing of what is trained: where one of them has none, nothing differs.
    if all(f"{ledger_file(arm)}.safetensors" in state.files for state in saved):
        carried = _opened(paths, saved, ledger_file(arm), fingerprints)
        if carried is not None:
            of_ledger = _difference(step, arm, *carried, order)
            layers = tuple(layer._replace(name=f"ledger.{layer.name}") for layer in of_ledger.layers)
            difference = difference._replace(layers=difference.layers + layers)
    return difference


def _opened(
    paths: Sequence[Path], saved: Sequence[Saved], name: str, fingerprints: Sequence[str]
) -> tuple[TensorFile, TensorFile] | None:
    """A file of both; None where their hashes say that they are equal."""
    listed = [state.files.get(f"{name}.safetensors") for state in saved]
    if listed[0] is not None and listed[1] is not None and listed[0].sha256 == listed[1].sha256:
        return None
    a, b = (
        open_arm(path, state, name, fingerprint)
        for path, state, fingerprint in zip(paths, saved, fingerprints, strict=True)
    )
    return a, b


def _difference(step: int, arm: str, a: TensorFile, b: TensorFile, order: Sequence[str]) -> StateDifference:
    layers, unmatched, gap, norm = [], [], 0.0, 0.0
    places = {f"weights.{name}": place for place, name in enumerate(order)}

    def place(name: str) -> tuple[int, bool, str]:
        """Weights in the network's order, a head behind them; then buffers and the optimiser's."""
        return places.get(name, len(places)), not name.startswith(f"weights.{HEAD}"), name

    for name in sorted(a.keys() | b.keys(), key=place):
        if name not in a or name not in b or (a[name].shape, a[name].dtype) != (b[name].shape, b[name].dtype):
            unmatched.append(name)
            continue
        one, other = np.ravel(a[name]), np.ravel(b[name])
        squares = _squares(one, other)
        if name.startswith("weights."):
            gap, norm = gap + squares[0], norm + squares[1]
        at = np.flatnonzero(differing(one, other))
        if len(at):
            layers.append(LayerDifference(name, sizes_of(one[at], other[at]), _ratio(*squares)))
    return StateDifference(step, arm, _ratio(gap, norm), tuple(layers), tuple(unmatched))


def _squares(a: np.ndarray, b: np.ndarray) -> tuple[float, float]:
    """Σ(a − b)² and Σa² in float64; nan where something is not finite."""
    gap = norm = 0.0
    with np.errstate(invalid="ignore", over="ignore"):
        for start in range(0, len(a), _PIECE):
            x, y = (values[start : start + _PIECE].astype(np.float64) for values in (a, b))
            gap, norm = gap + float(np.square(x - y).sum()), norm + float(np.square(x).sum())
    return gap, norm


def _ratio(gap: float, norm: float) -> float:
    return float(np.sqrt(gap / norm)) if norm else float("nan")


def z_growth(records: RecordPair) -> Iterator[tuple[int, str, float]]:
    """(step, arm, max |Δz|) at log-spaced steps whose batch embeddings both recorded; nan where one is not finite."""
    for stream, arm in records.pairs():
        if stream != "similarity" or "batch.z" not in records.columns(stream, arm):
            continue
        steps = records.common_steps(stream, arm, "batch")
        at = np.unique(np.geomspace(1, max(len(steps), 1), _MOST_STEPS).round().astype(int)) - 1
        for step in steps[at[at < len(steps)]].tolist():
            both = records.rows(stream, arm, "batch.z", step)
            yield step, arm, 0.0 if both is None else _largest(*both)


def _largest(a: np.ndarray, b: np.ndarray) -> float:
    with np.errstate(invalid="ignore"):
        return float(np.abs(a.astype(np.float64) - b.astype(np.float64)).max())
