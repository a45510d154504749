"""`coupled.train` as a script or a notebook calls it."""

import pytest
from helpers import tiny

import coupled
from coupled.config import digest, load
from coupled.config.toml import to_toml
from coupled.errors import UserError

ARMS = {"cl": {"objective": "dcl"}, "nscl": {"objective": "nscl"}}


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(to_toml(tiny(tmp_path / "runs", arms=ARMS, train={"steps": 2}), elastic=True))
    return path


def test_overrides_are_a_table_or_lines_of_toml(file):
    lines = ["train.steps=1", 'arms.nscl.labelling="shape"', "checkpoints.keep.steps=[0, 1]", "record.panel.last=true"]
    table = {
        "train.steps": 1, "arms.nscl.labelling": "shape", "checkpoints.keep.steps": [0, 1], "record.panel.last": True,
    }  # fmt: skip
    assert load(file, table) == load(file, lines) and digest(load(file, table)) != digest(load(file))
    with pytest.raises(UserError, match="unknown key train.stepz"):
        load(file, {"train.stepz": 3})


def test_a_file_is_trained_with_progress_unless_silence_is_asked_for(file, capsys):
    path = coupled.train(file, {"train.steps": 1})
    assert "step 1/1" in capsys.readouterr().err
    assert coupled.train(str(file), {"train.steps": 1}) == path  # finished
    assert coupled.train(load(file), reporter=None).is_dir()
    assert capsys.readouterr().err == ""
    assert coupled.resume(path, extend=2) == path
    assert "step 2/2" in capsys.readouterr().err


def test_overrides_are_of_a_file_alone(file):
    with pytest.raises(TypeError, match="overrides are of a file"):
        coupled.train(load(file), {"train.steps": 3})
