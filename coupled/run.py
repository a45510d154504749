"""A run assembled: everything the driver's loop touches, built from a config and nothing else."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import torch

from coupled import certificate as certificates
from coupled import checkpoints, runtime
from coupled.arms import Arm, build_arms, build_network
from coupled.certificate import Certificate
from coupled.commits import Commits
from coupled.config import Config, digest, fingerprint, resolved
from coupled.config.arms import objective_of
from coupled.data.base import Split
from coupled.errors import RunStopped, UserError
from coupled.layout import SHARED, Layout, checkpoint_steps, labellings, layout, manifest_lines
from coupled.measures import in_weight_gap
from coupled.models import Network
from coupled.models.flat import Segment, segments_of
from coupled.objectives import try_out
from coupled.panels import Panels
from coupled.ranks.faults import RankLost
from coupled.ranks.mesh import ALONE, Mesh
from coupled.recorder import Recorder
from coupled.source import Source, Stream, load_split
from coupled.store import (
    Objects,
    RunDirectory,
    RunState,
    canonical_json,
    checkpoint_folder,
    preempt_folder,
    prepare,
    read_config_digest,
    state,
)
from coupled.store.manifest import MAX_ENTRIES
from coupled.usercode import execute
from coupled.writer import Writer

SCHEMA = 2
DETERMINISM = (
    "bitwise on one machine type, with the same library versions and identity fields, for any placement of arms; where "
    "ranks split batches, batches and views bitwise, the rest for as many of them, and to rounding for other numbers"
)


@dataclass
class Parts:
    """All of a run but its directory: built from a config and nothing else."""

    config: Config
    mesh: Mesh
    device: torch.device
    arms: dict[str, Arm]
    source: Source
    panels: Panels
    streams: Layout
    initial_weights: bytes
    facts: dict[str, Any]

    @property
    def run_json(self) -> bytes:
        return canonical_json(self.facts) + b"\n"


@dataclass
class Run:
    """A run as one of its processes sees it, ready to step from `start`. Closing releases the directory's lock.

    `arms`: those that live here; `directory`: None but on rank 0. `restored`: the run goes on from a state that was
    saved, and not from its beginning.
    """

    config: Config
    root: Path
    arms: dict[str, Arm]
    source: Source
    stream: Stream
    recorder: Recorder
    certificate: Certificate
    commits: Commits
    writer: Writer
    fingerprint: str
    checkpoint_steps: frozenset[int]
    start: int = 0
    restored: bool = False

    @property
    def mesh(self) -> Mesh:
        return self.commits.mesh

    def log(self, event: Mapping[str, Any]) -> None:
        """An event into the run's log, by rank 0."""
        if self.commits.directory is not None:
            self.commits.directory.log(event)

    def begin(self) -> None:
        """Commit the shared start."""
        if not self.restored:
            self.checkpoint(0)

    def checkpoint(self, step: int) -> None:
        """Seal what closes at `step` and, on schedule, commit a checkpoint of the state after `step` updates."""
        self.recorder.seal(step)
        if step in self.checkpoint_steps and self.mesh.writes:
            arms = {name: checkpoints.captured(arm) for name, arm in self.arms.items()}
            size = sum(array.nbytes for arrays in arms.values() for array in arrays.values())
            self.writer.put(size, partial(self._commit_checkpoint, step, arms, self._state()))

    def _commit_checkpoint(self, step: int, arms: Mapping[str, checkpoints.Arrays], state: Mapping[str, Any]) -> None:
        folder = checkpoint_folder(step)
        self.commits.commit(
            [f"{folder}/{name}.safetensors" for name in sorted(self.config.arms)],
            lambda objects: objects.put_files(folder, checkpoints.saved_bytes(arms, self.fingerprint)),
            lambda directory, files: directory.append_checkpoint(step, files, state),
        )

    def preempt(self, step: int) -> None:
        """Make the state after `step` updates, between two steps, durable; nothing is committed that would not be."""
        self.drain()
        if step in self.checkpoint_steps or step == self.start:
            return
        self.mesh.together(lambda: self._save(step) if self.mesh.writes else None)

    def _save(self, step: int) -> None:
        rows, first = self.recorder.open_rows()
        arrays = {name: checkpoints.captured(arm) for name, arm in self.arms.items()}
        arrays |= {checkpoints.open_rows_of(owner): columns for owner, columns in rows.items()}
        folder, state = preempt_folder(step), {**self._state(), "first": first}
        names = [*self.config.arms, *map(checkpoints.open_rows_of, (*self.config.arms, SHARED))]
        self.commits.commit(
            [f"{folder}/{name}.safetensors" for name in sorted(names)],
            lambda objects: objects.put_files(folder, checkpoints.saved_bytes(arrays, self.fingerprint)),
            lambda directory, files: directory.append_preempt(step, files, state),
        )

    def finish(self) -> None:
        """Observe the last state by weights and panels, and commit the end."""
        steps = self.config.train.steps
        self.recorder.observe_last(steps)
        if (directory := self.commits.directory) is not None:
            self.writer.put(0, partial(directory.finish, steps))
        self.drain()

    def drain(self) -> None:
        """Wait until all that is to be written is, on every rank."""
        self.mesh.together(self.writer.drain)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End threads and processes and release the lock. A run that stopped by itself commits what it still can."""
        try:
            if error is None or (isinstance(error, RunStopped) and not isinstance(error, RankLost)):
                with suppress(RunStopped):  # the first error is the one to tell
                    self.writer.drain()
        finally:
            self.writer.close()
            self.stream.close()
            if self.commits.directory is not None:
                self.commits.directory.close()

    def _state(self) -> dict[str, Any]:
        return {"chain": self.certificate.link.hex(), "fingerprint": self.fingerprint}


def path_of(config: Config) -> Path:
    """The run directory of a config."""
    return Path(config.paths.runs) / config.name


def is_finished(config: Config) -> bool:
    """Is this very run already there, whole?"""
    return _is(config, "finished")


def is_unfinished(config: Config) -> bool:
    """Is this very run there, to be gone on with?"""
    return _is(config, "unfinished")


def _is(config: Config, wanted: RunState) -> bool:
    path = path_of(config)
    return state(path) == wanted and read_config_digest(path) == digest(config)


def build(config: Config, mesh: Mesh = ALONE) -> Parts:
    """Build this rank's arms, data and panels. Whatever a user can get wrong fails here, before anything is written, on
    all ranks: UserError.
    """
    parts: Parts = mesh.together(partial(_build, config, mesh))
    initial = bytes.fromhex(mesh.on_first(parts.initial_weights.hex))
    if not any(map(_starts_shared, parts.arms.values())):  # taken on trust, where there is nothing to compare it with
        parts.initial_weights = initial
        parts.facts["certificate"]["initial_weights"] = initial.hex()
    facts = ("certificate", "data", "machine", "versions")
    mesh.same({f"{part}.{key}": str(value) for part in facts for key, value in parts.facts[part].items()})
    return parts


def ready(config: Config) -> dict[str, Split]:
    """The splits of the config's data set, after all else that a user can get wrong is known to be right: UserError."""
    runtime.check_device(config)
    if execute(config.code.files) != config.code.sha256:
        raise UserError("code.files changed", "they must be as the config found them", "load the config again")
    if Path(config.paths.runs).exists() and not Path(config.paths.runs).is_dir():
        raise UserError(f"paths.runs = {config.paths.runs}", "a folder, or a place where one can be made")
    for arm in config.arms.values():
        try_out(objective_of(arm), arm.temperature or config.train.temperature)
    if (lines := manifest_lines(config, train_layout(config))) > MAX_ENTRIES:
        raise UserError(f"a run of {lines} objects", f"at most {MAX_ENTRIES}", "thin out checkpoints.keep")
    return {name: load_split(config, name) for name in ("train", "test")}


def _build(config: Config, mesh: Mesh) -> Parts:
    device, splits = runtime.configure(config), ready(config)
    source = Source(config, splits["train"], labellings(config), device, mesh.data)
    arms = build_arms(config, device, mesh)
    panels = Panels(config, source, splits["test"])
    initial = certificates.weights_digest(next(filter(_starts_shared, arms.values()), next(iter(arms.values()))))
    streams = train_layout(config)
    facts = describe(config, initial.hex(), splits, device)
    return Parts(config, mesh, device, arms, source, panels, streams, initial, facts)


def _starts_shared(arm: Arm) -> bool:
    """Does an arm start at the shared initial weights themselves?"""
    return arm.spec.kind in ("objective", "twin")


def assemble(config: Config, *, overwrite: bool = False) -> Run | None:
    """A new run of `config`; None if it is there and finished. Raises UserError, also where another run is there."""
    return begin(build(config), overwrite=overwrite)


def begin(parts: Parts, *, overwrite: bool = False) -> Run | None:
    """A new run of `parts` in its directory, which is made here; None if it is there and finished. Raises UserError."""
    path, keeps = path_of(parts.config), kept_steps(parts.config).__contains__
    opened: list[RunDirectory | None] = [None]

    def prepared() -> bool:
        opened[0] = prepare(path, parts.run_json, digest(parts.config), overwrite, keeps=keeps)
        return opened[0] is not None

    return join(parts, opened[0]) if parts.mesh.on_first(prepared) else None


def join(parts: Parts, directory: RunDirectory | None) -> Run:
    """The run of `parts` at its beginning; its directory is open for writing on rank 0, None elsewhere."""
    config, mark, root = parts.config, parts.facts["fingerprint"], path_of(parts.config)
    writing = config.writing
    writer = Writer(asynchronous=writing.asynchronous, limit=writing.queue_mib << 20)
    commits = Commits(parts.mesh, directory or Objects(root), directory)
    recorder = Recorder(config, parts.streams, parts.arms, parts.panels, commits, writer, mark)
    return Run(
        config,
        root,
        parts.arms,
        parts.source,
        Stream(parts.source, config.train.steps),
        recorder,
        Certificate(parts.initial_weights),
        commits,
        writer,
        mark,
        frozenset(checkpoint_steps(config)),
    )


def kept_steps(config: Config) -> frozenset[int]:
    """The steps whose checkpoints are permanent."""
    return frozenset(config.checkpoints.keep.upto(config.train.steps))


def describe(config: Config, initial_weights: str, splits: Mapping[str, Split], device: torch.device) -> dict[str, Any]:
    """The content of run.json."""
    segments = _weight_segments(config, meta_network(config))
    return {
        "schema": SCHEMA,
        "config": resolved(config),
        "config_digest": digest(config),
        "fingerprint": fingerprint(config),
        "layers": [{"name": s.name, "shape": list(s.shape), "in_weight_gap": in_weight_gap(s.name)} for s in segments],
        "data": {name: split.fingerprint() for name, split in splits.items()},
        "versions": runtime.versions(),
        "machine": runtime.machine(device),
        "determinism": DETERMINISM,
        "certificate": {"seed": config.seed, "initial_weights": initial_weights},
    }


def meta_network(config: Config) -> Network:
    """The network that arms share, without storage: names, shapes, feature dimension."""
    with torch.device("meta"):
        return build_network(config)


def train_layout(config: Config) -> Layout:
    """The record layout of a config, from shapes alone."""
    network = meta_network(config)
    segments = _weight_segments(config, network)
    return layout(config, segments, network.feature_dim, network.stage_dims)


def _weight_segments(config: Config, network: Network) -> list[Segment]:
    return segments_of(list(network.named_parameters()), getattr(torch, config.train.dtype))
