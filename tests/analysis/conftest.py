"""One tiny trained run for the whole folder, and ways to damage a copy of it."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import tiny

import analysis
from coupled.config import from_tables
from coupled.driver.assembly import assemble
from coupled.driver.loop import lockstep
from coupled.driver.reporter import Silent
from coupled.driver.train import train
from coupled.store import (
    Committed,
    Entry,
    commit_object,
    open_tensors,
    read_manifest,
    shard_name,
    to_bytes,
)
from coupled.store.fs import REAL

STEPS = 20


@pytest.fixture(scope="session")
def trained(tmp_path_factory) -> Path:
    torch.set_num_threads(1)
    config = from_tables(
        {
            "name": "tiny",
            "data": {"name": "shapes", "labelling": "shape"},
            "batches": {"size": 16},
            "views": {"size": 12},
            "model": {"width": 4, "projection_hidden": 16, "projection_dim": 8},
            "train": {"steps": STEPS},
            "panel": {"size": 32, "surrogate_size": 8},
            "record": {"panel": {"log": 2, "last": True}},
            "paths": {"runs": str(tmp_path_factory.mktemp("runs"))},
            "arms": {
                "cl": {"objective": "dcl"},
                "nscl": {"objective": "nscl"},
                "fine": {"objective": "nscl", "labelling": "shape*colour", "reference": "nscl"},
                "twin": {"kind": "twin"},
                "nudged": {"kind": "nudged"},
                "independent": {"kind": "independent"},
            },
        }
    )
    return train(config)


@pytest.fixture(scope="module")
def run(trained):
    return analysis.open_run(trained)


@pytest.fixture(scope="module")
def found(run):
    return analysis.curves(run)


@pytest.fixture(scope="session")
def strayed(tmp_path_factory) -> Path:
    """A run whose twin has another projector and the same encoder, and moves too little for the encoder to follow."""
    config = tiny(tmp_path_factory.mktemp("strayed"), train={"steps": 2}, optimiser={"learning_rate": 1e-30})
    run = assemble(config)
    assert run is not None
    with run:
        run.arms["twin"].state.named_weights()["projector.linear2.weight"][0, 0] += 0.5
        lockstep(run, Silent())
    return run.root


class Copy:
    """A run directory that a test may spoil."""

    def __init__(self, path: Path):
        self.path = path

    def shard(self, stream, arm, first):
        (found,) = self.path.glob(f"records/{stream}/{arm}/steps-{first:09d}-*.safetensors")
        return found

    def keep_lines(self, keep):
        """The manifest with only the lines that `keep` (entry → bool) wants, numbered anew."""
        entries = [entry for entry in read_manifest(self.path / "manifest.jsonl").entries if keep(entry)]
        lines = [replace(entry, seq=seq).line() for seq, entry in enumerate(entries)]
        (self.path / "manifest.jsonl").write_bytes(b"".join(lines))

    def merge(self, stream, owner, keep=False):
        """The shards of the first ten steps as one in place of the first; with `keep` the others stay as well."""
        shards = [self.shard(stream, owner, first) for first in (0, 1)]
        files = [open_tensors(shard) for shard in shards]
        tensors = {name: np.concatenate([file[name] for file in files]) for name in files[0]}
        name = shard_name(stream, owner, 0, 9)
        done = commit_object(REAL, self.path, name, to_bytes(tensors, files[0].metadata))
        merged = Entry(0, "shard", 0, 9, name, done.size, done.sha256)
        names = [shard.relative_to(self.path).as_posix() for shard in shards]
        lines = []
        for entry in read_manifest(self.path / "manifest.jsonl").entries:
            lines += [merged] if entry.name == names[0] else []
            lines += [entry] if keep or entry.name not in names else []
        lines = [replace(entry, seq=seq).line() for seq, entry in enumerate(lines)]
        (self.path / "manifest.jsonl").write_bytes(b"".join(lines))

    def rewrite(self, shard, change=lambda tensors: None, fingerprint=None):
        """The shard with changed tensors or fingerprint, committed as if it had been written so."""
        file = open_tensors(shard)
        tensors = {name: array.copy() for name, array in file.items()}
        change(tensors)
        data = to_bytes(tensors, {"fingerprint": fingerprint or file.metadata["fingerprint"]})
        shard.unlink()
        name = shard.relative_to(self.path).as_posix()
        done: Committed = commit_object(REAL, self.path, name, data)
        entries = read_manifest(self.path / "manifest.jsonl").entries
        lines = [replace(e, size=done.size, sha256=done.sha256) if e.name == name else e for e in entries]
        (self.path / "manifest.jsonl").write_bytes(b"".join(entry.line() for entry in lines))


@pytest.fixture
def spoilt(trained, tmp_path) -> Copy:
    return Copy(Path(shutil.copytree(trained, tmp_path / "spoilt", ignore=shutil.ignore_patterns("analysis"))))
