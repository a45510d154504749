"""A sweep of a tiny base, from its text."""

import pytest

from coupled.sweeps.reading import load

BASE = """
data.labelling = "size"
batches.size = 8
views.size = 12
model = { width = 4, projection_hidden = 16, projection_dim = 8 }
train.steps = 6
panel = { size = 16, surrogate_size = 4 }
[arms.cl]
objective = "dcl"
[arms.nscl]
objective = "nscl"
"""


@pytest.fixture
def sweep(tmp_path):
    """Reads a sweep of the base from its text."""
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs/base.toml").write_text(BASE)
    (tmp_path / "sweeps").mkdir()

    def read(text, overrides=(), base='base = "../configs/base.toml"\n'):
        path = tmp_path / "sweeps/demo.toml"
        path.write_text(base + text)
        return load(path, overrides)

    return read
