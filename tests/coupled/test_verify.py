"""What `verify` proves, and that each of its checks sees what only it can see: hashes fit in all of these runs."""

import json
import shutil

import numpy as np
import pytest
from helpers import commit_run_json, recommit, rewrite, tiny

from coupled.cli import main
from coupled.driver import train
from coupled.errors import UserError
from coupled.store import StoreError, canonical_json, read_manifest
from coupled.verification import verify


def config_of(folder, **sections):
    arms = {"cl": {"objective": "dcl"}, "nscl": {"objective": "nscl"}, "twin": {"kind": "twin"}}
    base = {"arms": arms, "record": {"pixels": {"every": 2}}, "checkpoints": {"keep": {"steps": [0, 3]}}}
    return tiny(folder, **{**base, **sections})


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    return train(config_of(tmp_path_factory.mktemp("verify")))


@pytest.fixture
def run(trained, tmp_path):
    return shutil.copytree(trained, tmp_path / "run")


def shard(run, stream, owner, first):
    (found,) = run.glob(f"records/{stream}/{owner}/steps-{first:09d}-*.safetensors")
    return found.relative_to(run).as_posix()


def test_a_good_run_is_verified_in_words_that_name_the_figures(run):
    found = verify(run, replay=2, stretch=2)
    said = "\n".join(found.proven)
    for words in (
        "bytes: ", "through 6 recorded steps (to step 5)", "2 checkpoints carry", "6 steps (0, 1, 2, 3, 4, 5)",
        "48 views of 3 steps (0, 2, 4)", "panel and surrogate", "twin is at distance 0 from cl at all 7",
        "steps 0 to 2, 3 to 5: every recorded byte",
    ):  # fmt: skip
        assert words in said, words
    assert found.finished and found.unproven == ()
    assert any("floats" in word for word in verify(run).unproven)


def test_the_command_ends_in_a_verdict(run, capsys):
    assert main(["verify", str(run)]) == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith(f"verified: {run} is the run")
    (run / "records").rename(run / "gone")
    assert main(["verify", str(run)]) == 3
    assert main(["verify", str(run / "nothing")]) == 2
    assert main(["verify", str(run), "--sample", "0"]) == 2


def tensors(run, stream, owner, first, **changes):
    """Columns of a shard changed at one row: column=(row, value) or (row, function of the old row)."""

    def change(found):
        for column, (row, value) in changes.items():
            array = found[f"batch.{column}" if f"batch.{column}" in found else column]
            array[row] = value(array[row]) if callable(value) else value

    rewrite(run, shard(run, stream, owner, first), change)


def flip(values):
    return values ^ 1


def labels(run):
    tensors(run, "similarity", "shared", 3, **{"labels.size": (1, flip)})


def panel_ids(run):
    rewrite(run, shard(run, "panel", "shared", 0), lambda t: t["fixed.ids"].__setitem__(0, t["fixed.ids"][0] + 1))


def draws_of_surrogate(run):
    rewrite(run, shard(run, "surrogate", "shared", 0), lambda t: t["fixed.draws"].__setitem__((0, 0, 0), 7))


def rate(run):
    tensors(run, "scalars", "shared", 3, learning_rate=(0, 0.299))


def twin(run):
    rewrite(run, shard(run, "scalars", "twin", 3), lambda t: t["state.distance"].__setitem__(1, 1e-300))


def chain_of_checkpoint(run):
    name = "checkpoints/step-000000003/state.json"
    state = json.loads((run / name).read_bytes())
    state["state"]["chain"] = "0" * 64
    recommit(run, name, canonical_json(state))


def initial_weights(run):
    rewrite(run, "checkpoints/step-000000000/nscl.safetensors", one_ulp)


def one_ulp(found):
    name = next(name for name in found if name.startswith("weights."))
    found[name].flat[0] = np.nextafter(found[name].flat[0], np.float32(np.inf))


def certificate(run):
    facts = json.loads((run / "run.json").read_bytes())
    facts["certificate"]["initial_weights"] = "0" * 64
    (run / "run.json").write_bytes(canonical_json(facts) + b"\n")
    commit_run_json(run)


def lost_line(run):
    name = shard(run, "layers", "nscl", 3)
    lines = [line for line in (run / "manifest.jsonl").read_bytes().splitlines() if name.encode() not in line]
    (run / name).unlink()
    renumber(run, lines)


def renumber(run, lines):
    from dataclasses import replace

    from coupled.store.manifest import parse_line

    entries = [replace(parse_line(line + b"\n"), seq=seq) for seq, line in enumerate(lines)]
    (run / "manifest.jsonl").write_bytes(b"".join(entry.line() for entry in entries))


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (rate, "learning rate of step 3"),
        (lambda run: tensors(run, "scalars", "shared", 3, chain=(1, flip)), "chain breaks at step 4"),
        (lambda run: tensors(run, "scalars", "shared", 3, ids_digest=(0, flip)), "chain breaks at step 3"),
        (lambda run: tensors(run, "scalars", "shared", 0, draws_digest=(2, flip)), "chain breaks at step 2"),
        (lambda run: tensors(run, "similarity", "shared", 3, ids=(2, flip)), "batch.ids of step 5"),
        (lambda run: tensors(run, "similarity", "shared", 3, visits=(2, flip)), "batch.visits of step 5"),
        (labels, r"batch.labels.size of step 4"),
        (lambda run: tensors(run, "pixels", "shared", 3, pixels_digest=(0, flip)), "pixels of step 4"),
        (panel_ids, "fixed.ids of the panel"),
        (draws_of_surrogate, "fixed.draws of the surrogate"),
        (twin, "exact twin twin is 1e-300 from cl at step 4"),
        (chain_of_checkpoint, "checkpoint at step 3 carries another chain"),
        (initial_weights, "of arm nscl is not what the seed gives"),
        (certificate, "chain breaks at step 0|digest of the initial weights"),
        (lost_line, "the config has shard records/layers/nscl"),
    ],
)
def test_what_hashes_cannot_see_is_seen_and_named(spoil, said, run):
    spoil(run)
    with pytest.raises(StoreError, match=said):
        verify(run)


def z_row(run):
    rewrite(run, shard(run, "similarity", "nscl", 3), lambda t: t["batch.z"].__setitem__((1, 0, 0), 0.25))


def trained_weights(run):
    rewrite(run, "checkpoints/step-000000003/nscl.safetensors", one_ulp)


@pytest.mark.parametrize(
    ("spoil", "said"), [(z_row, "batch.z of similarity/nscl at step 4"), (trained_weights, "trained again")]
)
def test_only_training_again_sees_another_float(spoil, said, run):
    spoil(run)
    verify(run)
    with pytest.raises(StoreError, match=said):
        verify(run, replay=3)


def test_another_library_is_named_as_what_may_be_the_cause(run):
    facts = json.loads((run / "run.json").read_bytes())
    facts["versions"]["torch"] = "1.0"
    (run / "run.json").write_bytes(canonical_json(facts) + b"\n")
    commit_run_json(run)
    z_row(run)
    with pytest.raises(StoreError, match=r"other conditions: versions.torch was 1.0"):
        verify(run, replay=3)
    tensors(run, "pixels", "shared", 3, pixels_digest=(0, flip))
    assert any("pixels of step 4 differ here, under other conditions" in word for word in verify(run).unproven)


def test_an_unfinished_run_is_verified_up_to_its_last_commit(run):
    entries = read_manifest(run / "manifest.jsonl").entries
    (run / "manifest.jsonl").write_bytes(b"".join(entry.line() for entry in entries[:-9]))
    found = verify(run)
    assert not found.finished and any("is not committed" in word for word in found.unproven)


WAYS = {
    "balanced": {"batches": {"stream": "balanced", "size": 8}},
    "log-spaced": {"record": {"scalars": {"every": 0, "log": 2}, "similarity": {"every": 4}}},
    "nothing": {"record": {s: {"every": 0, "log": 0, "last": False} for s in
                           ("scalars", "layers", "similarity", "panel", "surrogate", "pixels")}},
    "adamw, ce": {"optimiser": {"name": "adamw", "learning_rate": 1e-3}, "arms": {"ce": {"objective": "ce"}}},
    "recovery": {"checkpoints": {"keep": {"steps": [2]}, "recovery": {"every": 1}}},
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
def test_whatever_is_trained_and_recorded_can_be_verified(way, tmp_path):
    found = verify(train(config_of(tmp_path, **WAYS[way])), replay=1, stretch=3)
    if way == "log-spaced":
        assert any("1 steps between them drawn again" in word for word in found.proven)
    if way == "nothing":
        assert any("no step of the stream scalars" in word for word in found.unproven)


def test_a_data_set_that_is_not_here_is_said_and_the_rest_still_checked(tmp_path):
    config = config_of(
        tmp_path, data={"name": "fashion-mnist", "labelling": "class"}, train={"steps": 2}, views={"size": 28}
    )
    path = train(config)
    assert verify(path).proven[4].startswith("made again")
    found = verify(path, data=str(tmp_path / "nowhere"))
    assert any("views: not made again, the data set is not here" in word for word in found.unproven)
    assert any("drawn again: ids and draws of 2 steps" in word for word in found.proven)
    with pytest.raises(UserError, match="needs the data set"):
        verify(path, data=str(tmp_path / "nowhere"), replay=1)
