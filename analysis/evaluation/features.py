"""Features of a run's arms at its kept checkpoints: made once, in the engine's own forward pass, and kept on disk.

Shapes: n evaluated samples of a split, D dimensions of h, d of z. Features have the run's own precision.
"""

from collections.abc import Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import torch
from torch import Tensor

from analysis.evaluation import extraction
from analysis.evaluation.cache import Table, table
from analysis.evaluation.networks import digest_at, kept_steps
from analysis.evaluation.samples import SIZE, SPLITS, Sample, chosen_ids, view_words
from analysis.output import files
from analysis.output.facts import view_flags
from analysis.runs.run import Run
from coupled.arms.network import meta_network
from coupled.config import Config
from coupled.data.splits import Split, SplitName, content_digest
from coupled.errors import UserError
from coupled.inputs.dataset import data_info, load_split
from coupled.inputs.pixels import Pixels
from coupled.models import Network
from coupled.reading.here import config_here
from coupled.reading.imported import Imported, imported
from coupled.reading.log import last_data_path
from coupled.recording.layout import labellings
from coupled.store import StoreError, TensorFile
from coupled.terminal.counting import Progress

MOST_WORKERS: Final = 256
Kind = Literal["plain", "views", "stages"]


@dataclass(frozen=True)
class Place:
    """One arm at one checkpoint on one split."""

    arm: str
    step: int
    split: SplitName

    def __str__(self) -> str:
        return f"{self.arm} at step {self.step} on {self.split}"


class Evaluation:
    """The features of a run's arms at kept checkpoints, on evaluated samples of its data set.

    steps: which checkpoints (default: all kept ones). arms: which of the run's (default: all). size: samples of each
    split, None for all; ids: other ids (n,) of a split instead, ascending. stages: pooled stage features as well. data,
    code: where the data set lies, and the files of the user's own code (default: where the run's log says, and none).
    device: "cpu", "cuda"; default: the run's own, if it is here. workers: processes that decode images in files;
    default: one a core. output: where features are kept; default: analysis/features/ of the run. progress(work, done,
    all).

    `steps` and `arms` are those that are evaluated; features are kept in `folder`. Nothing outside that folder is
    written, no network is trained, no global generator is drawn from. Raises UserError for what the user can mend,
    StoreError for a damaged run.
    """

    def __init__(
        self,
        run: Run,
        *,
        steps: Sequence[int] | None = None,
        arms: Sequence[str] | None = None,
        size: int | None = SIZE,
        ids: Mapping[SplitName, Tensor] | None = None,
        stages: bool = False,
        data: str = "",
        code: Sequence[str] = (),
        device: str = "",
        workers: int | None = None,
        output: Path | None = None,
        progress: Progress | None = None,
    ) -> None:
        if workers is not None and not 0 <= workers <= MOST_WORKERS:
            raise UserError(f"{workers} workers", f"from 0 to {MOST_WORKERS}", "set --workers")
        self.run, self.steps = _with_code(run, code), kept_steps(run, steps)
        for arm in arms or ():
            run.arm(arm)
        self.arms = tuple(run.arms) if arms is None else tuple(arms)
        self.stages = stages
        self._size, self._ids = size, dict(ids or {})
        self._data, self._code = data or last_data_path(run.path), code
        self._device, self._workers = _device(device, run.config), workers
        self.folder = output or files.folder(run.path) / "features"
        self.progress: Progress = progress or (lambda work, done, total: None)
        self._tables: dict[tuple[Place, Kind], Table] = {}
        self._samples: dict[SplitName, Sample] = {}
        self._splits: dict[SplitName, Split] = {}
        self._fingerprints: dict[SplitName, str | None] = {}

    @cached_property
    def imported(self) -> Imported | None:
        """What is known of the checkpoints if they were imported; None where the run was trained."""
        return imported(self.run.facts)

    @property
    def view_flags(self) -> tuple[str, ...]:
        """What a reader must know of numbers that augmented views are in."""
        return view_flags(self.run)

    @cached_property
    def config(self) -> Config:
        """The run's config, with data set and code as they are here."""
        return config_here(self.run.path, self.run.facts, self._data, self._code)

    def split(self, split: SplitName) -> Split:
        """A split of the run's data set. UserError if it is not here, or is another."""
        if split not in self._splits:
            loaded = load_split(self.config, split)
            recorded, here = (self.run.facts["data"] or {}).get(split), loaded.fingerprint()
            if recorded is not None and here != recorded:
                raise UserError(
                    f"{split} images of {self.config.data.name} have SHA-256 {here}",
                    f"the run was trained on {recorded}",
                    "say with --data where those lie",
                )
            self._splits[split] = loaded
        return self._splits[split]

    def fingerprint(self, split: SplitName) -> str | None:
        """SHA-256 (hex) of a split's images and labels; None where config and code determine them."""
        if split not in self._fingerprints:
            self._fingerprints[split] = self.split(split).fingerprint()
        return self._fingerprints[split]

    def sample(self, split: SplitName) -> Sample:
        """The evaluated samples of a split, with their labels."""
        if split not in self._samples:
            images = self.split(split)
            ids = self._ids.get(split)
            size = None if ids is not None else self._size
            chosen = chosen_ids(split, len(images), size) if ids is None else ids
            labels = {name: images.labels(name)[chosen] for name in labellings(self.config)}
            self._samples[split] = Sample(split, chosen, labels, len(chosen) == len(images), size)
        return self._samples[split]

    def prepare(
        self,
        *,
        arms: Sequence[str] | None = None,
        steps: Sequence[int] | None = None,
        splits: Sequence[SplitName] = SPLITS,
        kinds: Sequence[Kind] = ("plain",),
    ) -> None:
        """Makes all these features that are not on disk yet, each image once for as many networks as memory allows.

        With `stages`, "plain" stands for those too. A killed call has lost at most a part of a table: the next one goes
        on there.
        """
        wanted: list[Kind] = [*kinds, *(["stages"] if self.stages and "plain" in kinds else [])]
        for split in splits:
            for kind in wanted:
                places = [
                    Place(arm, step, split)
                    for step in (self.steps if steps is None else steps)
                    for arm in (self.arms if arms is None else arms)
                ]
                tables = {place: self._table(place, kind) for place in places}
                if any(table.absent() for table in tables.values()):
                    extraction.extract(self._work(split, kind), tables, self.progress)

    def blocks(self, place: Place, *columns: str) -> Iterator[tuple[Tensor, ...]]:
        """Columns of the un-augmented samples, some rows at a time: "h" (·, D), "z" (·, d), "stage.<k>" (·, C_k)."""
        yield from self._blocks(place, "plain", columns)

    def features(self, place: Place, column: str) -> Tensor:
        """One column of the un-augmented samples, whole: h (n, D), z (n, d) or stage.<k> (n, C_k)."""
        return self._whole(place, "plain", column)

    def views(self, place: Place, *, second: Literal["augmented", "plain"] = "augmented") -> Tensor:
        """z (2n, d) of two views of every sample, view 1 first; `second` "plain": view 2 is the image un-augmented."""
        first, other = self._whole(place, "views", "z").unbind(1)
        return torch.cat([first, other if second == "augmented" else self.features(place, "z")])

    def view_distances(self, place: Place) -> Tensor:
        """‖h − h'‖² of the two augmented views of every sample, float64 (n,)."""
        return self._whole(place, "views", "h.apart")

    def stage_names(self) -> list[str]:
        """The columns of stage features, from the input on: "stage.0", "stage.1" …; none unless asked for."""
        return [f"stage.{k}" for k in range(len(self._network.stage_dims))] if self.stages else []

    def _whole(self, place: Place, kind: Kind, column: str) -> Tensor:
        return torch.cat([block for (block,) in self._blocks(place, kind, (column,))])

    def _blocks(self, place: Place, kind: Kind, columns: Sequence[str]) -> Iterator[tuple[Tensor, ...]]:
        of_column: dict[str, Kind] = {name: "stages" if name.startswith("stage.") else kind for name in columns}
        parts = {kind: self._parts(place, kind) for kind in dict.fromkeys(of_column.values())}
        # Tables of one network are cut at the same rows.
        for number in range(len(next(iter(parts.values())))):
            # A copy, as torch takes no mapped array that is read-only.
            tensors = tuple(torch.from_numpy(np.array(parts[of_column[name]][number][name])) for name in columns)
            for name, tensor in zip(columns, tensors, strict=True):
                if not bool(tensor.isfinite().all()):
                    raise UserError(f"{name} of {place} is not finite", "no measure is defined on it")
            yield tensors

    def _parts(self, place: Place, kind: Kind) -> list[TensorFile]:
        """The parts of a table, made first where they are missing or damaged."""
        stored = self._table(place, kind)
        parts = [part for part in stored.opened() if part is not None]
        if len(parts) < stored.parts:
            extraction.extract(self._work(place.split, kind), {place: stored}, self.progress)
            parts = [part for part in stored.opened() if part is not None]
        if len(parts) < stored.parts:
            raise StoreError(stored.folder, "these features could not be kept: what was written reads otherwise")
        return parts

    def _work(self, split: SplitName, kind: Kind) -> extraction.Work:
        ids = self.sample(split).ids
        return extraction.Work(
            run=self.run,
            images=self.split(split),
            ids=ids,
            words=view_words(split, ids) if kind == "views" else None,
            pixels=Pixels(self.run.config, self._device, *self._normalisation),
            stages=kind == "stages",
            workers=torch.get_num_threads() if self._workers is None else self._workers,
        )

    @cached_property
    def _normalisation(self) -> tuple[Sequence[float], Sequence[float]]:
        if self.imported is not None:
            return self.imported.mean, self.imported.std
        info = data_info(self.config)
        return info.mean, info.std

    @cached_property
    def _network(self) -> Network:
        """Shapes alone: building it takes as long as reading a small table."""
        return meta_network(self.run.config)

    def _table(self, place: Place, kind: Kind) -> Table:
        if (place, kind) not in self._tables:
            self._tables[place, kind] = self._located(place, kind)
        return self._tables[place, kind]

    def _located(self, place: Place, kind: Kind) -> Table:
        config, sample = self.run.config, self.sample(place.split)
        mean, std = self._normalisation
        facts: dict[str, Any] = {
            "checkpoint": digest_at(self.run, place.arm, place.step),
            "run": self.run.fingerprint,
            "data": self.fingerprint(place.split),
            "split": place.split,
            "ids": content_digest({"ids": sample.ids}),
            "kind": kind,
            "size": config.views.size,
            "mean": list(mean),
            "std": list(std),
            "device": self._device.type,
        }
        network = self._network
        # More than any of its tables has, so that all are cut at the same rows.
        width = network.feature_dim + 2 * config.model.projection_dim + sum(network.stage_dims)
        label = f"{place.arm}-step-{place.step:09d}-{place.split}-{kind}"
        return table(self.folder, label, facts, len(sample), width * _BYTES[config.train.dtype])


_BYTES: Final = {"float32": 4, "float64": 8}


def _with_code(run: Run, code: Sequence[str]) -> Run:
    """The run, whose networks are then built by these files; its config and records are the same."""
    if not code:
        return run
    own = copy(run)
    own.config = replace(run.config, code=replace(run.config.code, files=tuple(code)))
    return own


def _device(asked: str, config: Config) -> torch.device:
    if asked not in ("", "cpu", "cuda"):
        raise UserError(f"device {asked}", "cpu or cuda")
    if asked == "cuda" and not torch.cuda.is_available():
        raise UserError("device cuda", "there is no CUDA device here", "use --device cpu")
    return torch.device(asked or (config.train.device if torch.cuda.is_available() else "cpu"))
