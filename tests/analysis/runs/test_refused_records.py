"""Every way in which the records of a run can be no longer what they were, each refused with one line."""

import numpy as np
import pytest

import analysis
from coupled.errors import UserError
from coupled.store import Entry, StoreError


def test_a_truncated_shard_is_refused_before_use(spoilt):
    shard = spoilt.shard("panel", "nscl", 1)
    shard.write_bytes(shard.read_bytes()[:-1])
    run = analysis.open_run(spoilt.path)
    with pytest.raises(StoreError, match=r"panel/nscl/steps-.* bytes on disk, .* committed"):
        run.curve("cka", arm="nscl")
    assert len(run.curve("loss", arm="nscl").values) == 20  # other shards are still good


def test_a_flipped_byte_is_refused(spoilt):
    shard = spoilt.shard("scalars", "nscl", 1)
    data = bytearray(shard.read_bytes())
    data[-3] ^= 1
    shard.write_bytes(data)
    with pytest.raises(StoreError, match=r"sha256 .* on disk, .* committed"):
        analysis.open_run(spoilt.path).column("scalars", "nscl", "state.weight_gap")


def test_a_shard_is_hashed_once_per_open_run(trained, monkeypatch):
    hashed = []
    monkeypatch.setattr("coupled.reading.records.verify_object", lambda root, c: hashed.append(c.name) or root / c.name)
    run = analysis.open_run(trained)
    for _ in range(2):
        run.column("scalars", "cl", "batch.loss")
    assert len(hashed) == len(set(hashed)) > 2


def test_a_shard_of_another_run_is_refused_by_its_fingerprint(spoilt):
    spoilt.rewrite(spoilt.shard("scalars", "nscl", 1), fingerprint="f" * 64)
    with pytest.raises(StoreError, match=r"its fingerprint is f+, the run's is [0-9a-f]{64}; it is of another run"):
        analysis.open_run(spoilt.path).curve("loss", arm="nscl")


def without(name):
    return lambda tensors: tensors.pop(name)


def as_type(name, dtype):
    return lambda tensors: tensors.update({name: tensors[name].astype(dtype)})


def cut(name):
    return lambda tensors: tensors.update({name: tensors[name][..., :-1]})


@pytest.mark.parametrize(
    "stream, owner, change, said",
    [
        ("scalars", "nscl", without("batch.loss"), "lacks the column batch.loss"),
        ("scalars", "nscl", without("batch.step"), "batch.step holds none, scheduled are 1"),
        ("scalars", "nscl", as_type("batch.loss", "float32"), r"batch.loss is float32 \(9,\), .* float64 \(9,\)"),
        ("scalars", "nscl", cut("batch.loss"), r"batch.loss is float64 \(8,\), .* float64 \(9,\)"),
        ("scalars", "nscl", cut("state.step"), "state.step holds 1 2 3 4 … 8, scheduled are 1 2 3 4 … 9"),
        ("scalars", "nscl", as_type("state.step", "float64"), r"state.step is float64 \(9,\), not steps"),
        ("scalars", "nscl", lambda t: t.update({"extra": t["batch.loss"]}), "holds extra, no column of scalars"),
        ("panel", "nscl", cut("state.h"), r"state.h is float32 \(2, 32, 31\), .* float32 \(2, 32, 32\)"),
        ("panel", "shared", without("fixed.ids"), "lacks the column fixed.ids"),
        ("panel", "shared", cut("fixed.ids"), r"fixed.ids is int64 \(31,\), .* int64 \(32,\)"),
        ("similarity", "nscl", as_type("batch.z", "int32"), r"batch.z is int32 .* float32 \(9, 32, 8\)"),
    ],
)
def test_a_shard_of_other_columns_is_refused_by_file_and_column(spoilt, stream, owner, change, said):
    spoilt.rewrite(spoilt.shard(stream, owner, 1), change)
    with pytest.raises(StoreError, match=rf"{stream}/{owner}/steps-000000001-.*: {said}"):
        list(analysis.open_run(spoilt.path).stream(stream, owner))


@pytest.mark.parametrize(
    "name, first, last",
    [
        ("records/scalars/nobody/steps-000000000-000000000.safetensors", 0, 0),
        ("records/nothing/cl/steps-000000000-000000000.safetensors", 0, 0),
        ("records/scalars/cl/steps-000000000-000000000.safetensors", 0, 5),
        ("records/scalars/cl/steps-000000010-000000021.safetensors", 10, 21),
        ("records/cl", 0, 0),
    ],
)
def test_a_manifest_that_names_other_shards_is_refused(spoilt, name, first, last):
    spoilt.keep_lines(lambda entry: entry.kind == "begin")
    with (spoilt.path / "manifest.jsonl").open("ab") as file:
        file.write(Entry(1, "shard", first, last, name, 1, "0" * 64).line())
    with pytest.raises(StoreError, match=rf"manifest.jsonl: {name} is no shard of this run"):
        analysis.open_run(spoilt.path)


def test_shards_that_repeat_steps_are_refused(spoilt):
    spoilt.merge("similarity", "nscl", keep=True)
    with pytest.raises(StoreError, match="begins at step 0, the shard before it ends at 9"):
        analysis.open_run(spoilt.path).column("similarity", "nscl", "batch.z")


def test_arms_with_shards_of_other_steps_are_not_compared(spoilt):
    spoilt.merge("similarity", "nscl")
    run = analysis.open_run(spoilt.path)
    assert run.column("similarity", "nscl", "batch.z")[0].tolist() == list(range(20))
    with pytest.raises(StoreError, match="similarity/nscl and cl have shards of different steps"):
        run.curve("cka", arm="nscl", source="batch")


def test_a_missing_file_is_one_line(spoilt):
    spoilt.shard("scalars", "nscl", 1).unlink()
    with pytest.raises(StoreError, match="No such file"):
        analysis.open_run(spoilt.path).curve("loss", arm="nscl")


def test_a_hole_in_a_finished_run_is_never_passed_over(spoilt):
    shard = spoilt.shard("scalars", "nscl", 1).relative_to(spoilt.path).as_posix()
    spoilt.keep_lines(lambda entry: entry.name != shard)
    with pytest.raises(StoreError, match="scalars/nscl lacks step 1, which is scheduled"):
        analysis.open_run(spoilt.path).curve("loss", arm="nscl")


def test_a_finished_run_without_its_last_shard_is_refused(spoilt):
    shard = spoilt.shard("scalars", "nscl", 20).relative_to(spoilt.path).as_posix()
    spoilt.keep_lines(lambda entry: entry.name != shard)
    with pytest.raises(StoreError, match="scalars/nscl lacks step 20, which is scheduled"):
        analysis.open_run(spoilt.path).curve("weight_gap", arm="nscl")


def test_an_arm_without_records_is_an_error(spoilt):
    spoilt.keep_lines(lambda entry: "/similarity/nscl/" not in (entry.name or ""))
    with pytest.raises(StoreError, match="has no records similarity/nscl, which its config schedules"):
        analysis.open_run(spoilt.path).curve("cka", arm="nscl", source="batch")


def test_features_that_are_not_finite_name_arm_and_step(spoilt):
    def poison(tensors):
        tensors["state.h"][1, 5, 2] = np.nan

    spoilt.rewrite(spoilt.shard("panel", "cl", 1), poison)
    with pytest.raises(UserError, match=r"panel/cl state\.h is not finite at step 3"):
        analysis.open_run(spoilt.path).curve("cka", arm="nscl")
