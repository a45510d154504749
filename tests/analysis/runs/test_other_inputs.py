"""Arms with other inputs than their reference's are compared by weights and panel, and by no batch."""

import re

import numpy as np
import pytest
from other_inputs import config_of

import analysis
from analysis.bounds import gap
from analysis.curves import table
from analysis.runs.curve import pick
from coupled.driver.train import train
from coupled.errors import UserError

pytestmark = [pytest.mark.kernels, pytest.mark.slow]
APART = "other sees other batches (draw 1) and cl sees the shared inputs"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return analysis.open_run(train(config_of(tmp_path_factory.mktemp("others"), panel={"size": 32})))


@pytest.fixture(scope="module")
def curves(run):
    return analysis.curves(run)


@pytest.fixture(scope="module")
def bounded(run):
    return analysis.bounds(run)


def test_their_batches_are_compared_with_a_twins_alone(curves, bounded):
    for every in (curves, bounded):
        of_batches = {(c.arm, c.reference) for c in every if c.source == "batch" and c.reference is not None}
        assert of_batches == {("nscl", "cl"), ("twin", "other")}
    assert (pick(curves, "cka_biased", "twin", source="batch") or pick(curves, "cka", "twin", source="batch")).n == 16
    assert not pick(curves, "drift", "twin", source="batch").values.any()


def test_weights_and_panel_are_compared_as_ever(curves):
    for arm in ("other", "views", "twin"):
        assert pick(curves, "cka", arm, source="panel", feature="h") is not None
        assert pick(curves, "weight_gap", arm) is not None and pick(curves, "loss", arm) is not None


def test_it_is_said_why(run, curves):
    with pytest.raises(UserError, match=re.escape(f"batches of other against cl; {APART}")):
        run.curve("cka", arm="other", source="batch")
    with pytest.raises(UserError, match="twin sees other batches"):
        run.curve("rsa", arm="twin", source="batch", reference="views")
    notes = table.notes(run, curves)
    assert f"batches of other against cl are not compared: {APART}." in notes
    assert "batches of views against nscl" in notes and "batches of twin" not in notes


def test_the_gap_and_its_bounds_are_of_the_labels_that_the_arm_saw(run, bounded, monkeypatch):
    for arm in ("other", "twin", "views"):
        measured, recorded = pick(bounded, "gap", arm).values, run.curve("gap", arm=arm).values
        assert np.allclose(measured, recorded, rtol=1e-5), arm
    monkeypatch.setattr(gap, "owner_of_inputs", lambda config, arm: "shared")
    wrong = next(iter(gap.gap_curves(run, "other"))).values
    assert not np.allclose(wrong, run.curve("gap", arm="other").values, rtol=1e-5)
