"""Runs grouped into points, summarised once, and joined over seeds at matched progress."""

import shutil

import numpy as np
import pytest
from helpers import tiny

import analysis
from analysis.aggregation import summary as subject
from analysis.aggregation.gap import Gap
from analysis.aggregation.points import aggregate, differences, points, points_by_config, shared_range
from analysis.aggregation.seeds import Mean, contrast
from analysis.aggregation.summary import DEFAULT, summaries
from coupled.driver.train import train
from coupled.errors import UserError
from coupled.store import StoreError

ARMS = {"cl": {"objective": "dcl"}, "nscl": {"objective": "nscl"}}


def trained(folder, seed, **sections):
    return train(tiny(folder, seed=seed, **{"train": {"steps": 4}, "arms": ARMS, **sections}))


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    slow = {"optimiser": {"learning_rate": 0.01}}
    return {
        name: [trained(tmp_path_factory.mktemp(f"{name}-{seed}"), seed, **sections) for seed in (0, 1, 2)]
        for name, sections in (("fast", {}), ("slow", slow))
    }


@pytest.fixture(scope="module")
def both(paths):
    return points(paths)


def test_a_step_is_matched_by_the_values_of_the_runs_own_curves(paths, both):
    curves = [analysis.open_run(path).curve("weight_gap", arm="nscl") for path in paths["fast"]]
    assert both[0].values("weight_gap", arm="nscl", axis="step", target=3) == {
        seed: curve.at(3) for seed, curve in enumerate(curves)
    }
    (cell, _) = aggregate(both, "weight_gap", arm="nscl", axis="step", targets=[2.5])
    halfway = [(curve.at(2) + curve.at(3)) / 2 for curve in curves]
    assert isinstance(cell.mean, Mean) and cell.mean.value == pytest.approx(np.mean(halfway))
    assert isinstance(cell.motion, Mean) and cell.motion.value > 0


def test_epochs_and_rates_are_those_of_the_config(paths, both):
    run = analysis.open_run(paths["fast"][0])
    steps, rates = run.column("scalars", "shared", "batch.learning_rate")
    first, _ = both
    per_epoch = first.runs[0].about["steps_per_epoch"]
    assert per_epoch > 4  # shapes has far more images than 4 batches of 8
    by_step = first.values("loss", arm="cl", axis="step", target=2)
    assert first.values("loss", arm="cl", axis="epoch", target=2 / per_epoch) == pytest.approx(by_step)
    total = float(rates[steps < 2].sum())
    assert first.values("loss", arm="cl", axis="rate", target=total) == pytest.approx(by_step)


def test_a_run_that_never_gets_there_is_a_gap_that_is_named(both):
    far, near = (min(run.progress("motion", "nscl").amounts[-1] for run in point.runs) for point in both)
    assert near < far
    fast, slow = aggregate(both, "weight_gap", arm="nscl", axis="motion", targets=[far])
    assert isinstance(fast.mean, Mean) and set(fast.mean.by_seed) == {0, 1, 2}
    assert isinstance(slow.mean, Gap) and "0 of 3 seeds have a value" in slow.mean.reason
    assert slow.mean.reason.count("never gets there: distance from the start") == 3


def test_the_shared_range_is_where_every_run_has_a_value(both):
    low, high = shared_range(both, "weight_gap", arm="nscl", axis="motion")
    cells = aggregate(both, "weight_gap", arm="nscl", axis="motion", targets=[low, (low + high) / 2, high])
    assert all(isinstance(cell.mean, Mean) and cell.mean.missing == {} for cell in cells)
    beyond = aggregate(both, "weight_gap", arm="nscl", axis="motion", targets=[high * 1.001])
    assert any(isinstance(cell.mean, Gap) or cell.mean.missing for cell in beyond)
    assert isinstance(shared_range(both, "weight_gap", arm="cl", axis="step"), Gap)


def test_arms_and_points_are_contrasted_by_seed(both):
    a, b = (point.values("loss", arm="nscl", axis="step", target=3) for point in both)
    assert contrast(a, b).by_seed == {seed: a[seed] - b[seed] for seed in (0, 1, 2)}


def test_points_of_configs_are_named_by_what_differs(paths):
    grouped = points_by_config([path for of in zip(*paths.values(), strict=True) for path in of])
    assert [point.name for point in grouped] == ["optimiser.learning_rate = 0.3", "optimiser.learning_rate = 0.01"]
    assert [[run.path for run in point.runs] for point in grouped] == list(paths.values())
    assert [point.name for point in points_by_config(paths["fast"])] == ["all runs"]


@pytest.mark.slow
def test_runs_of_other_images_are_compared_by_their_numbers_and_that_is_said(both, tmp_path):
    other = [trained(tmp_path / str(seed), seed, data={"seed": 3}) for seed in range(3)]
    assert differences(both) == []
    assert differences([*both, *points({"other": other})]) == ["images"]


def test_a_seed_twice_a_point_of_nothing_and_an_unknown_quantity_are_one_line(paths, tmp_path):
    twice = [*paths["fast"], paths["slow"][1]]
    with pytest.raises(UserError, match="point fast: .* and .* both have seed 1; every seed once"):
        points({"fast": twice})
    with pytest.raises(UserError, match="point none has no runs"):
        points({"none": []})
    with pytest.raises(UserError, match=r"quantity .*ckq"):
        summaries(paths["fast"], ["ckq"])
    with pytest.raises(UserError, match="no run at"):
        summaries([tmp_path / "gone"])


def test_what_a_run_does_not_record_is_a_gap_of_it(paths, both):
    run = both[0].runs[0]
    assert "has no reference" in run.series("weight_gap", "cl").reason
    assert run.value("loss", "gone", "step", 1) == Gap("no arm gone")
    with pytest.raises(UserError, match="axis"):
        run.value("loss", "cl", "steps", 1)
    with pytest.raises(UserError, match="quantity"):
        run.series("batch_cka", "nscl")


def test_the_motion_of_similarities_is_the_drift_from_the_first_ones(paths):
    run = analysis.open_run(paths["fast"][0])
    curve = run.curve("similarity_motion", arm="nscl")
    steps, z = run.column("panel", "nscl", "state.z")
    unit = z / np.linalg.norm(z.astype(np.float64), axis=-1, keepdims=True)
    literal = []
    H = np.eye(z.shape[1]) - 1 / z.shape[1]
    for at in unit:
        K, L = (H @ side @ side.T @ H for side in (unit[0], at))
        literal.append(np.linalg.norm(K - L) / max(np.linalg.norm(K), np.linalg.norm(L)))
    assert curve.steps.tolist() == steps.tolist() and curve.values[0] == 0 and curve.reference is None
    assert curve.values == pytest.approx(literal, abs=1e-6)


class Opened:
    """Counts how often a run is opened."""

    def __init__(self, monkeypatch):
        self.count, self._open = 0, subject.open_run
        monkeypatch.setattr(subject, "in_processes", lambda items, work, done: [work(item) for item in items])
        monkeypatch.setattr(subject, "open_run", self)

    def __call__(self, path):
        self.count += 1
        return self._open(path)


@pytest.fixture
def copy(paths, tmp_path):
    ignored = shutil.ignore_patterns("analysis")
    return shutil.copytree(paths["fast"][0], tmp_path / "copy", ignore=ignored)


def kept(path):
    return sorted((path / "analysis/summary").iterdir())


def equal(a, b):
    assert a.about == b.about and a.tensors.keys() == b.tensors.keys()
    return all(np.array_equal(a.tensors[name], b.tensors[name], equal_nan=True) for name in a.tensors)


def test_a_summary_is_made_once_and_read_back_as_it_was(copy, monkeypatch):
    opened = Opened(monkeypatch)
    (made,), (again,) = summaries([copy]), summaries([copy])
    assert opened.count == 1 and len(kept(copy)) == 1 and equal(made, again)
    summaries([copy], ["loss"])
    assert opened.count == 2 and len(kept(copy)) == 2  # other quantities, beside it


@pytest.mark.parametrize("change", ["manifest", "code", "bytes"])
def test_a_summary_of_another_run_code_or_content_is_made_anew(copy, monkeypatch, change):
    opened = Opened(monkeypatch)
    (made,) = summaries([copy])
    (file,) = kept(copy)
    if change == "manifest":  # its last line gone: the run is not finished
        lines = (copy / "manifest.jsonl").read_bytes().splitlines(keepends=True)
        (copy / "manifest.jsonl").write_bytes(b"".join(lines[:-1]))
    if change == "code":
        monkeypatch.setattr(subject, "_code", lambda: "other")
    if change == "bytes":
        data = bytearray(file.read_bytes())
        data[-3] ^= 1
        file.write_bytes(data)
    (anew,) = summaries([copy])
    assert opened.count == 2 and len(kept(copy)) == 1
    assert equal(made, anew) and (kept(copy) == [file]) == (change == "bytes")


def test_a_damaged_run_ends_it(copy):
    (shard,) = copy.glob("records/scalars/nscl/steps-000000000-*.safetensors")
    shard.write_bytes(shard.read_bytes()[:-1] + b"!")
    with pytest.raises(StoreError):
        summaries([copy])


def test_of_an_unfinished_run_a_gap_says_so(copy):
    entries = (copy / "manifest.jsonl").read_bytes().splitlines(keepends=True)
    kept_lines = [line for line in entries if b'"first":0' in line and b'"kind":"finish"' not in line]
    (copy / "manifest.jsonl").write_bytes(b"".join(kept_lines))
    (run,) = summaries([copy], DEFAULT)
    assert run.about["last"] < 4
    assert "(unfinished: " in run.value("weight_gap", "nscl", "step", 4).reason
