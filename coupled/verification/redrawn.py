"""What a run recorded of its inputs, drawn again from their addresses."""

import struct
from collections.abc import Callable, Mapping
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from coupled import drift, runtime
from coupled.address import Purpose
from coupled.arms import Arm, build_arms
from coupled.batches import Balanced, Uniform
from coupled.certificate import integers_digest, pixel_digests, weights_digest
from coupled.config import Config, from_resolved, from_tables
from coupled.config.load import tables_of
from coupled.data.base import Split
from coupled.errors import UserError
from coupled.layout import SHARED, labellings
from coupled.learning_rate import learning_rate
from coupled.opened import open_checkpoint
from coupled.panels import Panels
from coupled.shards import Shards
from coupled.source import Source, data_info, load_split
from coupled.store import Manifest, StoreError
from coupled.views import view_words

Words = tuple[list[str], list[str]]


class Here:
    """A run's config on this machine: its data set if that is here, and what the run drew from it."""

    def __init__(self, path: Path, facts: Mapping[str, Any], data: str) -> None:
        self.path, self.facts = path, facts
        self.missing = ""
        try:
            raw = tables_of(facts["config"]) | {"name": "verified", "paths": {"data": data}}
            self.config: Config = from_tables(raw)
            self.splits: dict[str, Split] = {name: load_split(self.config, name) for name in ("train", "test")}
        except UserError as error:
            self.config, self.splits, self.missing = from_resolved(facts["config"]), {}, str(error)
        # Pixels and floats compare on the kind of device that made them.
        self.device = torch.device(self.config.train.device if torch.cuda.is_available() else "cpu")

    @cached_property
    def source(self) -> Source | None:
        """The batches; None where the data set is not here, or is another."""
        return Source(self.config, self.splits["train"], labellings(self.config), self.device) if self.splits else None

    @cached_property
    def conditions(self) -> str:
        """How this machine differs from the one of the run in what may change float bytes; "" where it does not."""
        now = {"versions": runtime.versions(), "machine": runtime.machine(self.device)}
        then = drift.environment(self.facts)
        found = [c for c in drift.changes(then, drift.environment(now)) if c.name.startswith(("versions", "machine"))]
        return "; ".join(map(str, drift.counting(found)))

    @cached_property
    def batches(self) -> Uniform | Balanced | None:
        """Ids and visits by step; None where they need labels that are not here."""
        if self.source is not None:
            return self.source.batches
        if self.config.batches.stream == "balanced":
            return None
        try:
            return Uniform(self.config.seed, data_info(self.config).train_size, self.config.batches.size)
        except UserError:
            return None

    @property
    def draws(self) -> bool:
        return self.batches is not None

    def drawn(self, step: int) -> tuple[Tensor, Tensor, Tensor]:
        """ids (B,), visits (B,), words (2, B, 32) of a step's batch."""
        assert self.batches is not None
        ids, visits = self.batches.at(step)
        return ids, visits, view_words(self.config.seed, Purpose.VIEW, ids, visits, torch.tensor([[0], [1]]))

    def next_link(self, link: bytes, step: int) -> bytes:
        """The chain after a step that is drawn again."""
        ids, _, words = self.drawn(step)
        rate = learning_rate(self.config.optimiser, step, self.config.batches.size)
        return sha256(link + integers_digest(ids) + integers_digest(words) + struct.pack("<d", rate)).digest()

    @cached_property
    def arms(self) -> dict[str, Arm]:
        """All arms at their initial weights."""
        return build_arms(self.config, self.device)


def check_initial_weights(here: Here, manifest: Manifest) -> Words:
    """The initial weights are those of the seed: their digest, and every arm's checkpoint of step 0."""
    try:
        arms = here.arms
    except UserError as error:
        return [], [f"initial weights: not made again ({error})"]
    if weights_digest(next(iter(arms.values()))).hex() != here.facts["certificate"]["initial_weights"]:
        raise StoreError(here.path, "the digest of the initial weights is not that of the weights its seed gives")
    said = "one start: the shared initial weights are those that the run's seed gives"
    for entry in manifest.entries:
        if entry.kind == "checkpoint" and entry.first == 0 and 0 in here.config.checkpoints.keep.upto(0):
            for name, arm in arms.items():
                file = open_checkpoint(here.path, entry, name, here.facts["fingerprint"])
                _check_weights(file, arm)
            said += ", and every arm's checkpoint at step 0 holds them (controls as their kind says)"
    return [said], []


def _check_weights(file: Mapping[str, np.ndarray], arm: Arm) -> None:
    for name, tensor in arm.state.named_weights().items():
        if file[f"weights.{name}"].tobytes() != tensor.detach().numpy().tobytes():
            raise StoreError(getattr(file, "path", name), f"{name} of arm {arm.name} is not what the seed gives")


def sampled(steps: np.ndarray, count: int) -> list[int]:
    """At most `count` of these steps, evenly spread, with the first and the last."""
    if len(steps) <= count:
        return [int(step) for step in steps]
    at = np.linspace(0, len(steps) - 1, max(count, 2)).round().astype(int)[: max(count, 1)]
    return [int(steps[i]) for i in dict.fromkeys(at.tolist())]


def check_batches(here: Here, shards: Shards, count: int, told: Callable[[str, int, int], None]) -> Words:
    """A sample of batches: ids, visits, labels and the words behind both views."""
    if not here.draws:
        return [], [f"batches: not drawn again, their order needs the data set ({here.missing})"]
    digests, _ = shards.column("scalars", SHARED, "batch.chain")
    recorded, _ = shards.column("similarity", SHARED, "batch.ids")
    steps = sampled(np.union1d(digests, recorded), count)
    for number, step in enumerate(steps, 1):
        ids, visits, words = here.drawn(step)
        wanted = {"scalars/ids_digest": integers_digest(ids), "scalars/draws_digest": integers_digest(words)}
        wanted |= {"similarity/ids": _bytes(ids), "similarity/visits": _bytes(visits)}
        if here.source is not None:
            wanted |= {f"similarity/labels.{k}": _bytes(v[ids]) for k, v in here.source.labels.items()}
        for name, value in wanted.items():
            stream, column = name.split("/")
            found = shards.row(stream, SHARED, f"batch.{column}", step)
            if found is not None and found.tobytes() != value:
                raise StoreError(here.path, f"batch.{column} of step {step} is not what its address gives")
        told("batches", number, len(steps))
    what = "ids, draws and labels" if here.source is not None else "ids and draws"
    said = f"drawn again: {what} of {len(steps)} steps ({_shown(steps)}) are what seed {here.config.seed} gives"
    return ([said], []) if steps else ([], ["batches: no step is recorded"])


def check_pixels(here: Here, shards: Shards, count: int) -> Words:
    """A sample of the steps whose pixels have digests: both views of every sample, made again."""
    recorded, _ = shards.column("pixels", SHARED, "batch.pixels_digest")
    steps = sampled(recorded, count)
    if not steps:
        return [], ["views: no step has a digest of its pixels"]
    if here.source is None:
        return [], [f"views: not made again, the data set is not here ({here.missing})"]
    for step in steps:
        found = shards.row("pixels", SHARED, "batch.pixels_digest", step)
        made = pixel_digests(here.source.at(step).pixels)
        if found is None or found.tobytes() != made.tobytes():
            if here.conditions:
                return [], [f"views: the pixels of step {step} differ here, under other conditions: {here.conditions}"]
            raise StoreError(here.path, f"the pixels of step {step} are not what their addresses give")
    many = 2 * here.config.batches.size * len(steps)
    return [
        f"made again: {many} views of {len(steps)} steps ({_shown(steps)}) have the recorded pixels, byte for byte"
    ], []


def check_panels(here: Here, shards: Shards) -> Words:
    """Ids, labels and draws of both panels."""
    if here.source is None:
        return [], ["panels: not drawn again, the data set is not here"]
    panels, checked = Panels(here.config, here.source, here.splits["test"]), []
    for stream in ("panel", "surrogate"):
        fixed = shards.fixed(stream, SHARED)
        if fixed is None:
            continue
        path, found = fixed
        for name, value in panels.fixed(stream).items():
            if name not in found or found[name].tobytes() != value.tobytes():
                raise StoreError(path, f"{name} of the {stream} is not what its address gives")
        checked.append(stream)
    said = f"panels: ids, labels and draws of {' and '.join(checked)} are what their addresses give"
    return ([said] if checked else []), []


def _bytes(values: Tensor) -> bytes:
    return values.numpy().tobytes()


def _shown(steps: list[int]) -> str:
    return ", ".join(map(str, steps)) if len(steps) <= 8 else f"{steps[0]} … {steps[-1]}"
