"""A tiny run with a twin, and changes to it that its hashes do not show."""

import json

from helpers import commit_run_json, recommit, rewrite, tiny

from coupled.store import canonical_json


def config_of(folder, **sections):
    arms = {"cl": {"objective": "dcl"}, "nscl": {"objective": "nscl"}, "twin": {"kind": "twin"}}
    base = {"arms": arms, "record": {"pixels": {"every": 2}}, "checkpoints": {"keep": {"steps": [0, 3], "last": True}}}
    return tiny(folder, **{**base, **sections})


def shard(run, stream, owner, first):
    (found,) = run.glob(f"records/{stream}/{owner}/steps-{first:09d}-*.safetensors")
    return found.relative_to(run).as_posix()


def tensors(run, stream, owner, first, **changes):
    """Columns of a shard changed at one row: column=(row, value) or (row, function of the old row)."""

    def change(found):
        for column, (row, value) in changes.items():
            array = found[f"batch.{column}" if f"batch.{column}" in found else column]
            array[row] = value(array[row]) if callable(value) else value

    rewrite(run, shard(run, stream, owner, first), change)


def flip(values):
    return values ^ 1


def facts(run, **changes):
    """Other facts in run.json, committed so; None takes one away."""
    content = json.loads((run / "run.json").read_bytes()) | changes
    content = {name: value for name, value in content.items() if value is not None}
    (run / "run.json").write_bytes(canonical_json(content) + b"\n")
    commit_run_json(run)


def state_of_checkpoint(run, step, **changes):
    name = f"checkpoints/step-{step:09d}/state.json"
    state = json.loads((run / name).read_bytes())
    state["state"] |= changes
    recommit(run, name, canonical_json(state))


def chain_of_checkpoint(run):
    state_of_checkpoint(run, 3, chain="0" * 64)
