"""Configs of tiny runs. Seconds matter: every one is as small as its claim allows."""

import hashlib
import json
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import replace

import torch
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode

from coupled.config import from_tables
from coupled.store import canonical_json, open_tensors, read_manifest, to_bytes
from coupled.store.rundir import begin_entry

TINY = {
    "name": "tiny",
    "data": {"name": "shapes", "labelling": "size"},
    "batches": {"size": 8},
    "views": {"size": 12},
    "model": {"width": 4, "projection_hidden": 16, "projection_dim": 8},
    "train": {"steps": 6, "threads": 1},
    "panel": {"size": 16, "surrogate_size": 4},
    "record": {"panel": {"log": 2, "last": True}},
    "checkpoints": {"keep": {"steps": [0, 3], "last": True}},
    "arms": {
        "cl": {"objective": "dcl"},
        "nscl": {"objective": "nscl"},
        "twin": {"kind": "twin"},
        "nudged": {"kind": "nudged"},
        "independent": {"kind": "independent"},
    },
}


def tables(**sections):
    """The tables of a tiny run, its sections updated (arms replaced)."""
    merged = deepcopy(TINY)
    for section, values in sections.items():
        if section == "arms" or not isinstance(values, dict):
            merged[section] = values
        else:
            merged.setdefault(section, {}).update(values)
    return merged


def tiny(folder, **sections):
    """The resolved config of a tiny run under `folder`."""
    return from_tables(tables(paths={"runs": str(folder)}, **sections))


def spoil_gradient(arm, step):
    """One number of the arm's gradient is not finite at this step."""
    forward_backward = arm.forward_backward

    def spoiled(batch, others):
        gradients = forward_backward(batch, others)
        if batch.step == step:
            arm._sums.finish()  # beside which ranks that share a batch go on: it would write over what is spoiled here
            arm.state.gradient[3] = torch.nan
            arm.moved()  # its norm was known
        return gradients

    arm.forward_backward = spoiled


def commit_run_json(path):
    """Makes the run.json that is there the one that the manifest begins with."""
    entries = read_manifest(path / "manifest.jsonl").entries
    first = begin_entry((path / "run.json").read_bytes())
    (path / "manifest.jsonl").write_bytes(b"".join(entry.line() for entry in (first, *entries[1:])))


def recommit(path, name, data):
    """Other bytes for an object of the run, committed as if they had been written so."""
    (path / name).write_bytes(data)
    sha = hashlib.sha256(data).hexdigest()
    entries = read_manifest(path / "manifest.jsonl").entries
    lines = [replace(e, size=len(data), sha256=sha) if e.name == name else e for e in entries]
    (path / "manifest.jsonl").write_bytes(b"".join(entry.line() for entry in lines))


def rewrite(path, name, change):
    """A shard, or an arm's file in a checkpoint, with its tensors changed by `change(tensors)`, committed so."""
    file = open_tensors(path / name)
    tensors, metadata = {key: array.copy() for key, array in file.items()}, dict(file.metadata)
    change(tensors)
    data = to_bytes(tensors, metadata)
    if name.startswith("records/"):
        recommit(path, name, data)
        return
    (path / name).write_bytes(data)
    folder, _, own = name.rpartition("/")
    state = json.loads((path / folder / "state.json").read_bytes())
    state["files"][own] = {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data)}
    recommit(path, f"{folder}/state.json", canonical_json(state))


class Operations(TorchDispatchMode):
    """Names of all operations that torch runs."""

    def __init__(self):
        super().__init__()
        self.names = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.names.append(str(func))
        return func(*args, **kwargs or {})


@contextmanager
def without_kinks():
    """Networks with softplus for ReLU: their gradient is smooth, so that its error is one of rounding alone."""
    relu = functional.relu
    functional.relu = lambda x, inplace=False: functional.softplus(x)
    try:
        yield
    finally:
        functional.relu = relu


def integers_of(drawn):
    """The integers of crop and colour of some views, int64 (n, 11), the same on every machine.

    top, left, height, width, flip, jittered, order (4), grey
    """
    columns = (drawn.top, drawn.left, drawn.height, drawn.width, drawn.flip, drawn.jittered, drawn.order, drawn.grey)
    return torch.cat([column.to(torch.int64).view(len(drawn), -1) for column in columns], dim=1)
