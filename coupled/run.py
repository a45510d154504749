"""A run assembled: everything the driver's loop touches, built from a config and nothing else."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from coupled import certificate as certificates
from coupled import checkpoints, runtime
from coupled.arms import Arm, build_arms, build_network
from coupled.certificate import Certificate
from coupled.config import Config, digest, fingerprint, resolved
from coupled.config.arms import objective_of
from coupled.data.base import Split
from coupled.errors import UserError
from coupled.layout import Layout, checkpoint_steps, labellings, layout, manifest_lines
from coupled.measures import in_weight_gap
from coupled.models import Network
from coupled.models.flat import Segment, segments_of
from coupled.objectives import try_out
from coupled.panels import Panels
from coupled.recorder import Recorder
from coupled.source import Source, Stream, load_split
from coupled.store import RunDirectory, canonical_json, prepare, read_config_digest, state
from coupled.store.manifest import MAX_ENTRIES
from coupled.usercode import execute

SCHEMA = 2
DETERMINISM = "bitwise on one machine type, with the same library versions and identity fields"


@dataclass
class Run:
    """One process's run, ready to step. Closing releases the directory's lock."""

    config: Config
    arms: dict[str, Arm]
    source: Source
    stream: Stream
    recorder: Recorder
    certificate: Certificate
    directory: RunDirectory
    fingerprint: str
    checkpoint_steps: frozenset[int]

    def checkpoint(self, step: int) -> None:
        """Seal what closes at `step` and, on schedule, commit a checkpoint of the state after `step` updates."""
        self.recorder.seal(step)
        if step in self.checkpoint_steps:
            checkpoints.commit(self.directory, step, self.arms, self.certificate, self.fingerprint)

    def finish(self) -> None:
        """Observe the last state by weights and panels, and commit the end."""
        self.recorder.observe_last(self.config.train.steps)
        self.directory.finish(self.config.train.steps)


def path_of(config: Config) -> Path:
    """The run directory of a config."""
    return Path(config.paths.runs) / config.name


def is_finished(config: Config) -> bool:
    """Is this very run already there, whole?"""
    path = path_of(config)
    return state(path) == "finished" and read_config_digest(path) == digest(config)


def assemble(config: Config, *, overwrite: bool = False) -> Run | None:
    """Build arms, data and recorder, then create the run directory; None if the run is there and finished.

    Whatever a user can get wrong fails before the directory is made. Raises UserError.
    """
    device = runtime.configure(config)
    if execute(config.code.files) != config.code.sha256:
        raise UserError("code.files changed", "they must be as the config found them", "load the config again")
    if Path(config.paths.runs).exists() and not Path(config.paths.runs).is_dir():
        raise UserError(f"paths.runs = {config.paths.runs}", "a folder, or a place where one can be made")
    for arm in config.arms.values():
        try_out(objective_of(arm), arm.temperature or config.train.temperature)
    splits = {name: load_split(config, name) for name in ("train", "test")}
    source = Source(config, splits["train"], labellings(config), device)
    arms = build_arms(config, device)
    panels = Panels(config, source, splits["test"])
    first = next(iter(arms.values()))
    initial = certificates.weights_digest(first)
    streams = train_layout(config)
    if (lines := manifest_lines(config, streams)) > MAX_ENTRIES:
        raise UserError(f"a run of {lines} objects", f"at most {MAX_ENTRIES}", "thin out checkpoints.keep")
    kept = frozenset(config.checkpoints.keep.upto(config.train.steps))
    facts, mark = describe(config, initial.hex(), splits, device), fingerprint(config)
    run_json = canonical_json(facts) + b"\n"
    directory = prepare(path_of(config), run_json, digest(config), overwrite, keeps=kept.__contains__)
    if directory is None:
        return None
    recorder = Recorder(config, streams, arms, panels, directory, mark)
    stream = Stream(source, config.train.steps)
    return Run(
        config,
        arms,
        source,
        stream,
        recorder,
        Certificate(initial),
        directory,
        mark,
        frozenset(checkpoint_steps(config)),
    )


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
