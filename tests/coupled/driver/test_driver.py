import io
import json

import numpy as np
import pytest
import torch
from helpers import spoil_gradient, tables, tiny
from rich.console import Console

from coupled.commands.progress import ProgressReporter
from coupled.config import from_tables
from coupled.data import load
from coupled.driver.assembly import assemble
from coupled.driver.loop import lockstep
from coupled.driver.reporter import Silent
from coupled.driver.train import train
from coupled.errors import RunStopped, UserError
from coupled.inputs.source import Source
from coupled.recording.layout import STREAMS
from coupled.store import open_tensors, tree_hash

pytestmark = pytest.mark.kernels
OFF = {stream: {"every": 0, "log": 0, "last": False} for stream in STREAMS}
ALL = {stream: {"every": 1} for stream in OFF}


def stacked(path, stream, owner, column):
    """A column over all shards, in step order."""
    files = sorted((path / "records" / stream / owner).iterdir())
    return np.concatenate([opened[column] for f in files if column in (opened := open_tensors(f))])


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return train(tiny(tmp_path_factory.mktemp("runs")))


def test_the_twins_distance_is_exactly_zero_at_every_step(run):
    distance = stacked(run, "scalars", "twin", "state.distance")
    assert distance.tobytes() == np.zeros(7).tobytes()
    assert (
        stacked(run, "layers", "twin", "state.distance").tobytes()
        == np.zeros_like(stacked(run, "layers", "twin", "state.distance")).tobytes()
    )
    own, references = (stacked(run, "similarity", arm, "batch.z") for arm in ("twin", "cl"))
    assert own.tobytes() == references.tobytes()


def test_a_one_ulp_mutant_of_the_twin_shows(tmp_path):
    run = assemble(tiny(tmp_path))
    assert run is not None
    twin, reference = run.arms["twin"].state.weights, run.arms["cl"].state.weights
    assert twin.untyped_storage().data_ptr() != reference.untyped_storage().data_ptr()
    twin[0] = torch.nextafter(twin[0], torch.tensor(torch.inf))
    with run:
        lockstep(run, Silent())
    assert (stacked(run.root, "scalars", "twin", "state.distance") > 0).all()


def test_the_other_arms_differ_from_the_reference(run):
    for arm in ("nscl", "nudged", "independent"):
        distance = stacked(run, "scalars", arm, "state.distance")
        assert (distance[1:] > 0).all()
        assert (distance[0] == 0) == (arm == "nscl")


def test_the_same_config_twice_gives_identical_bytes(run, tmp_path):
    assert tree_hash(train(tiny(tmp_path))) == tree_hash(run)


def test_another_seed_gives_other_bytes(run, tmp_path):
    assert tree_hash(train(tiny(tmp_path, seed=1))) != tree_hash(run)


def checkpoints(path):
    return {p.relative_to(path): tensors_of(p) for p in sorted(path.glob("checkpoints/*/*.safetensors"))}


def tensors_of(path):
    return {name: array.tobytes() for name, array in open_tensors(path).items()}


def test_recording_all_on_or_all_off_leaves_identical_weights(tmp_path):
    every = {stream: schedule for stream, schedule in ALL.items() if stream != "ledger"}  # it has files of its own
    on, off = (train(tiny(tmp_path / n, record=r)) for n, r in (("on", every), ("off", OFF)))
    assert not (off / "records").exists()
    assert len(checkpoints(on)) == 15
    assert checkpoints(on) == checkpoints(off)


@pytest.mark.parametrize("stream", sorted(OFF))
def test_a_streams_tensors_do_not_depend_on_which_others_are_on(run, tmp_path, stream):
    default = {"every": 0, "log": 2} if stream == "pixels" else None
    default = {"log": 2, "last": True} if stream in ("panel", "surrogate") else default or {"every": 1}
    alone = train(tiny(tmp_path / "alone", record={**OFF, stream: default}))
    if stream in ("flips", "ledger"):  # which are off by default
        run = train(tiny(tmp_path / "others", record={stream: default}))
    shards = sorted(p.relative_to(alone) for p in alone.glob("records/**/*.safetensors"))
    assert shards == sorted(p.relative_to(run) for p in run.glob(f"records/{stream}/**/*.safetensors"))
    assert all(tensors_of(alone / name) == tensors_of(run / name) for name in shards)


def test_arms_are_the_same_alone_and_in_company(run, tmp_path):
    """One arm alone is a valid run, and its weights are those it has beside others."""
    alone = train(tiny(tmp_path, arms={"cl": {"objective": "dcl"}}))
    name = "checkpoints/step-000000006/cl.safetensors"
    assert tensors_of(alone / name) == tensors_of(run / name)
    assert "state.distance" not in open_tensors(next((alone / "records/scalars/cl").iterdir()))


def poisoned(*arguments, **_):
    # A constructor's fill on the meta device draws nothing: there is no storage.
    if arguments and isinstance(arguments[0], torch.Tensor) and arguments[0].is_meta:
        return arguments[0]
    raise AssertionError("a draw from a global generator")


def test_global_generators_are_untouched_by_build_and_steps(tmp_path, monkeypatch):
    torch.manual_seed(5)
    np.random.seed(5)  # noqa: NPY002 - the global generator is what is watched
    before = torch.get_rng_state().numpy().tobytes(), str(np.random.get_state())  # noqa: NPY002
    for name in ("manual_seed", "seed", "set_rng_state", "rand", "randn", "randint", "randperm", "normal", "bernoulli"):
        monkeypatch.setattr(torch, name, poisoned)
    for name in ("uniform_", "normal_", "random_", "bernoulli_", "exponential_"):
        monkeypatch.setattr(torch.Tensor, name, poisoned)
    train(tiny(tmp_path))
    assert (torch.get_rng_state().numpy().tobytes(), str(np.random.get_state())) == before  # noqa: NPY002


def test_first_records_are_of_the_shared_initialisation(run):
    h = {arm: stacked(run, "panel", arm, "state.h")[0].tobytes() for arm in ("cl", "nscl", "twin", "nudged")}
    assert h["cl"] == h["nscl"] == h["twin"]
    assert h["nudged"] != h["cl"]


def test_the_last_state_is_observed_by_weights_and_panel_only(run):
    last = "steps-000000006-000000006.safetensors"
    columns = {p.parent.parent.name: set(open_tensors(p)) for p in run.glob(f"records/*/cl/{last}")}
    assert columns.keys() == {"scalars", "layers", "motion", "panel", "surrogate"}
    assert all(name.startswith("state.") for names in columns.values() for name in names)


def test_shards_close_at_every_checkpoint_and_the_manifest_orders_them(run):
    lines = [json.loads(line[: line.rindex(b" ")]) for line in (run / "manifest.jsonl").read_bytes().splitlines()]
    assert [line["kind"] for line in lines][-1] == "finish"
    shards = [line for line in lines if line["kind"] == "shard"]
    assert {(line["first"], line["last"]) for line in shards} == {(0, 2), (3, 5), (6, 6)}
    keys = [(line["last"], *line["name"].split("/")[1:3]) for line in shards]
    assert keys == sorted(keys)


def test_every_steps_cross_losses_contain_the_own_loss(run):
    for arm in ("cl", "nscl"):
        own, cross = (stacked(run, "scalars", arm, c) for c in ("batch.loss", f"batch.loss_of.{arm}"))
        # One loss, summed in two orders in float32.
        assert np.abs(own - cross).max() < 1e-5


def test_recorded_update_norms_are_distances_between_checkpoints(run, tmp_path):
    path = train(tiny(tmp_path, checkpoints={"keep": {"every": 1}}))
    updates = stacked(path, "layers", "nscl", "update.norm")
    layers = [layer["name"] for layer in json.loads((path / "run.json").read_text())["layers"]]
    for step in range(6):
        old, new = (open_tensors(path / f"checkpoints/step-{s:09d}/nscl.safetensors") for s in (step, step + 1))
        moved = [np.linalg.norm(np.float64(new[f"weights.{n}"]) - np.float64(old[f"weights.{n}"])) for n in layers]
        assert np.allclose(moved, updates[step], rtol=1e-12)


def test_a_non_finite_gradient_stops_every_arm_before_the_update(tmp_path):
    run = assemble(tiny(tmp_path, checkpoints={"keep": {"every": 1}}))
    assert run is not None
    clean = train(tiny(tmp_path / "clean", checkpoints={"keep": {"every": 1}}))
    spoil_gradient(run.arms["nscl"], 2)
    with run, pytest.raises(RunStopped, match=r"arm nscl has a non-finite gradient at step 2"):
        lockstep(run, Silent())
    path = run.root
    assert "stopped" in (path / "log/events.jsonl").read_text()
    saved = checkpoints(path)
    assert max(saved).parts[1] == "step-000000002"
    assert saved == {name: c for name, c in checkpoints(clean).items() if name in saved}


def test_a_finished_run_is_left_alone_and_another_config_is_refused(run, tmp_path):
    config = tiny(tmp_path)
    path = train(config)
    before = (path / "manifest.jsonl").stat().st_mtime_ns
    assert train(config) == path
    assert (path / "manifest.jsonl").stat().st_mtime_ns == before
    with pytest.raises(UserError, match="--overwrite"):
        train(tiny(tmp_path, seed=9))
    assert train(tiny(tmp_path, seed=9), overwrite=True) == path


def test_missing_data_leaves_no_directory(tmp_path):
    config = from_tables(
        tables(
            data={"name": "fashion-mnist", "labelling": "class"},
            paths={"runs": str(tmp_path / "r"), "data": str(tmp_path)},
        )
    )
    with pytest.raises(UserError):
        train(config)
    assert not (tmp_path / "r").exists()


def test_zero_steps_record_the_start_alone(tmp_path):
    path = train(tiny(tmp_path, train={"steps": 0, "threads": 1}))
    assert sorted(p.name for p in (path / "records").iterdir()) == ["layers", "motion", "panel", "scalars", "surrogate"]


def test_float64_runs_see_the_pixels_of_float32(tmp_path):
    pixels = []
    for precision in ("float32", "float64"):
        config = tiny(tmp_path, train={"precision": precision})
        pixels.append(
            Source(config, load("shapes", "train", seed=0, root=""), ["size"], torch.device("cpu")).at(3).pixels
        )
    assert pixels[0].dtype == torch.float32
    assert torch.equal(pixels[0].double(), pixels[1])


def test_a_streams_shards_have_the_same_bytes_whatever_else_is_recorded(run, tmp_path):
    path = train(tiny(tmp_path, record={"pixels": {"log": 0}, "similarity": {"every": 0}}))
    for shard in path.glob("records/*/*/*.safetensors"):
        assert shard.read_bytes() == (run / shard.relative_to(path)).read_bytes()
    for file in path.glob("checkpoints/*/*"):
        assert file.read_bytes() == (run / file.relative_to(path)).read_bytes()


def test_a_stopped_run_leaves_the_terminal_as_it_was(tmp_path):
    screen = io.StringIO()
    config = tiny(tmp_path, train={"temperature": 1e-30})
    with pytest.raises(RunStopped):
        train(config, reporter=ProgressReporter(Console(file=screen, force_terminal=True)))
    assert screen.getvalue().count("\x1b[?25h") == screen.getvalue().count("\x1b[?25l") > 0


def test_a_damaged_run_can_be_overwritten(tmp_path):
    path = train(tiny(tmp_path))
    before = tree_hash(path)
    manifest = (path / "manifest.jsonl").read_bytes()
    (path / "manifest.jsonl").write_bytes(b"x" + manifest[1:])
    assert tree_hash(train(tiny(tmp_path), overwrite=True)) == before


def test_a_run_of_too_many_objects_is_refused_before_it_starts(tmp_path):
    config = tiny(tmp_path, train={"steps": 20_000}, checkpoints={"keep": {"every": 1}})
    with pytest.raises(UserError, match=r"thin out checkpoints\.keep"):
        train(config)
    assert not (tmp_path / "tiny").exists()
