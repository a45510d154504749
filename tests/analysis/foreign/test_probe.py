"""Probes of imported checkpoints: what a run that was trained here has, imported ones have too."""

import numpy as np
import pytest

import analysis
from analysis.evaluation.features import Evaluation
from analysis.evaluation.probe import probe

pytestmark = pytest.mark.kernels


def test_every_imported_arm_is_probed_and_compared_with_its_reference(imported_run):
    run = analysis.open_run(imported_run)
    curves = probe(Evaluation(run, size=20), shots=[2, None], draws=2, features=["h"])
    assert {curve.arm for curve in curves} == set(run.arms)
    assert all(len(curve.steps) == 2 for curve in curves)
    own = [curve for curve in curves if curve.classifier == "linear" and curve.measure == "accuracy"]
    assert own and all(np.isfinite(curve.values).all() for curve in own)
    # Arms start equal: at the first epoch no difference is left. A classifier's head is no part of it.
    assert all(curve.values[0] == 0 for curve in curves if curve.reference and curve.classifier in ("centre", "linear"))
