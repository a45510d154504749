"""Runs and curves in a notebook: one line, a table, a picture, a data frame."""

import re
import sys
from dataclasses import replace

import matplotlib.figure
import numpy as np
import pytest
from helpers import tiny

import analysis
import coupled
from analysis.runs import shown
from analysis.runs.curve import Band, Curve
from analysis.runs.numbers import number
from coupled.errors import UserError

FACTS = {
    "measure": "cka", "arm": "nscl", "reference": "cl", "n": 512, "d": 64, "feature": "h", "source": "panel",
    "split": "test", "labelling": None, "estimator": "debiased <linear> CKA", "undefined": "why",
}  # fmt: skip
STEPS, VALUES = np.array([0, 1, 10, 100]), np.array([1.0, 0.5, np.nan, 0.75])
BAND = Band(VALUES - 0.1, VALUES + 0.1, "95 % interval")
CURVE = Curve(steps=STEPS, values=VALUES, interval=BAND, **FACTS)


def test_a_curve_is_one_line_with_its_last_value():
    assert repr(CURVE) == "<cka of nscl to cl: 4 steps, 0 to 100, last 0.7500>"
    assert repr(replace(CURVE, values=np.full(4, np.nan))).endswith("last undefined>")
    empty = replace(CURVE, steps=STEPS[:0], values=VALUES[:0], interval=None)
    assert repr(empty) == "<cka of nscl to cl: no steps>" and "<svg" not in empty._repr_html_()
    bound = replace(CURVE, kind="upper bound", bound="rows", reference=None)
    assert repr(bound).startswith("<rows bound on cka of nscl: 4 steps")


def test_a_curve_in_a_notebook_has_its_facts_and_a_line_that_is_broken_where_it_is_undefined():
    html = CURVE._repr_html_()
    assert "debiased &lt;linear&gt; CKA" in html and "<linear>" not in html
    assert "n = 512, d = 64" in html and "95 % interval" in html and "labels" not in html
    (path,) = re.findall(r'<path d="([^"]+)"', html)
    assert [piece[0] for piece in path.split() if piece[0] in "ML"] == ["M", "L", "M"]
    assert path.startswith("M4.0 4.0 ")  # the largest value at the first step: the upper left corner


def test_a_curve_is_drawn_with_its_bands():
    axes = matplotlib.figure.Figure().subplots()
    assert CURVE.plot(axes) is axes
    np.testing.assert_array_equal(axes.lines[0].get_ydata(), VALUES)
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["cka of nscl", "95 % interval"]


class Frame(dict):
    """Stands for a data frame: what it was made of."""


def library(monkeypatch, name):
    module = type(sys)(name)
    module.DataFrame = Frame
    monkeypatch.setitem(sys.modules, name, module)
    module.__spec__ = type("Spec", (), {})()


def test_a_curve_is_a_frame_of_the_library_that_is_there(monkeypatch):
    monkeypatch.setattr(shown, "find_spec", lambda name: name if name == "polars" else None)
    library(monkeypatch, "polars")
    frame = CURVE.to_frame()
    assert list(frame) == ["step", "value", "low", "high"]
    np.testing.assert_array_equal(frame["low"], BAND.low)
    frame["value"][0] = 7.0  # a copy: the curve stays
    assert CURVE.values[0] == 1.0
    monkeypatch.setattr(shown, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="pandas or polars makes one, and neither is installed; pip install pandas"):
        CURVE.to_frame()


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    arms = {"cl": {"objective": "dcl"}, "nscl": {"objective": "nscl"}}
    return coupled.train(tiny(tmp_path_factory.mktemp("shown"), arms=arms, train={"steps": 2}), reporter=None)


def test_a_run_is_one_line_and_a_table_of_its_arms(path):
    run = analysis.open_run(path)
    assert repr(run) == f"<run {run.name}: finished; shapes, B = 8, float32, seed 0; arms cl nscl>"
    html = run._repr_html_()
    assert html.count("<tr>") == 3 and f"{number(run.curve('weight_gap', arm='nscl').values[-1])}" in html
