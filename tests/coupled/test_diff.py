"""Where two runs part: the step, stream, arm and layer, and nothing read that need not be."""

import json
import shutil

import numpy as np
import pytest
from helpers import rewrite, tiny
from hypothesis import given
from hypothesis import strategies as st

from coupled.cli import main
from coupled.comparison import diff
from coupled.comparison.records import _first_row
from coupled.comparison.rows import _ulps, row_difference
from coupled.driver import train

ARMS = {"cl": {"objective": "dcl"}, "nscl": {"objective": "nscl"}}


def config_of(folder, **sections):
    return tiny(folder, **{"arms": ARMS, "checkpoints": {"keep": {"steps": [0, 3], "last": True}}, **sections})


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    return train(config_of(tmp_path_factory.mktemp("diff")))


@pytest.fixture
def run(trained, tmp_path):
    return shutil.copytree(trained, tmp_path / "copy")


def places(found):
    return [(row.stream, row.owner, row.column) for row in found.rows]


def test_a_run_and_its_copy_are_equal_and_no_shard_is_opened(trained, run, capsys):
    found = diff(trained, run)
    assert found.equal and found.opened == 0 and found.facts == () and found.step is None
    assert main(["diff", str(trained), str(run)]) == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith("equal: ")


def test_another_seed_differs_in_the_inputs_and_the_start(trained, tmp_path, capsys):
    other = train(config_of(tmp_path, seed=1))
    found = diff(trained, other)
    assert found.step == 0 and found.rows[0].owner == "shared" and "inputs of that step" in found.verdict
    assert {fact.name for fact in found.facts} == {"seed", "certificate.seed", "certificate.initial_weights"}
    assert main(["diff", str(trained), str(other)]) == 1
    out = capsys.readouterr().out
    assert "seed" in out and out.splitlines()[-1] == found.verdict


def test_another_temperature_of_one_arm_leaves_inputs_and_the_other_arm_alone(trained, tmp_path):
    found = diff(trained, train(config_of(tmp_path, arms={**ARMS, "nscl": {"objective": "nscl", "temperature": 0.2}})))
    assert [(fact.name, fact.kind, fact.a, fact.b) for fact in found.facts] == [
        ("arms.nscl.temperature", "identity", 0.5, 0.2)
    ]
    assert found.step == 0 and places(found)[0] == ("scalars", "nscl", "batch.loss")
    assert all(owner == "nscl" or "loss_of.nscl" in column for _, owner, column in places(found))
    assert {state.arm for state in found.states if state.layers} == {"nscl"}
    assert all(value == 0 for _, arm, value in found.growth if arm == "cl")


def test_a_rate_that_differs_later_is_found_where_it_does(trained, tmp_path):
    """A cosine to 0 at 6 steps, and one to 0 at 7, both after 2 steps of warm-up."""
    runs = [train(config_of(tmp_path / str(h), optimiser={"warmup": 2, "horizon": h})) for h in (6, 7)]
    found = diff(*runs)
    assert found.step == 3 and places(found)[0] == ("scalars", "shared", "batch.learning_rate")
    assert found.rows[0].meaning(3).startswith("the inputs")
    assert [fact.name for fact in found.facts] == ["optimiser.horizon"]


def shard(run, stream, owner, first):
    (found,) = run.glob(f"records/{stream}/{owner}/steps-{first:09d}-*.safetensors")
    return found.relative_to(run).as_posix()


@pytest.mark.parametrize(
    ("stream", "column", "row", "layer"),
    [
        ("similarity", "batch.z", 1, False),
        ("layers", "update.norm", 2, True),
        ("scalars", "batch.loss", 0, False),
    ],
)
def test_one_ulp_in_one_row_is_found_where_it_is(stream, column, row, layer, trained, run):
    name = shard(run, stream, "nscl", 3)

    def change(tensors):
        values = tensors[column][row]
        at = 0 if values.ndim == 0 else np.unravel_index(2, values.shape)
        target = tensors[column]
        where = (row,) if values.ndim == 0 else (row, *at)
        target[where] = np.nextafter(target[where], np.array(np.inf, target.dtype))

    rewrite(run, name, change)
    found = diff(trained, run)
    assert (found.step, places(found)) == (3 + row, [(stream, "nscl", column)])
    assert (found.rows[0].differing, found.rows[0].ulps) == (1, 1)
    names = [layer["name"] for layer in json.loads((run / "run.json").read_bytes())["layers"]]
    assert found.rows[0].layer == (names[2] if layer else "")
    assert "1 ulp" in found.verdict and not found.equal


def test_only_shards_whose_hashes_differ_are_searched(trained, run):
    rewrite(run, shard(run, "scalars", "nscl", 3), lambda t: t["batch.loss"].__setitem__(0, 9.0))
    from coupled.comparison import records

    opened = []
    real = records.Shards.open
    try:
        records.Shards.open = lambda self, *a: (opened.append(a), real(self, *a))[1]
        from coupled.comparison import Records, first_difference
        from coupled.opened import read_run
        from coupled.shards import Shards

        sides = []
        for path in (trained, run):
            facts, config, manifest = read_run(path)
            sides.append(Shards(path, config, manifest, facts["fingerprint"], verified=False))
        assert first_difference(Records(*sides, layers=[]), compare_layers=False)[0] == 3
    finally:
        records.Shards.open = real
    searched = {(stream, owner, entry.first) for stream, owner, entry in opened}
    assert ("scalars", "nscl", 0) not in searched and ("similarity", "cl", 0) not in searched


def test_a_checkpoint_that_differs_alone_is_named_with_its_layers(trained, run):
    def change(tensors):
        tensors["weights.encoder.stem.weight"].flat[0] += 1

    rewrite(run, "checkpoints/step-000000003/nscl.safetensors", change)
    found = diff(trained, run)
    assert found.step is None and not found.equal and "checkpoint at step 3, arm nscl" in found.verdict
    (state,) = [state for state in found.states if state.layers]
    assert [layer.name for layer in state.layers] == ["weights.encoder.stem.weight"] and state.layers[0].largest == 1


def test_longer_and_otherwise_recorded_runs_are_compared_where_both_recorded(trained, tmp_path):
    longer = train(config_of(tmp_path / "a", train={"steps": 9}, optimiser={"horizon": 6 + 3}))
    base = train(config_of(tmp_path / "b", optimiser={"horizon": 9}))
    found = diff(base, longer)
    assert found.equal and found.reach == (6, 9)
    assert [(fact.name, fact.kind) for fact in found.facts] == [("train.steps", "recorded")]
    sparse = train(config_of(tmp_path / "c", record={"similarity": {"every": 4}, "pixels": {"log": 0}}))
    found = diff(trained, sparse)
    assert found.equal and "only in A: pixels/shared" in found.only


def test_an_unfinished_run_is_compared_as_far_as_it_is(trained, run):
    from coupled.store import read_manifest

    entries = read_manifest(run / "manifest.jsonl").entries
    (run / "manifest.jsonl").write_bytes(b"".join(entry.line() for entry in entries[: len(entries) // 2]))
    assert diff(trained, run).equal


def test_another_network_is_compared_in_its_inputs_and_losses(trained, tmp_path):
    found = diff(trained, train(config_of(tmp_path, model={"width": 8})))
    assert found.step == 0 and not any(row.stream == "layers" for row in found.rows)
    assert any("state.h of panel" in words for words in found.only)


def test_a_damaged_shard_is_named_with_exit_code_3(trained, run, capsys):
    rewrite(run, shard(run, "scalars", "nscl", 3), lambda t: t["batch.loss"].__setitem__(0, 9.0))
    file = run / shard(run, "scalars", "nscl", 3)
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    assert main(["diff", str(trained), str(run)]) == 3
    assert "scalars/nscl" in capsys.readouterr().err


def test_bytes_decide_not_values():
    zero, nan = np.array([0.0, np.nan, 1.0]), np.array([-0.0, np.nan, 1.0])
    row = row_difference("s", "a", "batch.z", zero, nan, [])
    assert (row.differing, row.total, row.largest, row.ulps, row.nans) == (1, 3, 0.0, 1, 0)
    assert row_difference("s", "a", "batch.z", zero, zero.copy(), []) is None
    row = row_difference("s", "a", "batch.z", zero, np.array([0.0, 2.0, 1.0]), [])
    assert (row.differing, row.nans) == (1, 1) and np.isnan(row.largest)


@given(st.floats(-(2.0**100), 2.0**100, width=32), st.integers(0, 5))
def test_ulps_count_the_floats_between(x, count):
    y = np.float32(x)
    for _ in range(count):
        y = np.nextafter(y, np.float32(np.inf))
    crossed = bool(np.signbit(np.float32(x)) and not np.signbit(y))  # −0 and 0 are one apart
    assert _ulps(np.array([x], np.float32), np.array([y])) == count + crossed


@given(st.data())
def test_the_first_row_is_that_of_a_scan(data):
    steps = [np.unique(data.draw(st.lists(st.integers(0, 20), min_size=1))) for _ in "ab"]
    rows = [np.array([[data.draw(st.integers(0, 1)) for _ in range(3)] for _ in s], np.int64) for s in steps]
    common = [t for t in steps[0] if t in steps[1]]
    scan = [t for t in common if rows[0][steps[0] == t].tobytes() != rows[1][steps[1] == t].tobytes()]
    assert _first_row(steps[0], rows[0], steps[1], rows[1]) == (scan[0] if scan else None)
