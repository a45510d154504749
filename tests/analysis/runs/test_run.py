"""Opening a run: what it says of itself, what is refused as no run, and what an unfinished one gives."""

import json
import shutil
import tracemalloc

import numpy as np
import pytest
from helpers import commit_run_json

import analysis
from coupled.config import Schedule, fingerprint, from_resolved
from coupled.config.schema import Record, Train, Written
from coupled.errors import UserError
from coupled.reading.records import Records
from coupled.recording.schedule import due
from coupled.store import StoreError, digest, open_tensors


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
    with pytest.raises(UserError, match="has format 7; this version of coupled reads format 2 and 3; use the version"):
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
    config = Written(train=Train(steps=steps), record=Record(**streams))
    for stream in streams:
        batches = [step for step in schedule.upto(steps) if step < steps]
        states = schedule.upto(steps) if stream == "panel" else batches
        assert list(due(config, stream)) == states
        assert list(due(config, stream, "batch")) == batches
        for first, last in ((3, 19), (5, 5), (20, 400), (4, 3)):
            expected = [step for step in states if first <= step <= last]
            assert list(due(config, stream, first=first, last=last)) == expected


def test_a_run_json_that_is_not_json_is_refused(spoilt):
    (spoilt.path / "run.json").write_bytes(b"{")
    with pytest.raises(StoreError, match=r"run\.json: not JSON"):
        analysis.open_run(spoilt.path)


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


def test_a_run_can_be_moved(trained, tmp_path):
    moved = shutil.copytree(trained, tmp_path / "elsewhere")
    here, there = (analysis.open_run(path).curve("cka", arm="nscl") for path in (trained, moved))
    assert isinstance(analysis.open_run(moved), Records) and np.array_equal(here.values, there.values)
