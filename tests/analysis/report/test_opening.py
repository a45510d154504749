"""The first sentence of a report: the numbers of its cards, and nothing where there are none."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from analysis.report import content_of, page, wording
from analysis.report.comparisons import Comparison
from analysis.report.opening import opening
from analysis.runs.curve import pick


@pytest.fixture(scope="module")
def content(run):
    return content_of([run])


def test_it_says_the_last_values_and_their_interval(content):
    cka = pick(content.curves, "cka", "nscl", source="panel", feature="h")
    gap = pick(content.curves, "weight_gap", "nscl")
    between = f"{wording.number(cka.interval.low[-1])} – {wording.number(cka.interval.high[-1])}"
    assert opening(content) == (
        f"After 20 steps nscl and cl have a CKA of {wording.number(cka.values[-1])} ({between}) and are "
        f"{wording.number(gap.values[-1])} apart in their weights (0: equal, 2: the most)."
    )
    assert f'<p class="result">{opening(content)}</p>' in page(content)


def test_a_control_stands_beside_it_as_a_mean_over_seeds(content):
    values = {"cka": [(0.9, 0.8), (0.9, 0.6)], "weight_gap": [(0.5, 0.3), (0.5, 0.2)]}
    placebo = Comparison("nscl", ("p",), "labels permuted", 20, values)
    sentence = opening(replace(content, comparisons=[placebo], runs=content.runs * 2))
    assert sentence.endswith(
        "the most), means over 2 seeds; its control (p: labels permuted) comes to 0.7000 and 0.2500."
    )
    lacking = replace(placebo, values={"cka": [], "weight_gap": [(0.5, 0.3)]})
    assert "control" not in opening(replace(content, comparisons=[lacking]))


def test_what_is_not_there_is_not_said(content):
    without_panel = [c for c in content.curves if c.source != "panel"]
    assert "CKA" not in opening(replace(content, curves=without_panel))
    assert opening(replace(content, curves=[])) == ""
    undefined = [replace(c, values=np.full_like(c.values, np.nan), interval=None) for c in content.curves]
    assert "have a CKA of undefined and are undefined apart" in opening(replace(content, curves=undefined))


def test_it_is_about_nscl_before_other_losses():
    from analysis.report.opening import _arm

    def arms(**kinds):
        return SimpleNamespace(
            run=SimpleNamespace(
                arms={
                    name: SimpleNamespace(kind=kind, objective=loss, reference=of)
                    for name, (kind, loss, of) in kinds.items()
                }
            )
        )

    scl, nscl = ("objective", "scl", "cl"), ("objective", "nscl", "cl")
    assert _arm(arms(cl=("objective", "dcl", None), scl=scl, nscl=nscl)) == "nscl"
    assert _arm(arms(cl=("objective", "dcl", None), scl=scl)) == "scl"
    assert _arm(arms(cl=("objective", "dcl", None), placebo=("placebo", "nscl", "cl"))) is None
