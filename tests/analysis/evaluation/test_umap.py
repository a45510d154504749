"""UMAP behind pictures: its import compiles for seconds, so that all of it is tested here, on few points."""

import math

import numpy as np
import pytest
import torch
from helpers import tiny

import analysis
from analysis.cli import main
from analysis.evaluation.features import Evaluation
from analysis.evaluation.kept import Kept
from analysis.evaluation.picture import picture
from analysis.evaluation.picture.embedding import Umap
from coupled.driver.train import train
from coupled.errors import UserError

pytestmark = [pytest.mark.slow, pytest.mark.kernels]


def test_a_second_call_takes_no_second_umap_and_gives_equal_bytes(tmp_path, monkeypatch):
    path = train(tiny(tmp_path, arms={"cl": {"objective": "dcl"}, "nscl": {"objective": "nscl"}}, train={"steps": 3}))
    command = ["picture", str(path), "--samples", "24", "--feature", "z", "--steps", "0", "3"]
    assert main(command) == 0
    written = {file: file.read_bytes() for file in (path / "analysis").glob("picture.*")}
    import umap

    monkeypatch.setattr(umap.UMAP, "fit_transform", lambda *_: pytest.fail("another UMAP"))
    assert main(command) == 0
    assert len(written) == 3 and all(file.read_bytes() == data for file, data in written.items())
    made = picture(Evaluation(analysis.open_run(path), size=24), feature="z")
    cl, nscl = (p.points for p in made.pictures if p.step == 0)
    assert cl.tobytes() == nscl.tobytes() and math.isnan(made.pictures[0].share)
    assert made.settings.startswith("UMAP: 15 neighbours, min_dist 0.1, euclidean, seed 0, umap-learn ")


def test_hard_features_give_finite_points_and_no_warning(tmp_path):
    generator = torch.Generator().manual_seed(0)
    centres = 100 * torch.randn(6, 3000, generator=generator).sign()
    ordinary = torch.randn(30, 6, generator=generator).double()
    cases = {
        "collapsed classes": centres.repeat(20, 1),
        "clusters far apart": centres.repeat(20, 1) + 1e-3 * torch.randn(120, 3000, generator=generator),
        "squares beyond float32": 1e19 * ordinary,
        "sums beyond float64": 1e307 * (ordinary + 6),
        "four": torch.randn(4, 6, generator=generator),
    }
    for x in cases.values():
        first, again = (Umap(len(x), Kept(tmp_path / name)).of(x).points for name in "ab")
        assert bool(first.isfinite().all()) and first.shape == (len(x), 2)
        assert first.numpy().tobytes() == again.numpy().tobytes()
        assert float(first.mean(0).abs().max()) < 1e-9


@pytest.mark.filterwarnings("ignore:Tensorflow not installed")  # where this test is the first of its process
def test_points_that_are_not_finite_are_one_line(tmp_path, monkeypatch):
    import umap

    monkeypatch.setattr(umap.UMAP, "fit_transform", lambda self, x: np.full((len(x), 2), np.nan, np.float32))
    with pytest.raises(UserError, match="not finite.*use --method pca"):
        Umap(20, Kept(tmp_path)).of(torch.randn(20, 4))
