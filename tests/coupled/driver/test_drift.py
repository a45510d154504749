"""What may differ between stop and resume, and what is refused with both sides in one line."""

import gzip
import json
from pathlib import Path

import pytest
from interrupted import Stop, config_of, path_of, stopped

from coupled import runtime
from coupled.driver.resuming import ResumeTerms
from coupled.driver.train import resume, train
from coupled.errors import Preempted, UserError
from coupled.store import read_manifest, tree_hash

pytestmark = pytest.mark.slow  # runs of their own; others of the fast ones train, resume and read as well


def test_another_identity_field_is_refused_with_both_sides(tmp_path):
    stopped(config_of(tmp_path), Stop(4))
    with pytest.raises(UserError, match=r"optimiser\.learning_rate is 0\.3 in this run, 0\.7 was given"):
        resume(path_of(tmp_path), overrides=["optimiser.learning_rate=0.7"])


def test_a_recorded_field_stays_with_a_note_and_an_elastic_one_is_taken_and_logged(golden, tmp_path):
    stopped(config_of(tmp_path), Stop(4))
    watched = Stop(None)
    path = resume(
        path_of(tmp_path),
        overrides=["panel.size=32", "writing.asynchronous=false", "optimiser.learning_rate=0.3"],
        reporter=watched,
    )
    assert tree_hash(path) == golden
    assert [note for note in watched.notes if "panel" in note] == [
        "panel.size stays 16, as this run records; 32 was given"
    ]
    events = [json.loads(line) for line in (path / "log/events.jsonl").read_text().splitlines()]
    assert [e["writing"]["asynchronous"] for e in events if e["event"] in ("start", "resume")] == [True, False]


@pytest.mark.parametrize("override", ["name=other", "paths.runs=elsewhere", "nonsense=1", "train.nonsense=1"])
def test_an_override_that_makes_no_sense_at_resume_is_refused(override, tmp_path):
    stopped(config_of(tmp_path), Stop(4))
    with pytest.raises(UserError):
        resume(path_of(tmp_path), overrides=[override])


def other_library(monkeypatch, version="9.9"):
    real = runtime.versions()
    monkeypatch.setattr(runtime, "versions", lambda *_: {**real, "numpy": version})
    return real["numpy"]


def test_another_library_is_refused_with_both_sides_and_leaves_everything(golden, tmp_path, monkeypatch):
    stopped(config_of(tmp_path), Stop(4))
    before = tree_hash(path_of(tmp_path))
    was = other_library(monkeypatch)
    with pytest.raises(UserError, match=rf"versions\.numpy was {was}, is 9\.9.*--allow-drift"):
        resume(path_of(tmp_path))
    with pytest.raises(UserError, match="--allow-drift"):
        train(config_of(tmp_path))
    assert tree_hash(path_of(tmp_path)) == before
    monkeypatch.undo()
    assert tree_hash(resume(path_of(tmp_path))) == golden


def test_allowed_drift_is_part_of_the_run_from_then_on(golden, tmp_path, monkeypatch):
    stopped(config_of(tmp_path), Stop(4))
    was = other_library(monkeypatch)
    with pytest.raises(Preempted):
        resume(path_of(tmp_path), terms=ResumeTerms(allow_drift=True), reporter=Stop(6))
    path = resume(path_of(tmp_path))  # allowed once, it is the run's
    assert tree_hash(path) != golden
    (line,) = [entry for entry in read_manifest(path / "manifest.jsonl").entries if entry.kind == "drift"]
    facts = json.loads((path / line.name).read_bytes())
    assert line.first == 4 and facts["changes"] == [{"name": "versions.numpy", "then": was, "now": "9.9"}]


def test_another_data_set_is_refused_with_both_sides(tmp_path):
    """The same labels and, as far as is checked, the same pixels: one bit of an image of each split differs."""
    source = Path("/usr/share/datasets/fashion-mnist")
    (tmp_path / "data").mkdir()
    for file in source.iterdir():
        data = bytearray(gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes())
        data[-1] ^= "images" in file.name
        (tmp_path / "data" / file.name.removesuffix(".gz")).write_bytes(data)
    fashion = {"name": "fashion-mnist", "labelling": "class"}
    stopped(config_of(tmp_path, data=fashion, views={"size": 12}), Stop(4))
    overrides = [f"paths.data={tmp_path}/data"]
    with pytest.raises(UserError, match=r"data\.test was [0-9a-f]{64}, is [0-9a-f]{64}; data\.train was"):
        resume(path_of(tmp_path), overrides=overrides)
    resume(path_of(tmp_path), overrides=overrides, terms=ResumeTerms(allow_drift=True))


def test_another_python_is_noted_only(golden, tmp_path, monkeypatch):
    stopped(config_of(tmp_path), Stop(4))
    real = runtime.versions()
    monkeypatch.setattr(runtime, "versions", lambda *_: {**real, "python": "3.99"})
    path = resume(path_of(tmp_path))
    assert tree_hash(path) == golden and "versions.python was" in (path / "log/events.jsonl").read_text()
