"""A run put together: everything the loop touches, built from a config and nothing else."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from coupled import runtime
from coupled.arms.arm import Arm
from coupled.arms.audits import Audits
from coupled.arms.initial import build_arms
from coupled.arms.moves import Moves
from coupled.config import Config, digest
from coupled.config.identity import path_of
from coupled.config.ledger import records_ledger
from coupled.config.own_streams import stream_name
from coupled.config.traits import objective_of, own_inputs
from coupled.config.user_code import execute
from coupled.data.splits import Split
from coupled.driver.guard import Guard
from coupled.driver.mirrors import Mirrors
from coupled.driver.run import Run
from coupled.errors import UserError
from coupled.graphs import graphs_of
from coupled.inputs.certificate import Chains, weights_digest
from coupled.inputs.dataset import load_split
from coupled.inputs.source import Source, Stream
from coupled.objectives.losses import try_out
from coupled.ranks.mesh import ALONE, Mesh
from coupled.ranks.sums import Sums
from coupled.recording.commits import Commits
from coupled.recording.layout import Layout, labellings, row_bytes, train_layout
from coupled.recording.ledger import Ledger, audited
from coupled.recording.observation import Setting
from coupled.recording.observers import observers_of
from coupled.recording.panels import Panels
from coupled.recording.recorder import Recorder
from coupled.recording.run_json import describe
from coupled.recording.schedule import SHARD_BYTES, checkpoint_steps, kept_steps, manifest_lines
from coupled.recording.writer import Writer
from coupled.store import (
    Objects,
    RunDirectory,
    RunState,
    canonical_json,
    prepare,
    read_config_digest,
    state,
)
from coupled.store.manifest import MAX_ENTRIES
from coupled.terminal.sizes import shown_bytes


@dataclass(kw_only=True)
class Parts:
    """All of a run but its directory: built from a config and nothing else."""

    config: Config
    mesh: Mesh
    device: torch.device
    arms: dict[str, Arm]
    audits: Audits
    ledger: Ledger
    moves: Moves
    source: Source
    panels: Panels
    streams: Layout
    initial_weights: bytes
    facts: dict[str, Any]

    @property
    def run_json(self) -> bytes:
        return canonical_json(self.facts) + b"\n"


def is_finished(config: Config) -> bool:
    """Is this very run already there, whole?"""
    return _is(config, "finished")


def is_unfinished(config: Config) -> bool:
    """Is this very run there, not yet whole?"""
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
    check_usable(config)
    return {name: load_split(config, name) for name in ("train", "test")}


def check_usable(config: Config) -> None:
    """UserError for all that a user can get wrong but the device and the data set."""
    if execute(config.code.files) != config.code.sha256:
        raise UserError("code.files changed", "they must be as the config found them", "load the config again")
    if Path(config.paths.runs).exists() and not Path(config.paths.runs).is_dir():
        raise UserError(f"paths.runs = {config.paths.runs}", "a folder, or a place where one can be made")
    for arm in config.arms.values():
        try_out(objective_of(arm), arm.temperature)
    _check_rows(config)
    if (lines := manifest_lines(config, train_layout(config))) > MAX_ENTRIES:
        raise UserError(f"a run of {lines} objects", f"at most {MAX_ENTRIES}", "thin out checkpoints.keep")


def _check_rows(config: Config) -> None:
    """UserError where a row of a user's own stream fills more than a shard."""
    layout = train_layout(config)
    for name in config.record.own:
        size = max(map(row_bytes, layout[stream_name(name)].values()))
        if size > SHARD_BYTES:
            raise UserError(f"record.own.{name}: a row of {shown_bytes(size)}", f"at most {shown_bytes(SHARD_BYTES)}")


def _build(config: Config, mesh: Mesh) -> Parts:
    device, splits = runtime.configure(config), ready(config)
    source = Source(config, splits["train"], labellings(config), device, mesh)
    sums = Sums(mesh.sums, device)
    arms = build_arms(config, device, mesh, sums)
    panels = Panels(config, source, splits["test"])
    shared = next(filter(_starts_shared, arms.values()), next(iter(arms.values())))
    initial = weights_digest(shared.state)
    streams = train_layout(config)
    moves = Moves(config, arms, source.at, mesh)
    audits = Audits(config, [*moves.asks, *([audited(config)] if records_ledger(config) else [])], sums)
    facts = describe(config, initial.hex(), splits, device)
    return Parts(
        config=config,
        mesh=mesh,
        device=device,
        arms=arms,
        audits=audits,
        ledger=Ledger(config, arms, audits, mesh),
        moves=moves,
        source=source,
        panels=panels,
        streams=streams,
        initial_weights=initial,
        facts=facts,
    )


def _starts_shared(arm: Arm) -> bool:
    """Does an arm start at the shared initial weights themselves?"""
    return arm.traits.starts_shared


def assemble(config: Config, *, overwrite: bool = False) -> Run | None:
    """A new run of `config`; None if it is there and finished. Raises UserError, also where another run is there."""
    return start_run(build(config), overwrite=overwrite)


def start_run(parts: Parts, *, overwrite: bool = False) -> Run | None:
    """A new run of `parts` in its directory, which is made here; None if it is there and finished. Raises UserError."""
    path, keeps = path_of(parts.config), kept_steps(parts.config).__contains__
    directory = parts.mesh.alone_on_first(
        lambda: prepare(path, parts.run_json, digest(parts.config), overwrite, keeps=keeps)
    )
    begins = parts.mesh.on_first(lambda: directory is not None)
    return join(parts, directory) if begins else None


def join(parts: Parts, directory: RunDirectory | None) -> Run:
    """The run of `parts` at its beginning; its directory is open for writing on rank 0, None elsewhere."""
    config, fingerprint, root = parts.config, parts.facts["fingerprint"], path_of(parts.config)
    writing = config.writing
    writer = Writer(asynchronous=writing.asynchronous, limit=writing.queue_mib << 20)
    commits = Commits(parts.mesh, directory or Objects(root), directory)
    observers = observers_of(Setting(config, parts.panels, parts.ledger))
    guard = Guard(config, parts.arms, commits, writer, behind=runtime.runs_behind(parts.device))
    graphs = graphs_of(config, parts.device, parts.mesh)
    recorder = Recorder(config, parts.streams, parts.arms, observers, commits, writer, fingerprint, guard, graphs)
    for acting in (*parts.arms.values(), parts.audits):
        acting.graphs = graphs
    return Run(
        config=config,
        root=root,
        arms=parts.arms,
        audits=parts.audits,
        ledger=parts.ledger,
        moves=parts.moves,
        source=parts.source,
        stream=Stream(parts.source, config.train.steps),
        graphs=graphs,
        recorder=recorder,
        guard=guard,
        chains=Chains(parts.initial_weights, own_inputs(config.arms)),
        commits=commits,
        writer=writer,
        mirrors=Mirrors(config, root, parts.mesh, recorder, writer),
        fingerprint=fingerprint,
        checkpoint_steps=frozenset(checkpoint_steps(config)),
    )
