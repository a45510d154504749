"""Where two runs part: the step, stream, arm and layer, and nothing read that need not be."""

import json
import shutil

import numpy as np
import pytest
from helpers import recommit, rewrite, tiny
from hypothesis import given, settings
from hypothesis import strategies as st

from coupled.cli import main
from coupled.comparison import diff
from coupled.comparison.records import first_row
from coupled.comparison.rows import row_difference, ulps
from coupled.driver.train import train
from coupled.reading import records
from coupled.store import StoreError, canonical_json, open_tensors, read_manifest

pytestmark = pytest.mark.slow  # runs of their own; others of the fast ones train, resume and read as well

CHECKPOINT = "checkpoints/step-000000003/nscl.safetensors"
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
    assert "the inputs of that step differ" in found.verdict
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
    assert (found.rows[0].differing, found.rows[0].sizes.ulps) == (1, 1)
    names = [layer["name"] for layer in json.loads((run / "run.json").read_bytes())["layers"]]
    assert found.rows[0].layer == (names[2] if layer else "")
    assert "1 ulp" in found.verdict and not found.equal


def test_only_the_shard_that_differs_is_opened(trained, run, monkeypatch):
    """One shard of each run; that no embedding moved is read off the hashes."""
    name = shard(run, "scalars", "nscl", 3)
    rewrite(run, name, lambda t: t["batch.loss"].__setitem__(0, 9.0))
    opened, real = [], records.open_tensors
    monkeypatch.setattr(records, "open_tensors", lambda path: (opened.append(path), real(path))[1])
    found = diff(trained, run)
    assert sorted(opened) == sorted([trained / name, run / name]) and found.opened == 2
    assert found.growth and all(value == 0 for _, _, value in found.growth)


def test_panels_of_other_labels_are_not_equal(trained, run, capsys):
    def change(tensors):
        tensors["fixed.labels.size"][0] += 1

    rewrite(run, shard(run, "panel", "shared", 0), change)
    found = diff(trained, run)
    assert found.step is None and not found.equal and [row.column for row in found.fixed] == ["fixed.labels.size"]
    assert main(["diff", str(trained), str(run)]) == 1
    assert capsys.readouterr().out.splitlines()[-1].startswith("first difference: fixed.labels.size of panel/shared")


def test_a_checkpoint_before_the_first_row_that_differs_comes_first(trained, run):
    rewrite(run, shard(run, "scalars", "nscl", 3), lambda t: t["batch.loss"].__setitem__(2, 9.0))
    rewrite(run, CHECKPOINT, lambda t: t["weights.encoder.stem.weight"].flat.__setitem__(0, 9.0))
    found = diff(trained, run)
    assert found.step == 5 and "checkpoint at step 3, arm nscl, weights.encoder.stem.weight" in found.verdict
    assert found.verdict.endswith("the update from step 2 differed")


def test_a_chain_that_differs_in_a_checkpoint_alone_is_not_equal(trained, run):
    name = "checkpoints/step-000000003/state.json"
    saved = json.loads((run / name).read_bytes())
    saved["state"]["chain"] = "0" * 64
    recommit(run, name, canonical_json(saved))
    found = diff(trained, run)
    assert found.chain == 3 and not found.equal and "step 3, the chain of inputs" in found.verdict


def test_a_cause_that_nothing_recorded_is_not_ruled_out(tmp_path):
    """A rate that differs at step 3; scalars are recorded at 0 and 5, embeddings at every step."""
    sparse = {"scalars": {"every": 5}, "layers": {"every": 0}, "motion": {"every": 0}, "pixels": {"log": 0}}
    runs = [train(config_of(tmp_path / str(h), record=sparse, optimiser={"warmup": 2, "horizon": h})) for h in (6, 7)]
    found = diff(*runs)
    assert found.step == 4 and places(found)[0] == ("similarity", "cl", "batch.z")
    assert "draws and learning rate, weights, pixels not recorded there by both; if they were equal" in found.verdict


def test_the_last_step_before_it_that_both_recorded_is_named(trained, tmp_path):
    """Recorded by both: steps 0, 4 (and states 0, 4)."""
    every = {stream: {"every": 4} for stream in ("scalars", "layers", "motion", "similarity")}
    nothing = {stream: {"log": 0, "last": False} for stream in ("panel", "surrogate")}
    config = {"record": {**every, **nothing, "pixels": {"log": 0}}, "checkpoints": {"keep": {"steps": [0]}}}
    run = train(config_of(tmp_path, **config))
    other = shutil.copytree(run, tmp_path / "other")
    rewrite(other, shard(other, "scalars", "nscl", 0), lambda t: t["batch.loss"].__setitem__(1, 9.0))
    assert diff(run, other).verdict.endswith("the last step before it that both recorded is 0")


def test_a_checkpoint_that_differs_alone_is_named_with_its_layers(trained, run):
    name = "weights.encoder.stem.weight"

    def change(tensors):
        tensors[name].flat[0] += 1

    rewrite(run, CHECKPOINT, change)
    found = diff(trained, run)
    assert found.step is None and not found.equal and "checkpoint at step 3, arm nscl" in found.verdict
    (state,) = [state for state in found.states if state.layers]
    (layer,) = state.layers
    # w + 1 is rounded to float32: it is the difference of what the two files hold that is found, exactly in float64.
    before, after = (float(open_tensors(path / CHECKPOINT)[name].flat[0]) for path in (trained, run))
    assert (layer.name, layer.sizes.largest) == (name, after - before)


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
    entries = read_manifest(run / "manifest.jsonl").entries
    (run / "manifest.jsonl").write_bytes(b"".join(entry.line() for entry in entries[: len(entries) // 2]))
    found = diff(trained, run)
    assert found.equal and found.verdict.endswith("(A to step 6; B to step 5, unfinished)")
    (run / "manifest.jsonl").write_bytes(entries[0].line())
    found = diff(trained, run)
    assert not found.equal and found.verdict.startswith("nothing to compare")


def test_runs_without_a_common_arm_are_compared_in_their_inputs(trained, tmp_path, capsys):
    other = train(config_of(tmp_path, arms={"x": {"objective": "dcl"}}))
    found = diff(trained, other)
    assert found.equal and found.verdict.endswith("no arm is in both") and "only in B: similarity/x" in found.only
    assert main(["diff", str(trained), str(other)]) == 0
    assert "arms.x.objective" in capsys.readouterr().out


def test_another_network_is_compared_in_its_inputs_and_losses(trained, tmp_path):
    found = diff(trained, train(config_of(tmp_path, model={"width": 8})))
    assert found.step == 0 and not any(row.stream == "layers" for row in found.rows)
    assert any("state.h of panel" in words for words in found.only)
    assert "not comparable: layers, as the networks differ" in found.only
    assert all("weights.encoder.stem.weight" in state.unmatched for state in found.states)


def test_a_damaged_shard_is_named_with_exit_code_3(trained, run, capsys):
    rewrite(run, shard(run, "scalars", "nscl", 3), lambda t: t["batch.loss"].__setitem__(0, 9.0))
    file = run / shard(run, "scalars", "nscl", 3)
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    assert main(["diff", str(trained), str(run)]) == 3
    assert "scalars/nscl" in capsys.readouterr().err


def test_steps_that_are_not_scheduled_are_damage(trained, run):
    rewrite(run, shard(run, "scalars", "nscl", 3), lambda t: t["batch.step"].__setitem__(1, 3))
    with pytest.raises(StoreError, match="batch.step holds 3 3 5, scheduled are 3 4 5"):
        diff(trained, run)


def sizes(one, other, **of):
    return row_difference("s", "a", "batch.z", np.array(one, **of), np.array(other, **of), []).sizes


def test_bytes_decide_not_values():
    zero, negative = np.array([0.0, np.nan, 1.0]), np.array([-0.0, np.nan, 1.0])
    row = row_difference("s", "a", "batch.z", zero, negative, [])
    assert (row.differing, row.total, row.sizes.largest, row.sizes.ulps, row.sizes.zeros) == (1, 3, 0.0, 1, 1)
    assert row.size == "1 of 3 elements, largest 0 (1 ulp), 1 of 0 and −0"
    assert row_difference("s", "a", "batch.z", zero, zero.copy(), []) is None


def test_what_is_not_finite_is_counted_apart():
    inf = np.inf
    found = sizes([0.0, np.nan, inf, inf, 1.0], [2.0, 1.0, -inf, inf, 1.5])
    assert (found.largest, found.relative, found.nans, found.infinite, found.payloads) == (2.0, 1.0, 1, 1, 0)
    assert np.isnan(sizes([np.nan], [1.0]).largest)
    payloads = [np.array([bits], np.uint32).view(np.float32) for bits in (0x7FC00000, 0x7FC00001)]
    row = row_difference("s", "a", "batch.z", *payloads, [])
    assert row.size == "1 of 1 elements, 1 NaN in both, of other bits"


def test_digests_differ_by_the_digest():
    one = np.zeros((4, 16), np.uint8)
    other = one.copy()
    other[2, 3:5] = 7
    assert row_difference("pixels", "shared", "batch.pixels_digest", one, other, []).size == "1 of 4 digests"


def test_the_first_and_the_largest_layer_are_named():
    row = row_difference("layers", "a", "update.norm", np.zeros(3), np.array([0.0, 1.0, 2.0]), ["x", "y", "z"])
    assert (row.layer, row.largest_layer, row.layers) == ("y", "z", "y, most z")


@given(st.floats(-(2.0**100), 2.0**100, width=32), st.integers(0, 5))
def test_ulps_count_the_floats_between(x, count):
    y = np.float32(x)
    for _ in range(count):
        y = np.nextafter(y, np.float32(np.inf))
    crossed = bool(np.signbit(np.float32(x)) and not np.signbit(y))  # −0 and 0 are one apart
    assert ulps(np.array([x], np.float32), np.array([y])) == count + crossed


@given(st.data())
def test_the_first_row_is_that_of_a_scan(data):
    steps = [np.unique(data.draw(st.lists(st.integers(0, 20), min_size=1))) for _ in "ab"]
    rows = [np.array([[data.draw(st.integers(0, 1)) for _ in range(3)] for _ in s], np.int64) for s in steps]
    common = [t for t in steps[0] if t in steps[1]]
    scan = [t for t in common if rows[0][steps[0] == t].tobytes() != rows[1][steps[1] == t].tobytes()]
    assert first_row(steps[0], rows[0], steps[1], rows[1]) == (scan[0] if scan else None)
    before = data.draw(st.integers(0, 20))
    below = [t for t in scan if t < before]
    assert first_row(steps[0], rows[0], steps[1], rows[1], before) == (below[0] if below else None)


# Weights of a step, its batch's shared values, what each arm makes of them: any of it may be the first to differ.
CHANGED = [
    ("scalars", "shared", "batch.learning_rate"),
    ("scalars", "cl", "state.norm"),
    ("scalars", "nscl", "batch.loss"),
    ("layers", "nscl", "update.norm"),
    ("similarity", "cl", "batch.z"),
    ("similarity", "shared", "batch.ids"),
]


def scanned(a, b):
    """The oracle: every step of every shard of two runs of one layout, one after the other."""
    found = []
    for path in a.glob("records/*/*/*.safetensors"):
        one, other = open_tensors(path), open_tensors(b / path.relative_to(a))
        stream, owner = path.parts[-3:-1]
        for column in (name for name in one if not name.startswith("fixed.") and not name.endswith(".step")):
            steps = one[f"{column.partition('.')[0]}.step"].tolist()
            pairs = zip(steps, one[column], other[column], strict=True)
            found += [(t, (stream, owner, column)) for t, x, y in pairs if x.tobytes() != y.tobytes()]
    first = min(step for step, _ in found)
    return first, {place for step, place in found if step == first}


@settings(max_examples=15)
@given(st.lists(st.tuples(st.sampled_from(CHANGED), st.integers(0, 5)), min_size=1, max_size=3))
def test_the_first_difference_of_two_runs_is_that_of_a_scan(trained, tmp_path_factory, changes):
    other = shutil.copytree(trained, tmp_path_factory.mktemp("changed") / "run")
    for (stream, owner, column), step in changes:
        first = 0 if step < 3 else 3

        def change(tensors, column=column, row=step - first):
            tensors[column][row : row + 1] += 1

        rewrite(other, shard(other, stream, owner, first), change)
    found = diff(trained, other)
    assert (found.step, set(places(found))) == scanned(trained, other)
