"""An encoder of one's own, the example of docs/own_code.md: trained, resumed, split over ranks, read with and without
its code.
"""

import re
import subprocess
import sys
from pathlib import Path
from tomllib import loads

import numpy as np
import pytest
import torch
from helpers import tables
from interrupted import Crash

from analysis.evaluation.features import Evaluation
from analysis.evaluation.networks import network_at
from analysis.runs.run import open_run
from coupled.config import digest, from_resolved, from_tables, resolved
from coupled.config.toml import to_toml
from coupled.config.user_code import execute
from coupled.driver.train import resume, train
from coupled.errors import UserError
from coupled.reading.export import export
from coupled.store import open_tensors, tree_hash
from coupled.verification import verify

PAGE = (Path(__file__).parents[2] / "docs/own_code.md").read_text()
(TEXT,) = re.findall(r"```python\n# patches\.py\n(.*?)```", PAGE, re.DOTALL)
STEPS = 3
TWO = {"cl": {"objective": "dcl"}, "nscl": {"objective": "nscl"}}


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "patches.py"
    path.write_text(TEXT)
    yield str(path)
    execute([])


def given(file, folder, **sections):
    made = tables(
        code={"files": [file]},
        paths={"runs": str(folder)},
        model={"encoder": "patches", "width": 8},
        panel={"stages": True},
        arms=TWO,
    )
    made["train"]["steps"] = STEPS
    for section, values in sections.items():
        made.setdefault(section, {}).update(values)
    return made


def own(file, folder, **sections):
    return from_tables(given(file, folder, **sections))


def test_it_trains_and_its_stage_features_are_recorded(file, tmp_path):
    path = train(own(file, tmp_path, model={"depth": 3}))
    shard = open_tensors(next((path / "records/panel/cl").iterdir()))
    assert shard["state.h"].shape[1:] == shard["state.stage.2"].shape[1:] == (16, 8)
    assert (shard["state.h"] == shard["state.stage.2"]).all()
    assert np.isfinite(shard["state.h"]).all()


@pytest.mark.parametrize("step", range(STEPS + 1))
def test_killed_after_any_step_it_goes_on_to_the_same_bytes(step, file, tmp_path):
    every = {"recovery": {"every": 1}}
    whole = train(own(file, tmp_path / "whole", checkpoints=every))
    config = own(file, tmp_path, checkpoints=every)
    with pytest.raises(KeyboardInterrupt):
        train(config, reporter=Crash(step))
    execute([])
    assert tree_hash(resume(tmp_path / "tiny", overrides=[f"code.files=['{file}']"])) == tree_hash(whole)


@pytest.mark.parametrize(
    ("default", "allowed"),
    [
        ("width=5000", "1 ≤ value ≤ 4096, as model.width"),
        ("heads=65", "1 ≤ value ≤ 64, as model.heads"),
        ("stem='7x7'", "one of cifar, imagenet, as model.stem"),
    ],
)
def test_a_default_that_no_config_may_have_is_refused_with_file_and_builder(default, allowed, file, tmp_path):
    Path(file).write_text(f"import coupled\n@coupled.register_encoder('patches')\ndef build({default}): ...\n")
    with pytest.raises(UserError) as told:
        from_tables(
            tables(code={"files": [file]}, paths={"runs": str(tmp_path)}, model={"encoder": "patches"}, arms=TWO)
        )
    option, value = default.split("=")
    shown = f"{Path(file).resolve()}: encoder patches: build has {option} = {value}; {allowed}; "
    assert str(told.value) == shown + "give it such a default, or none"


def test_its_config_as_toml_is_the_same_config(file, tmp_path):
    config = own(file, tmp_path)
    assert digest(from_tables({"name": "tiny", **loads(to_toml(config))})) == digest(config)


def test_a_run_is_read_exported_and_verified_without_the_code(file, tmp_path):
    config = own(file, tmp_path)
    path = train(config)
    Path(file).write_text("raise SystemExit")
    execute([])
    assert digest(from_resolved(resolved(config))) == digest(config)
    assert (open_run(path).curve("weight_gap", arm="nscl").values[1:] > 0).all()
    assert "encoder.embed.1.running_var" in open_tensors(export(path, "nscl"))
    assert any("initial weights: not made again" in word for word in verify(path).unproven)


def test_verify_proves_its_start_with_the_code(file, tmp_path):
    path = train(own(file, tmp_path))
    execute([])
    proven = verify(path, code=[file], replay=1).proven
    assert any("one start" in sentence for sentence in proven) and any("trained again" in one for one in proven)


def test_evaluation_needs_the_very_code(file, tmp_path):
    path = train(own(file, tmp_path))
    execute([])
    run = open_run(path)
    with pytest.raises(UserError, match="patches is the run's own code") as raised:
        network_at(run, "cl", STEPS, torch.device("cpu"))
    assert "\n" not in str(raised.value)
    evaluation = Evaluation(run, code=[file])
    network_at(evaluation.run, "cl", STEPS, torch.device("cpu"))(torch.zeros(2, 3, 12, 12))
    Path(file).write_text(TEXT.replace("x + block(x)", "x - block(x)"))
    execute([])
    with pytest.raises(UserError, match="patches is the run's own code"):
        network_at(Evaluation(run, code=[file]).run, "cl", STEPS, torch.device("cpu"))


def test_another_encoder_of_the_same_name_is_never_taken_for_the_runs(file, tmp_path):
    path = train(own(file, tmp_path))
    other = tmp_path / "other.py"
    other.write_text(TEXT.replace("x + block(x)", "x - block(x)"))
    execute([str(other)])
    with pytest.raises(UserError, match="the very files"):
        network_at(open_run(path), "cl", STEPS, torch.device("cpu"))


def test_an_outline_that_a_stranger_changed_is_refused(file, tmp_path):
    config = own(file, tmp_path)
    tables_ = resolved(config)
    tables_["model"]["tensors"] = ["a.b 3", "a 3"]
    with pytest.raises(UserError, match="model.tensors"):
        from_resolved(tables_)
    tables_["model"]["tensors"] = []
    with pytest.raises(UserError, match="a resolved config says"):
        from_resolved(tables_)


def test_what_only_built_in_encoders_have_is_refused(file, tmp_path):
    with pytest.raises(UserError, match="record.flips"):
        own(file, tmp_path, record={"flips": {"every": 1}})
    without = TEXT.replace("self.stage_sizes = [width] * depth", "pass")
    Path(file).write_text(without)
    with pytest.raises(UserError, match="panel.stages = true; patches gives no stage features"):
        own(file, tmp_path)
    with pytest.raises(UserError, match="model.tensors; resnet-small is built in"):
        from_tables(tables(model={"tensors": ["a 3"]}))


@pytest.mark.slow
def test_two_ranks_that_split_batches_train_it_to_rounding(file, tmp_path):
    ends = {}
    for ranks in (1, 2):
        config = own(file, tmp_path / str(ranks), train={"precision": "float64"}, ranks={"data": ranks, "arms": 1})
        (tmp_path / f"{ranks}.toml").write_text(to_toml(config, elastic=True))
        command = [sys.executable, "-m", "coupled", "train", str(tmp_path / f"{ranks}.toml"), "--ranks", str(ranks)]
        subprocess.run(command, check=True, capture_output=True, timeout=300)
        state = open_tensors(export(tmp_path / str(ranks) / "tiny", "nscl"))
        ends[ranks] = {name: np.array(state[name]) for name in state}
    for name, one in ends[1].items():
        assert np.abs(one - ends[2][name]).max() < 1e-10, name
    assert np.abs(ends[1]["encoder.embed.1.running_mean"]).max() > 0
