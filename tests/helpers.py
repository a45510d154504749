"""Configs of tiny runs. Seconds matter: every one is as small as its claim allows."""

from copy import deepcopy

from coupled.config import from_tables
from coupled.store import read_manifest
from coupled.store.rundir import begin_entry

TINY = {
    "name": "tiny",
    "data": {"name": "shapes", "labelling": "size"},
    "batches": {"size": 8},
    "views": {"size": 12},
    "model": {"width": 4, "projection_hidden": 16, "projection_dim": 8},
    "train": {"steps": 6, "threads": 1},
    "panel": {"size": 16, "surrogate_size": 4},
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
    made = deepcopy(TINY)
    for section, values in sections.items():
        if section == "arms" or not isinstance(values, dict):
            made[section] = values
        else:
            made.setdefault(section, {}).update(values)
    return made


def tiny(folder, **sections):
    """The resolved config of a tiny run under `folder`."""
    return from_tables(tables(paths={"runs": str(folder)}, **sections))


def commit_run_json(path):
    """Makes the run.json that is there the one that the manifest begins with."""
    entries = read_manifest(path / "manifest.jsonl").entries
    first = begin_entry((path / "run.json").read_bytes())
    (path / "manifest.jsonl").write_bytes(b"".join(entry.line() for entry in (first, *entries[1:])))
