"""Streams of one's own: recorded as the others are, without a byte of these being another."""

import subprocess
import sys

import numpy as np
import own_functions
import pytest
import torch
from helpers import recommit, rewrite, spoil_gradient
from interrupted import Crash, Stop, T, config_of, path_of, stopped
from own_functions import RECORD

from coupled import register_stream, runtime
from coupled.comparison import diff
from coupled.config import digest
from coupled.config.toml import to_toml
from coupled.driver.assembly import assemble
from coupled.driver.loop import lockstep
from coupled.driver.reporter import Silent
from coupled.driver.train import resume, train
from coupled.errors import RunStopped, UserError
from coupled.planning.panels import panel_cost
from coupled.planning.plan import plan
from coupled.reading.records import Records
from coupled.reading.run_json import read_run
from coupled.recording.layout import STREAMS
from coupled.store import StoreError, tree_hash
from coupled.streams import forget
from coupled.verification import verify

OWN = {"record": {"panel": {"every": 3}, "own": RECORD}}
OFF = {stream: {"every": 0, "log": 0, "last": False} for stream in STREAMS}


@pytest.fixture(autouse=True, scope="module")
def _registered():
    own_functions.register()
    yield
    own_functions.withdraw()


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return train(config_of(tmp_path_factory.mktemp("whole"), **OWN))


def records_of(path):
    facts, config, manifest = read_run(path)
    return Records(path, config, facts, manifest)


def objects(path, folder="."):
    files = (path / folder).rglob("*.safetensors")
    return {str(file.relative_to(path)): file.read_bytes() for file in files}


def test_what_a_function_returns_is_on_record(whole):
    records = records_of(whole)
    steps, ranks = records.column("own.rank", "cl", "batch.value")
    z = records.column("similarity", "cl", "batch.z")[1].astype(np.float64)
    assert steps.tolist() == [*range(T)] and (ranks.dtype, ranks.shape) == (np.float64, (T,))
    for rank, factor in zip(ranks, z, strict=True):
        share = np.linalg.eigvalsh(factor @ factor.T) / len(factor)
        assert rank == pytest.approx(np.exp(-sum(p * np.log(p) for p in share if p > 1e-12)))
    steps, norms = records.column("own.norms", "nscl", "batch.value")
    assert steps.tolist() == [0, 3, 6] and norms.dtype == np.float32
    assert norms == pytest.approx(records.column("layers", "nscl", "batch.gradient_norm")[1][steps], rel=1e-5)
    assert ("own.norms", "cl") not in records.shards and ("own.norms", "shared") not in records.shards


def test_a_panels_stream_has_the_last_state_and_what_the_panel_has(whole):
    records = records_of(whole)
    steps, centres = records.column("own.centres", "nscl", "state.value")
    assert steps.tolist() == [0, 1, 3, T]
    labels, h = records.fixed("panel", "fixed.labels.size"), records.row("panel", "nscl", "state.h", 3)
    literal = [[h[labels == c, k].astype(np.float64).mean() for k in range(h.shape[1])] for c in (0, 1)]
    assert centres[2] == pytest.approx(np.array(literal), rel=1e-12)


def test_nan_is_recorded_as_it_is(whole):
    records = records_of(whole)
    steps, odd = records.column("own.odd", "cl", "batch.value")
    assert steps.tolist() == [1, 2, 4] and np.isnan(odd[:, 0]).all()
    rates = records.column("scalars", "shared", "batch.learning_rate")[1][steps]
    labels = records.column("similarity", "shared", "batch.labels.size")[1][steps]
    assert (odd[:, 1] == labels + rates[:, None]).all()


def test_all_other_bytes_are_the_same_with_them_and_without(whole, tmp_path):
    without = objects(train(config_of(tmp_path)))
    others = {name: data for name, data in objects(whole).items() if not name.startswith("records/own.")}
    assert others == without and len(others) < len(objects(whole))


def test_their_bytes_do_not_depend_on_other_streams(whole, tmp_path):
    alone = train(config_of(tmp_path, record={**OFF, "own": RECORD}))
    assert objects(alone, "records") == {n: d for n, d in objects(whole).items() if n.startswith("records/own.")}


def test_a_config_without_one_that_records_is_the_config_without(tmp_path):
    never = config_of(tmp_path, record={"panel": {"every": 3}, "own": {"rank": {"every": 0}}})
    assert digest(never) == digest(config_of(tmp_path)) and "own" not in to_toml(never)


SLOW = [pytest.param(step, marks=pytest.mark.slow) for step in range(T + 1) if step != 4]


@pytest.mark.parametrize("step", [4, *SLOW])
def test_preempted_at_any_step_and_killed_a_step_later_they_go_on_to_the_golden_bytes(step, whole, tmp_path):
    if step < T:
        stopped(config_of(tmp_path, **OWN), Stop(step))
        with pytest.raises(KeyboardInterrupt):
            resume(path_of(tmp_path), reporter=Crash(step + 1))
    else:
        stopped(config_of(tmp_path, **OWN), Crash(step))
    assert tree_hash(resume(path_of(tmp_path))) == tree_hash(whole)


def test_verify_trains_them_again_and_names_one_that_is_not_the_same(whole, tmp_path):
    path = train(config_of(tmp_path, **OWN))
    sentence = next(proof for proof in verify(path, replay=1, stretch=3).proven if "trained again" in proof)
    assert "steps 0 to 3" in sentence
    name = "records/own.rank/cl/steps-000000000-000000002.safetensors"
    rewrite(path, name, lambda tensors: tensors["batch.value"].__setitem__(1, 1.25))
    verify(path)
    with pytest.raises(StoreError, match=r"batch\.value of own\.rank/cl at step 1: the largest difference is"):
        verify(path, replay=1, stretch=3)
    comparison = diff(path, whole)
    assert (comparison.step, comparison.rows[0].name) == (1, "batch.value of own.rank/cl")
    recommit(path, name, (path / name).read_bytes()[:-8])
    with pytest.raises(StoreError):
        verify(path)


def test_a_shard_of_another_shape_is_refused(whole, tmp_path):
    path = train(config_of(tmp_path, **OWN))
    name = "records/own.norms/nscl/steps-000000000-000000002.safetensors"
    rewrite(path, name, lambda tensors: tensors.update({"batch.value": tensors["batch.value"][:, :3].copy()}))
    with pytest.raises(StoreError, match=r"batch\.value is float32 \(1, 3\), the config makes it float32 \(1, \d+\)"):
        verify(path)


def test_diff_names_the_layer_that_differs(whole, tmp_path):
    path = train(config_of(tmp_path, **OWN))
    name = "records/own.norms/nscl/steps-000000003-000000004.safetensors"
    rewrite(path, name, lambda tensors: tensors["batch.value"].__setitem__((0, 0), 2.0))
    row = diff(path, whole).rows[0]
    assert (row.layer, row.size.partition(",")[0][:5]) == ("encoder.stem.weight", "1 of ")


def test_plan_counts_their_bytes_and_the_forwards_of_the_panel(whole, tmp_path):
    config = config_of(tmp_path, **OWN)
    layers, width = len(records_of(whole).facts["layers"]), records_of(whole).row_shape("panel", "cl", "state.h")[1]
    streams = plan(config).streams
    assert streams["own.rank"] == 2 * T * 8 and streams["own.norms"] == 3 * layers * 4
    assert streams["own.centres"] == 2 * 4 * 2 * width * 8 and streams["own.odd"] == 2 * 3 * 2 * 8 * 8
    assert panel_cost(config).observations == len({0, 3, 6} | {0, 1, 3, T})


class Units(torch.Tensor):
    """A tensor whose arithmetic is its own: none."""

    @classmethod
    def __torch_function__(cls, function, types, args=(), kwargs=None):
        return NotImplemented


def test_a_tensor_of_another_class_is_recorded_as_the_tensor_that_it_is(tmp_path, _withdrawn):
    def doubled(kind):
        return lambda seen: kind(seen.loss.double() * 2)

    values = []
    for kind in (torch.Tensor.clone, torch.nn.Parameter, lambda value: value.detach().as_subclass(Units)):
        run = train(config_of(tmp_path / f"{len(values)}", **bad(doubled(kind))))
        values.append([path.read_bytes() for path in sorted(run.glob("records/own.bad/cl/*"))])
        forget("bad")
    assert values[0] and values[0] == values[1] == values[2]


# -- what functions may not do


def bad(function, **registered):
    register_stream("bad", **registered)(function)
    return {"record": {"own": {"bad": {}}}}


@pytest.fixture
def _withdrawn():
    yield
    forget("bad")


MISTAKES = {
    "1 / 0": (lambda seen: 1 / 0, "ZeroDivisionError: division by zero; mend it in test_own_streams.py"),
    "no tensor": (lambda seen: 1.0, r"it returned float; a tensor float64 \(\) was registered"),
    "dtype": (lambda seen: seen.loss, r"it returned float32 \(\); a tensor float64 \(\)"),
    "shape": (lambda seen: seen.z.double(), r"it returned float64 \(16, 8\); a tensor float64 \(\)"),
    "no elements": (lambda seen: torch.empty((), dtype=torch.float64, device="meta"), "without elements"),
    "z": (lambda seen: seen.z.mul_(1).sum().double(), "it changes z; a stream only looks"),
    "weights": (lambda seen: seen.weights["encoder.stem.weight"].add_(1).sum().double(), "it changes weights;"),
    "ids": (lambda seen: seen.ids.add_(1).sum().double(), "it changes ids;"),
    "labels": (lambda seen: seen.labels["size"].add_(1).sum().double(), r"it changes labels\.size;"),
    "behind torch": (lambda seen: seen.gradients["encoder.stem.weight"].data.add_(1).sum().double(), "gradients"),
    "by numpy": (lambda seen: torch.tensor(np.add(seen.z.numpy(), 1, out=seen.z.numpy()).sum()).double(), "changes z"),
    "torch's draw": (lambda seen: torch.rand((), dtype=torch.float64), "it changes a global random generator"),
    "numpy's draw": (lambda seen: torch.tensor(np.random.rand()).double(), "it changes a global random generator"),  # noqa: NPY002
    "settings": (lambda seen: torch.set_default_dtype(torch.float64) or seen.loss.double(), "torch's settings"),
    "exit": (lambda seen: sys.exit(0), "SystemExit: 0"),
}  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_line_before_anything_is_written(mistake, tmp_path, _withdrawn):
    function, message = MISTAKES[mistake]
    with pytest.raises(UserError, match=rf"record\.own\.bad at step 0 of arm cl; .*{message}") as raised:
        train(config_of(tmp_path, **bad(function)))
    torch.set_default_dtype(torch.float32)
    assert "\n" not in str(raised.value) and not any(tmp_path.rglob("*"))


def test_a_function_that_changes_the_arithmetic_of_a_gpu_is_refused(tmp_path, monkeypatch, _withdrawn):
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", torch.backends.cudnn.benchmark)

    def changes(seen):
        torch.backends.cudnn.benchmark = not torch.backends.cudnn.benchmark
        return seen.loss.double()

    with pytest.raises(UserError, match="it changes torch's settings"):
        train(config_of(tmp_path, **bad(changes)))


def test_a_function_with_a_memory_is_refused(tmp_path, _withdrawn):
    seen_before = []
    function = lambda seen: seen_before.append(0) or torch.tensor(len(seen_before)).double()  # noqa: E731
    with pytest.raises(UserError, match="it gave other values the second time that it was given the same"):
        train(config_of(tmp_path, **bad(function)))


def test_a_mistake_on_the_way_stops_all_arms_and_the_run_goes_on_later(whole, tmp_path, monkeypatch):
    from coupled.recording.own import Function

    real = Function.__call__

    def fails(self, seen):
        if (self.where, seen.step, seen.arm) == ("record.own.centres", 3, "nscl"):
            raise self.mistake(seen, "ValueError: odd", "mend it")
        return real(self, seen)

    with monkeypatch.context() as patched, pytest.raises(UserError, match="centres at step 3 of arm nscl; ValueError"):
        patched.setattr(Function, "__call__", fails)
        train(config_of(tmp_path, **OWN))
    assert tree_hash(resume(path_of(tmp_path))) == tree_hash(whole)


def test_what_is_not_finite_is_told_before_a_function_that_cannot_bear_it(tmp_path, monkeypatch, _withdrawn):
    """On a device that runs behind the host the function sees it first."""
    monkeypatch.setattr(runtime, "runs_behind", lambda device: True)
    own = bad(lambda seen: seen.loss.double() * (1 // int(all(g.isfinite().all() for g in seen.gradients.values()))))
    run = assemble(config_of(tmp_path, **own))
    spoil_gradient(run.arms["nscl"], 2)
    with run, pytest.raises(RunStopped, match="arm nscl has a non-finite gradient at step 2"):
        lockstep(run, Silent())


SCRIPT = """
import os, torch, coupled
@coupled.register_stream("bad")
def bad(seen):
    assert not ("FAIL" in os.environ and seen.step == 2 and seen.arm == "nscl"), "odd"
    return seen.loss.double()
"""


@pytest.mark.slow
def test_a_mistake_on_one_rank_ends_all_of_them_in_one_line(tmp_path, monkeypatch):
    (tmp_path / "odd.py").write_text(SCRIPT)
    sections = {"code": {"files": [str(tmp_path / "odd.py")]}, "record": {"own": {"bad": {}}}}
    config, golden = config_of(tmp_path, **sections), train(config_of(tmp_path / "one", **sections))
    (tmp_path / "tiny.toml").write_text(to_toml(config))
    call = [sys.executable, "-m", "coupled", "train", str(tmp_path / "tiny.toml"), "--ranks", "2"]
    call += ["--set", f"paths.runs={tmp_path}"]
    with monkeypatch.context() as patched:
        patched.setenv("FAIL", "1")
        done = subprocess.run(call, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 2, done.stderr
    assert done.stderr.count("coupled-run: ") == 1
    assert "record.own.bad at step 2 of arm nscl; AssertionError: odd; mend it in odd.py" in done.stderr
    assert subprocess.run(call, capture_output=True, check=False, timeout=120).returncode == 0
    assert tree_hash(tmp_path / "tiny") == tree_hash(golden)
