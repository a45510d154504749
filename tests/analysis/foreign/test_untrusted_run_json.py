"""What run.json says under `imported` is checked before it is believed, for whoever may have written it."""

import json
import shutil

import pytest
from helpers import commit_run_json, recommit, rewrite

import analysis
from analysis.foreign import config as configs
from analysis.foreign.config import Origin
from analysis.foreign.shapes import Architecture
from coupled.config import digest, fingerprint, from_tables, resolved
from coupled.config.load import tables_of
from coupled.reading.run_json import read_run
from coupled.store import StoreError, canonical_json, open_tensors
from coupled.verification import verify


@pytest.fixture
def run(imported_run, tmp_path):
    return shutil.copytree(imported_run, tmp_path / "run", ignore=shutil.ignore_patterns("analysis"))


def facts_of(run):
    return json.loads((run / "run.json").read_bytes())


def rewritten(run, facts):
    """The run with another run.json, committed as if it had been written so."""
    (run / "run.json").write_bytes(canonical_json(facts) + b"\n")
    commit_run_json(run)
    return run


def first(**changes):
    return lambda part: part["sources"][0].update(changes)


def test_it_is_read_as_it_was_written(run):
    assert analysis.open_run(rewritten(run, facts_of(run))).finished


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda part: part.clear(), "it holds unit, batch, mean"),
        (lambda part: part.update(path="/home"), "and nothing else"),
        (lambda part: part.update(unit="hours"), "its unit is one of steps, epochs"),
        (lambda part: part.update(unit=["steps"]), "its unit is one of steps, epochs"),
        (lambda part: part.update(unit="steps"), "steps need a batch size"),
        (lambda part: part.update(batch=128), "steps need a batch size"),
        (lambda part: part.update(batch=True), "resize, crop and batch are counts"),
        (lambda part: part.update(batch=64, unit="steps"), "its batch is 64, its config's 128"),
        (lambda part: part.update(mean=[0.5, 0.5]), "three numbers each"),
        (lambda part: part.update(mean=[0.5, 0.5, "x"]), "three numbers each"),
        (lambda part: part.update(mean=[0, 0, 0]), "three numbers each"),
        (lambda part: part.update(std=[0.5, 0.5, 0.0]), "std above 0"),
        (lambda part: part.update(std=[0.5, 0.5, 1.5]), "at most 1"),
        (lambda part: part.update(mean=[0.5, 0.5, -0.5]), "mean from 0 to 1"),
        (lambda part: part.update(resize=36), "images of 32 px are resized to 32 and cut to 32"),
        (lambda part: part.update(placeholders=[]), "its placeholders are others"),
        (lambda part: part.update(placeholders=[1]), "placeholders are names"),
        (lambda part: part.update(sources=[]), "not one source for every arm at every step"),
        (lambda part: part["sources"].reverse(), "not one source for every arm at every step"),
        (lambda part: part["sources"].pop(), "not one source for every arm at every step"),
        (first(arm="cl"), "not one source for every arm at every step"),
        (first(name="../snapshot_0.pth"), "a source holds arm, epoch"),
        (first(name="snapshot_1.pth"), "a source holds arm, epoch"),
        (first(name="snapshot_1.pth", epoch=1), "the sources of a step are of other epochs"),
        (first(size=-1), "a source holds arm, epoch"),
        (first(step=False), "a source holds arm, epoch"),
        (first(sha256="A" * 64), "a source holds arm, epoch"),
    ],
)
def test_what_is_not_whole_or_does_not_fit_is_one_line(spoil, words, run):
    facts = facts_of(run)
    spoil(facts["imported"])
    with pytest.raises(StoreError) as error:
        read_run(rewritten(run, facts))
    assert "its imported is not that of imported checkpoints: " in str(error.value) and words in str(error.value)


@pytest.mark.parametrize(
    ("section", "changes", "words"),
    [
        ("record", {"scalars": {"every": 1}}, "its config has records"),
        ("checkpoints", {"recovery": {"every": 1}}, "its config has checkpoints to resume from"),
        ("checkpoints", {"keep": {"steps": [0, 2, 3]}}, "its sources are not those of checkpoints.keep"),
        ("train", {"steps": 4}, "its sources are not those of checkpoints.keep"),
        ("train", {"precision": "float64"}, "its config is not of float32"),
        ("arms", {"twin": {"kind": "twin"}}, "its config has controls"),
    ],
)
def test_a_config_that_no_import_gives_is_refused(section, changes, words, run):
    facts = facts_of(run)
    raw = tables_of(facts["config"])
    config = from_tables({**raw, "name": "x", section: {**raw[section], **changes}})
    facts |= {"config": resolved(config), "config_digest": digest(config), "fingerprint": fingerprint(config)}
    with pytest.raises(StoreError, match=words):
        read_run(rewritten(run, facts))


@pytest.mark.parametrize(
    ("key", "value"),
    [("certificate", {"seed": 0}), ("data", None), ("determinism", "bitwise"), ("machine", {}), ("versions", [])],
)
def test_verify_looks_at_the_other_facts(key, value, run):
    with pytest.raises(StoreError, match=f"its {key} is not what a run of this config has there"):
        verify(rewritten(run, {**facts_of(run), key: value}))


NSCL = "checkpoints/step-000000003/nscl.safetensors"


def test_verify_finds_a_checkpoint_that_holds_more(run):
    rewrite(run, NSCL, lambda tensors: tensors.update(optimiser=tensors["buffers.encoder.bn1.running_var"]))
    with pytest.raises(StoreError, match="more than weights and running statistics"):
        verify(run)


def test_verify_finds_a_checkpoint_that_lacks_a_tensor(run):
    rewrite(run, NSCL, lambda tensors: tensors.pop("weights.encoder.conv1.weight"))
    with pytest.raises(StoreError, match="not those of the config's network"):
        verify(run)


def test_verify_finds_an_arm_that_is_not_listed(run):
    name = "checkpoints/step-000000003/state.json"
    state = json.loads((run / name).read_bytes())
    del state["files"]["nscl.safetensors"]
    (run / NSCL).unlink()
    recommit(run, name, canonical_json(state))
    with pytest.raises(StoreError, match="does not list one file for every arm"):
        verify(run)


def test_verify_says_where_arms_did_not_start_alike(run):
    name = "checkpoints/step-000000000/scl.safetensors"

    def nudge(tensors):
        tensors["weights.encoder.conv1.weight"][0, 0, 0, 0] += 1

    rewrite(run, name, nudge)
    assert "one start: at epoch 0 scl is not dcl: encoder.conv1.weight differs" in verify(run).unproven
    assert open_tensors(run / name).metadata["fingerprint"] == facts_of(run)["fingerprint"]


@pytest.mark.parametrize(("size", "resize", "mean"), [(32, 32, 0.4914), (64, 64, 0.485), (224, 256, 0.485)])
def test_images_are_prepared_as_the_papers_did(size, resize, mean):
    model = {"encoder": "resnet18", "width": 4, "projection_hidden": 12, "projection_dim": 6}
    given = Origin("tiny-imagenet", size=size)
    config = configs.config(Architecture(model, None), ["cl"], [0], given)
    content = configs.content(config, given, [])
    assert (content.resize, content.crop, content.mean[0]) == (resize, size, mean)
