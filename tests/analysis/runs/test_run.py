"""Opening a run: what it says of itself, and every way its records can be not what they were."""

import json
import shutil
import tracemalloc

import numpy as np
import pytest
from helpers import commit_run_json

import analysis
from coupled.config import Config, Schedule, fingerprint, from_resolved
from coupled.config.schema import Record, Train
from coupled.errors import UserError
from coupled.reading.records import Records
from coupled.recording.run_json import SCHEMA
from coupled.recording.schedule import due, schedule_of
from coupled.store import Entry, StoreError, digest, open_tensors


def test_a_run_says_what_it_is(trained):
    run = analysis.open_run(trained)
    assert (run.name, run.finished, run.steps, run.planned_steps, run.precision) == ("tiny", True, 20, 20, "float32")
    assert list(run.arms) == ["cl", "nscl", "fine", "twin", "nudged", "independent"]
    assert (run.arms["fine"].labelling, run.arms["fine"].reference) == ("shape*colour", "nscl")
    twin, nudged = run.arms["twin"], run.arms["nudged"]
    assert (twin.kind, twin.of, twin.objective, twin.temperature) == ("twin", "cl", "dcl", 0.5)
    assert (nudged.scale, nudged.draw) == ("ulp", 1)


def test_a_column_is_the_shards_one_after_another(trained):
    steps, values = analysis.open_run(str(trained)).column("scalars", "nscl", "state.weight_gap")
    assert steps.tolist() == list(range(21)) and steps.dtype == np.int64
    shards = sorted(trained.glob("records/scalars/nscl/*.safetensors"))
    assert len(shards) > 2
    assert np.array_equal(values, np.concatenate([open_tensors(shard)["state.weight_gap"] for shard in shards]))


def test_what_needs_a_batch_ends_before_the_last_state(trained):
    steps, values = analysis.open_run(trained).column("layers", "cl", "batch.gradient_norm")
    assert steps.tolist() == list(range(20)) and values.ndim == 2


def test_shards_are_mapped_and_cannot_be_written(trained):
    shard = next(analysis.open_run(trained).stream("panel", "cl"))
    assert not shard["state.h"].flags.owndata and not shard["state.h"].flags.writeable


def test_fixed_columns_are_read_as_they_are(trained):
    run = analysis.open_run(trained)
    assert run.fixed("panel", "fixed.ids").shape == run.fixed("panel", "fixed.labels.shape").shape == (32,)
    with pytest.raises(UserError, match=r"did you mean fixed\.labels\.shape\?"):
        run.fixed("panel", "fixed.labels.shap")


@pytest.mark.parametrize(
    "where, said",
    [
        (("scalar", "cl", "batch.loss"), "unknown stream scalar; .* did you mean scalars?"),
        (("scalars", "nscx", "batch.loss"), "unknown arm nscx; allowed: cl, nscl, .*; did you mean nscl?"),
        (("scalars", "cl", "batch.los"), r"unknown column of scalars/cl batch.los; .*did you mean batch.loss\?"),
        (("scalars", "cl", "state.weight_gap"), "unknown column of scalars/cl state.weight_gap"),
        (("panel", "shared", "fixed.ids"), "unknown column of panel/shared"),
    ],
)
def test_what_is_not_recorded_is_one_clear_line(trained, where, said):
    with pytest.raises(UserError, match=said) as error:
        analysis.open_run(trained).column(*where)
    assert "\n" not in str(error.value)


def test_no_run_at_the_path(trained, tmp_path):
    with pytest.raises(UserError, match=r"no run at .*tinny; .*; did you mean .*tiny?"):
        analysis.open_run(trained.with_name("tinny"))
    with pytest.raises(UserError, match=r"is not a run; .*run.json; coupled-run train makes one"):
        analysis.open_run(tmp_path)
    with pytest.raises(UserError, match="no run at"):
        analysis.open_run(trained / "run.json")


def edit_facts(path, change):
    facts = json.loads((path / "run.json").read_text())
    change(facts)
    (path / "run.json").write_text(json.dumps(facts))
    commit_run_json(path)


def test_another_schema_names_both(spoilt):
    edit_facts(spoilt.path, lambda facts: facts.update(schema=7))
    with pytest.raises(UserError, match=f"has schema 7; this version of coupled reads schema {SCHEMA}; use "):
        analysis.open_run(spoilt.path)


@pytest.mark.parametrize(
    "change",
    [
        lambda facts: facts["config"].update(seed=1),
        lambda facts: facts.pop("config_digest"),
        lambda facts: facts.update(config=3),
        lambda facts: facts.update(fingerprint="f" * 64),
        lambda facts: facts.pop("fingerprint"),
        lambda facts: facts.update(layers=[{}]),
        lambda facts: facts["layers"][0].update(shape=[10**4000]),
    ],
)
def test_a_run_json_that_contradicts_itself_is_refused(spoilt, change):
    edit_facts(spoilt.path, change)
    with pytest.raises(StoreError, match=r"run.json: its (config|layers)") as error:
        analysis.open_run(spoilt.path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "change",
    [
        lambda config: config["arms"][0].pop("temperature"),
        lambda config: config["arms"][0].pop("kind"),
        lambda config: config["arms"][0].pop("name"),
        lambda config: config["arms"][3].update(temperature=7.0),
        lambda config: config["arms"][1].update(reference="nope"),
        lambda config: config["arms"][1].update(reference=["cl"]),
        lambda config: config["arms"].append(dict(config["arms"][0])),
        lambda config: config["arms"].append(3),
        lambda config: config.update(arms=[]),
        lambda config: config.update(arms={}),
        lambda config: config.pop("arms"),
        lambda config: config.pop("record"),
        lambda config: config["train"].update(steps=10**9),
        lambda config: config["train"].update(steps="many"),
        lambda config: config.update({"a\nb": 1}),
        lambda config: config.update(name="other"),
    ],
)
def test_a_config_that_no_run_resolved_is_one_line(spoilt, change):
    def edit(facts):
        change(facts["config"])
        facts["config_digest"] = digest(facts["config"])

    edit_facts(spoilt.path, edit)
    with pytest.raises((UserError, StoreError), match=r"run\.json: ") as error:
        analysis.open_run(spoilt.path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "text", ["[]", "{}", '{"schema":"a\\nb"}', '{"schema":1,"x":1e999}', '{"schema":1,"x":"\\ud800"}']
)
def test_what_is_no_run_json_is_one_line(spoilt, text):
    (spoilt.path / "run.json").write_text(text)
    with pytest.raises(StoreError, match=r"run\.json: not") as error:
        analysis.open_run(spoilt.path)
    assert "\n" not in str(error.value)


def plan_many_steps(path, steps):
    """The run as one that plans `steps` steps, every shard still its own."""

    def edit(facts):
        facts["config"]["train"]["steps"] = facts["config"]["optimiser"]["horizon"] = steps
        facts["config_digest"] = digest(facts["config"])
        facts["fingerprint"] = fingerprint(from_resolved(facts["config"]))

    edit_facts(path, edit)


def test_steps_that_are_only_planned_cost_nothing(spoilt):
    plan_many_steps(spoilt.path, 10_000_000)
    spoilt.keep_lines(lambda entry: entry.last < 10)
    for shard in spoilt.path.glob("records/scalars/nscl/*-00000000[09].safetensors"):
        spoilt.rewrite(shard, fingerprint=analysis.open_run(spoilt.path).fingerprint)
    tracemalloc.start()
    assert analysis.open_run(spoilt.path).curve("loss", arm="nscl").steps.tolist() == list(range(10))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10_000_000


def test_a_finish_before_the_planned_end_is_refused(spoilt):
    plan_many_steps(spoilt.path, 30)
    with pytest.raises(StoreError, match=r"manifest.jsonl: finished at step 20, train.steps is 30"):
        analysis.open_run(spoilt.path)


@pytest.mark.parametrize(
    "schedule, steps",
    [
        (Schedule(every=7), 20),
        (Schedule(every=5, log=2, steps=(4, 5, 19), last=True), 20),
        (Schedule(log=3), 200),
        (Schedule(steps=(21,)), 20),
        (Schedule(last=True), 20),
        (Schedule(every=1), 0),
    ],
)
def test_due_is_the_schedule_one_step_at_a_time(schedule, steps):
    streams = dict.fromkeys(("panel", "similarity"), schedule)
    config = Config(train=Train(steps=steps), record=Record(**streams))
    for stream in streams:
        assert list(due(config, stream, "state")) == schedule_of(config, stream)
        assert list(due(config, stream, "batch")) == [step for step in schedule_of(config, stream) if step < steps]
        for first, last in ((3, 19), (5, 5), (20, 400), (4, 3)):
            expected = [step for step in schedule_of(config, stream) if first <= step <= last]
            assert list(due(config, stream, "state", first, last)) == expected


def test_a_run_json_that_is_not_json_is_refused(spoilt):
    (spoilt.path / "run.json").write_bytes(b"{")
    with pytest.raises(StoreError, match=r"run\.json: not JSON"):
        analysis.open_run(spoilt.path)


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


def test_an_unfinished_run_gives_what_is_committed_and_says_so(spoilt):
    spoilt.keep_lines(lambda entry: entry.last < 10)
    run = analysis.open_run(spoilt.path)
    assert (run.finished, run.steps, run.planned_steps) == (False, 9, 20)
    assert run.curve("weight_gap", arm="nscl").steps.tolist() == list(range(10))
    assert run.curve("cka", arm="nscl").steps.tolist() == [0, 1, 3]
    assert analysis.curves(run)


def test_when_one_arm_is_a_shard_ahead_the_steps_of_both_count(spoilt):
    spoilt.keep_lines(lambda entry: entry.last < 10 and (entry.first == 0 or "nscl" not in (entry.name or "")))
    run = analysis.open_run(spoilt.path)
    assert run.curve("cka", arm="nscl", source="batch").steps.tolist() == [0]
    assert run.curve("cka", arm="nudged", source="batch").steps.tolist() == list(range(10))


def test_a_run_without_a_committed_step_says_so(spoilt):
    spoilt.keep_lines(lambda entry: entry.kind == "begin")
    run = analysis.open_run(spoilt.path)
    assert (run.finished, run.steps) == (False, None)
    with pytest.raises(UserError, match="no step of panel/nscl yet"):
        run.curve("cka", arm="nscl")
    with pytest.raises(UserError, match="no committed step yet"):
        analysis.curves(run)


def test_a_torn_manifest_is_an_unfinished_run(spoilt):
    manifest = spoilt.path / "manifest.jsonl"
    manifest.write_bytes(manifest.read_bytes()[:-5])
    assert not analysis.open_run(spoilt.path).finished


def test_features_that_are_not_finite_name_arm_and_step(spoilt):
    def poison(tensors):
        tensors["state.h"][1, 5, 2] = np.nan

    spoilt.rewrite(spoilt.shard("panel", "cl", 1), poison)
    with pytest.raises(UserError, match=r"panel/cl state\.h is not finite at step 3"):
        analysis.open_run(spoilt.path).curve("cka", arm="nscl")


def test_a_run_can_be_moved(trained, tmp_path):
    moved = shutil.copytree(trained, tmp_path / "elsewhere")
    here, there = (analysis.open_run(path).curve("cka", arm="nscl") for path in (trained, moved))
    assert isinstance(analysis.open_run(moved), Records) and np.array_equal(here.values, there.values)
