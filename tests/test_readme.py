"""What the README shows of Python runs as it stands, at a smaller size."""

import numpy as np
from page_blocks import ROOT, only_python

SMALL = "['train.steps=12', 'batches.size=16', 'panel.size=32', 'panel.surrogate_size=8', 'paths.runs={}']"


def test_the_python_of_the_readme_runs(tmp_path, monkeypatch):
    code = only_python("README.md")
    monkeypatch.chdir(ROOT)
    names = {}
    small = code.replace('{"train.steps": 50}', SMALL.format(tmp_path))
    assert small != code
    exec(small, names)
    assert names["cka"].steps[-1] == 12 and len(names["batch"].steps) == 12
    assert {curve.bound for curve in names["bounds"]} > {"sharp", "free"} and names["growth"]
    assert np.isfinite(names["similar"]).all() and names["similar"][1] > 0
