"""Features of kept checkpoints: those that the engine's own forward gives, made once, with nothing else touched."""

import hashlib
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import rewrite, tiny

import analysis
from analysis.evaluation import cache, extraction
from analysis.evaluation.features import Evaluation, Place
from coupled.driver.train import train
from coupled.errors import UserError

pytestmark = pytest.mark.kernels
LAST = Place("nscl", 6, "test")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    return train(tiny(tmp_path_factory.mktemp("runs"), panel={"size": 16, "stages": True}))


def evaluated(path, output, **options):
    return Evaluation(analysis.open_run(path), output=output, **{"size": 40, **options})


def hashes(folder):
    """The SHA-256 of every file below a folder."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(Path(folder).rglob("*"))
        if path.is_file()
    }


def test_features_of_the_panel_s_samples_are_the_recorded_ones(trained, tmp_path):
    run = analysis.open_run(trained)
    ids = torch.from_numpy(np.array(next(run.stream("panel", "shared"))["fixed.ids"]))
    evaluation = evaluated(trained, tmp_path, ids={"test": ids}, stages=True)
    for column in ("h", "z", *evaluation.stage_names()):
        steps, recorded = run.column("panel", "nscl", f"state.{column}")
        own = evaluation.features(LAST, column).numpy()
        # One thread here and there, and images in other forwards: kernels may round otherwise.
        np.testing.assert_allclose(own, recorded[list(steps).index(6)], rtol=0, atol=1e-5 * np.abs(recorded).max())
    assert len(evaluation.stage_names()) == 4


def test_views_are_of_the_same_forward_as_the_surrogate_panel_s(trained, tmp_path):
    evaluation = evaluated(trained, tmp_path)
    z = evaluation.views(LAST)
    assert z.shape == (80, 8) and z.dtype == torch.float32
    np.testing.assert_allclose(z.norm(dim=1), 1, atol=1e-6)
    plain = evaluation.views(LAST, second="plain")
    assert torch.equal(plain[:40], z[:40]) and torch.equal(plain[40:], evaluation.features(LAST, "z"))
    assert evaluation.view_distances(LAST).shape == (40,) and evaluation.view_distances(LAST).min() > 0


def test_nothing_but_the_folder_of_features_is_written(trained):
    before = hashes(trained)
    evaluation = evaluated(trained, None)
    evaluation.prepare(kinds=("plain", "views"))
    after = hashes(trained)
    new = set(after) - set(before)
    assert new and all(name.startswith("analysis/features/") for name in new)
    assert {name: after[name] for name in before} == before


def test_no_global_generator_is_drawn_from(trained, tmp_path, monkeypatch):
    def poisoned(*arguments, **_):
        if arguments and isinstance(arguments[0], torch.Tensor) and arguments[0].is_meta:
            return arguments[0]
        raise AssertionError("a draw from a global generator")

    for name in ("manual_seed", "seed", "rand", "randn", "randint", "randperm", "normal", "bernoulli"):
        monkeypatch.setattr(torch, name, poisoned)
    for name in ("uniform_", "normal_", "random_", "bernoulli_"):
        monkeypatch.setattr(torch.Tensor, name, poisoned)
    state = torch.get_rng_state().numpy().tobytes()
    evaluated(trained, tmp_path).prepare(kinds=("plain", "views"))
    assert torch.get_rng_state().numpy().tobytes() == state


def test_the_second_call_computes_nothing(trained, tmp_path, monkeypatch):
    evaluated(trained, tmp_path).prepare(splits=["test"])
    monkeypatch.setattr(extraction, "embed", lambda *_, **__: pytest.fail("a forward"))
    evaluation = evaluated(trained, tmp_path)
    evaluation.prepare(splits=["test"])
    assert evaluation.features(LAST, "h").shape == (40, 32)


def test_equal_bytes_for_any_number_of_threads_networks_and_calls(trained, tmp_path, monkeypatch):
    evaluated(trained, tmp_path / "a").prepare(kinds=("plain", "views"))
    threads = torch.get_num_threads()
    monkeypatch.setattr(extraction, "_NETWORK_BYTES", 1)  # one network at a time
    torch.set_num_threads(2)
    try:
        evaluated(trained, tmp_path / "b").prepare(kinds=("plain", "views"))
    finally:
        torch.set_num_threads(threads)
    assert hashes(tmp_path / "a") == hashes(tmp_path / "b")


def test_a_killed_extraction_goes_on_where_it_was(trained, tmp_path, monkeypatch):
    evaluated(trained, tmp_path / "whole").prepare(splits=["test"], arms=["cl"])
    monkeypatch.setattr(cache, "PART_BYTES", 16 * (32 + 2 * 8 + 60) * 4)  # sixteen rows of h, z, and all stages
    evaluated(trained, tmp_path / "parts").prepare(splits=["test"], arms=["cl"])
    whole = hashes(tmp_path / "parts")
    for name in [name for name in whole if "part-00001" in name]:
        (tmp_path / "parts" / name).unlink()
    rows = []
    embed = extraction.embed
    monkeypatch.setattr(extraction, "embed", lambda n, x, *a, **k: rows.append(len(x)) or embed(n, x, *a, **k))
    evaluation = evaluated(trained, tmp_path / "parts")
    evaluation.prepare(splits=["test"], arms=["cl"])
    assert hashes(tmp_path / "parts") == whole and sum(rows) == 3 * 16
    place = Place("cl", 6, "test")
    assert torch.equal(evaluation.features(place, "h"), evaluated(trained, tmp_path / "whole").features(place, "h"))


def test_stages_are_kept_beside_the_rest_and_made_once(trained, tmp_path, monkeypatch):
    evaluated(trained, tmp_path).prepare(splits=["test"])
    before = hashes(tmp_path)
    evaluation = evaluated(trained, tmp_path, stages=True)
    evaluation.prepare(splits=["test"])
    after = hashes(tmp_path)
    assert {name: after[name] for name in before} == before and len(after) == 2 * len(before)
    monkeypatch.setattr(extraction, "embed", lambda *_, **__: pytest.fail("a forward"))
    rows = [(len(h), stage.shape) for h, stage in evaluation.blocks(LAST, "h", "stage.3")]
    assert rows == [(40, (40, 32))]


def test_progress_counts_images(trained, tmp_path):
    calls = []
    evaluation = evaluated(trained, tmp_path, progress=lambda *call: calls.append(call))
    evaluation.prepare(splits=["test"], arms=["cl"])
    assert calls[-1] == ("plain features of tiny, test", 120, 120)


def test_other_samples_are_other_features(trained, tmp_path):
    few, many = evaluated(trained, tmp_path, size=20), evaluated(trained, tmp_path)
    assert len(few.features(LAST, "z")) == 20 and len(many.features(LAST, "z")) == 40
    rows = torch.searchsorted(many.sample("test").ids, few.sample("test").ids)
    torch.testing.assert_close(many.features(LAST, "z")[rows], few.features(LAST, "z"), rtol=0, atol=1e-5)


def test_a_split_smaller_than_asked_is_flagged(trained, tmp_path):
    sample = evaluated(trained, tmp_path, size=10**6).sample("test")
    assert sample.whole and re.fullmatch(r"test has \d+ samples, 1000000 were asked for", sample.flags[0])
    assert evaluated(trained, tmp_path).sample("test").flags == ()


def test_kept_checkpoints_are_the_default_and_others_are_refused(trained, tmp_path):
    assert evaluated(trained, tmp_path).steps == (0, 3, 6)
    assert evaluated(trained, tmp_path, steps=[6, 0]).steps == (0, 6)
    with pytest.raises(UserError, match="no checkpoint at step 2; there are 0, 3, 6"):
        evaluated(trained, tmp_path, steps=[2])


def test_features_that_are_not_finite_are_one_line(trained, tmp_path):
    path = shutil.copytree(trained, tmp_path / "spoilt")

    def poison(tensors):
        next(array for name, array in tensors.items() if name.startswith("weights."))[:] = np.nan

    rewrite(path, "checkpoints/step-000000006/nscl.safetensors", poison)
    with pytest.raises(UserError, match="h of nscl at step 6 on test is not finite"):
        evaluated(path, tmp_path / "features").features(LAST, "h")


def test_a_device_that_is_not_here_is_refused(trained, tmp_path):
    with pytest.raises(UserError, match="cpu or cuda"):
        evaluated(trained, tmp_path, device="tpu")


def test_where_nothing_can_be_kept_is_said_before_any_work(trained, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("mine")
    monkeypatch.setattr(extraction, "embed", lambda *_, **__: pytest.fail("a forward"))
    with pytest.raises(UserError, match="say with --output"):
        evaluated(trained, tmp_path / "file").prepare()


@pytest.mark.parametrize("workers", [-1, 257])
def test_a_number_of_workers_that_cannot_be_is_refused(trained, tmp_path, workers):
    with pytest.raises(UserError, match=f"{workers} workers; from 0 to 256"):
        evaluated(trained, tmp_path, workers=workers)


def test_a_retired_checkpoint_is_not_there(tmp_path):
    often = {"keep": {"steps": [0], "last": False}, "recovery": {"every": 1}}
    path = train(tiny(tmp_path, arms={"cl": {"objective": "dcl"}}, checkpoints=often))
    with pytest.raises(UserError, match="no checkpoint at step 3; there are 0, 6"):
        evaluated(path, tmp_path, steps=[3])
    assert evaluated(path, tmp_path).steps == (0,)


def test_a_run_still_written_has_the_checkpoints_that_are_committed(trained, tmp_path):
    path = Path(shutil.copytree(trained, tmp_path / "growing"))
    lines = (path / "manifest.jsonl").read_bytes().splitlines(keepends=True)
    last = max(i for i, line in enumerate(lines) if b'"checkpoint"' in line and b"000000003" in line)
    (path / "manifest.jsonl").write_bytes(b"".join(lines[: last + 1]))
    assert evaluated(path, tmp_path / "features").steps == (0, 3)
    (path / "manifest.jsonl").write_bytes(lines[0])
    with pytest.raises(UserError, match="has no kept checkpoint; .*; try again later"):
        evaluated(path, tmp_path / "features")
