"""Whether a data set's files are there, from their names alone: what `plan` says before anything is read."""

import pytest

from coupled.data import known, load, look
from coupled.errors import UserError

OF_FILES = [name for name in known() if name != "shapes"]


@pytest.mark.parametrize("name", OF_FILES)
def test_what_is_missing_is_said_as_loading_says_it(name, tmp_path):
    with pytest.raises(UserError) as looked:
        look(name, str(tmp_path))
    with pytest.raises(UserError) as loaded:
        load(name, "train", root=str(tmp_path))
    assert str(looked.value) == str(loaded.value)


def test_nothing_is_read(tmp_path):
    for split in ("train", "t10k"):
        for kind in ("images-idx3", "labels-idx1"):
            (tmp_path / f"{split}-{kind}-ubyte").write_bytes(b"no such file")
    assert look("fashion-mnist", str(tmp_path))


def test_procedural_images_have_no_files_to_look_for():
    assert not look("shapes")
