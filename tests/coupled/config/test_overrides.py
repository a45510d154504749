"""Mistakes in overrides are answered with what would fit, and a device that is chosen here is part of what a run is."""

import re

import numpy as np
import pytest

from coupled.config import digest, from_resolved, load, resolved
from coupled.errors import UserError


def test_an_override_that_only_fits_with_another_is_shown_with_it():
    quickstart = "configs/quickstart.toml"
    with pytest.raises(UserError, match=r"allowed: class; .* does not fit data.name: add --set data.labelling=class"):
        load(quickstart, ["data.name=cifar10"])
    with pytest.raises(UserError, match=r'does not fit data.name: add \{"data.labelling": "class"\}'):
        load(quickstart, {"data.name": "cifar10"})
    with pytest.raises(UserError) as error:
        load(quickstart, ["data.labelling=no"])
    assert "add --set" not in str(error.value)
    assert load(quickstart, ["data.name=cifar10", "data.labelling=class", "data.seed=0"][:2]).data.labelling == "class"


def test_in_python_errors_do_not_speak_of_options():
    with pytest.raises(UserError) as error:
        load("configs/quickstart.toml", {"train": 3, "train.steps": 4})
    assert str(error.value).startswith("overrides, train.steps=4; train is a value")


def test_in_python_values_may_be_paths_and_numbers_of_numpy(tmp_path):
    given = {
        "paths.runs": tmp_path / "out",
        "train.steps": np.int64(300),
        "optimiser.learning_rate": np.float32(0.1),
        "arms.nscl.positive_in_denominator": np.bool_(True),
    }
    config = load("configs/quickstart.toml", given)
    assert (config.paths.runs, config.train.steps) == (str(tmp_path / "out"), 300)
    assert config.optimiser.learning_rate == 0.1 and config.arms["nscl"].positive_in_denominator is True


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"train.steps": None}, "overrides, train.steps = None; a value is needed; leave it out"),
        ({"train": {"steps": None}}, "overrides, train = {'steps': None}; a value is needed"),
        ([{"train.steps": 3}], r"overrides \[{'train.steps': 3}\]; a dictionary, or a list of strings"),
        (b"train.steps=3", "overrides b'train.steps=3'; a dictionary, or a list of strings"),
        ("train.steps=3", "overrides 'train.steps=3'; a dictionary, or a list of strings, is needed"),
    ],
)
def test_in_python_what_is_no_override_is_told(given, message):
    with pytest.raises(UserError, match=f"^{message}"):
        load("configs/quickstart.toml", given)


def test_a_value_inside_a_table_that_an_override_gives_is_its_own(tmp_path):
    with pytest.raises(UserError) as error:
        load("configs/quickstart.toml", ['arms.x={objective="zzz"}'])
    assert "zzz" in str(error.value) and "file's own" not in str(error.value)


def test_a_sweep_in_place_of_a_config_is_taken_for_one_to_sweep():
    with pytest.raises(UserError, match=r"seeds\.toml is a sweep; .*was coupled-run sweep .*seeds\.toml meant"):
        load("sweeps/seeds")


def test_a_run_directory_in_place_of_a_config_is_taken_for_one_to_go_on_with(tmp_path):
    (tmp_path / "run.json").write_text("{}")
    with pytest.raises(UserError, match=f"is a run directory; .*was coupled-run resume {tmp_path} meant"):
        load(tmp_path, [])
    with pytest.raises(UserError, match=re.escape(f"was coupled.resume('{tmp_path}') meant")):
        load(tmp_path)


@pytest.mark.parametrize("there", [False, True])
def test_a_device_that_is_chosen_here_is_known_before_the_digest(there, monkeypatch, tmp_path):
    monkeypatch.setattr("torch.cuda.is_available", lambda: there)
    wanted = "cuda" if there else "cpu"
    chosen, named = (load("configs/quickstart.toml", [f"train.device={device}"]) for device in ("auto", wanted))
    assert chosen.train.device == wanted and digest(chosen) == digest(named) and resolved(chosen) == resolved(named)
    tables = resolved(chosen)
    tables["train"]["device"] = "auto"
    with pytest.raises(UserError, match="a run's own config names the device"):
        from_resolved(tables)
