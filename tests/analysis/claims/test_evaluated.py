"""What claims take from checkpoints: the steps, and the numbers that the evaluating commands give for all arms."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from helpers import tiny

import analysis
from analysis.aggregation.gap import Gap
from analysis.arrays.optimum import class_geometry
from analysis.claims import evaluated
from analysis.claims.evaluated import SAMPLES, Evaluated, looked_at
from analysis.claims.rules import EVALUATED
from analysis.evaluation.features import Evaluation, Place
from analysis.evaluation.losses import losses
from analysis.evaluation.probe import probe
from analysis.evaluation.probe.curves import NOT_OPTIMAL
from coupled.driver.train import train
from coupled.errors import UserError

COLLAPSE = ("within_class_collapse", "simplex_deviation")


@pytest.mark.parametrize(
    ("measure", "kept", "expected"),
    [
        ("probe_accuracy", [300], [300]),
        ("probe_accuracy", [0, 299], "keeps no checkpoint of step 300"),
        ("nscl_loss_share", [0, 100, 300], [0, 300]),
        ("nscl_loss_share", [100, 300], "keeps no checkpoint of step 0"),
        ("few_shot_error", [300], [300]),
        ("few_shot_error", [0, 10, 120, 150, 300], [0, 120, 300]),
        *((measure, [0, 99, 130, 200, 300], [130, 300]) for measure in COLLAPSE),
        *((measure, [0, 99, 300], "keeps no checkpoint of step 100") for measure in COLLAPSE),
    ],
)
def test_the_steps_of_a_measure_are_kept_ones_or_the_first_that_is_not(measure, kept, expected):
    steps = looked_at(measure, kept, 300)
    assert (steps.reason if isinstance(steps, Gap) else steps) == expected


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    # CL has other labels by itself: it is measured under those of NSCL.
    arms = {
        "cl": {"objective": "dcl"},
        "nscl": {"objective": "nscl", "positive_in_denominator": True, "labelling": "shape"},
        "ce": {"objective": "ce"},
    }
    keep = {"steps": [0, 101], "last": True}
    folder = tmp_path_factory.mktemp("evaluated")
    config = tiny(folder, arms=arms, train={"steps": 102}, batches={"size": 32}, checkpoints={"keep": keep})
    return analysis.open_run(train(config))


def numbers(series):
    assert not isinstance(series, Gap)
    return list(zip(*(each.tolist() for each in series), strict=True))


@pytest.mark.slow
def test_measures_are_those_of_the_commands_for_the_arms_asked_for(run):
    of_run, whole = Evaluated(run, ("cl", "nscl")), Evaluation(run, steps=[0, 101, 102], size=SAMPLES)
    for arm in ("cl", "nscl"):
        labelling = "shape"
        for step, collapse in numbers(of_run.series("within_class_collapse", arm)):
            z = whole.features(Place(arm, step, "train"), "z")
            geometry = class_geometry(z, whole.sample("train").labels[labelling]).values
            assert collapse == pytest.approx(geometry["within_class_collapse"])
            deviation = dict(numbers(of_run.series("simplex_deviation", arm)))[step]
            assert deviation == pytest.approx(geometry["etf_cosine_rms"])
        curves = probe(Evaluation(run, steps=[102], size=SAMPLES), shots=[None], groups=["linear"], features=["h"])
        (accuracy,) = (
            each.values.item()
            for each in curves
            if (each.arm, each.split, each.measure, each.ways, each.labelling)
            == (arm, "test", "accuracy", 8, labelling)
        )
        assert numbers(of_run.series("probe_accuracy", arm)) == [(102, accuracy)]

    def loss(arm, step):
        (row,) = (
            row
            for row in losses(whole)
            if (row.arm, row.step, row.split, row.scope) == (arm, step, "test", "batch") and row.labelling == "shape"
        )
        return next(
            value for form, value in row.of.losses.items() if form.name == "nscl" and form.positive_in_denominator
        )

    share = (loss("cl", 0) - loss("cl", 102)) / (loss("nscl", 0) - loss("nscl", 102))
    assert numbers(of_run.series("nscl_loss_share", "cl")) == [(102, pytest.approx(share))]
    assert isinstance(of_run.series("probe_accuracy", "ce"), Gap)
    errors = of_run.errors()
    assert not isinstance(errors, Gap) and {row.step for row in errors.rows} == {0, 101, 102}
    assert {row.arm for row in errors.rows} == {"cl", "nscl"} and not errors.violations()


def rows(share, **more):
    """Rows of losses of both arms at the last step."""
    facts = {"split": "test", "scope": "batch", "labelling": "size", "step": 102, "temperature": 0.5}
    facts |= {"share": share, "share_with_positive": 0.7, **more}
    return [SimpleNamespace(**{**facts, "arm": arm}) for arm in ("cl", "nscl")]


def made(monkeypatch, of_losses, nscl):
    """The shares of a run whose losses are these."""
    arms = {"cl": {"objective": "dcl"}, "nscl": {"objective": "nscl", **nscl}}
    spec = {name: tables_of(name, arms) for name in arms}
    monkeypatch.setattr(evaluated, "losses", lambda evaluation: of_losses)
    return evaluated._shares(SimpleNamespace(run=SimpleNamespace(arms=spec)))["nscl_loss_share", "cl"]


def tables_of(name, arms):
    own = {"kind": "objective", "labelling": "size", "positive_in_denominator": None, "reference": None, **arms[name]}
    return SimpleNamespace(**{**own, "reference": "cl" if name == "nscl" else None})


def test_a_share_is_in_the_form_that_nscl_was_trained_by_or_says_why_there_is_none(monkeypatch):
    assert numbers(made(monkeypatch, rows(0.9), {"positive_in_denominator": False})) == [(102, 0.9)]
    assert numbers(made(monkeypatch, rows(0.9), {"positive_in_denominator": True})) == [(102, 0.7)]
    assert "has not lowered its loss" in made(monkeypatch, rows(math.nan), {}).reason
    monkeypatch.setattr(evaluated, "trained_by_nscl", lambda *of: None)
    assert made(monkeypatch, rows(0.9), {}).reason == "no arm is trained by NSCL at the temperature of cl"


def test_two_classes_say_nothing_of_the_simplex():
    two, three = (SimpleNamespace(classes=count, steps=np.array([100]), values=np.zeros(1)) for count in (2, 3))
    assert isinstance(evaluated._unless_of_two("simplex_deviation", two), Gap)
    assert numbers(evaluated._unless_of_two("within_class_collapse", two)) == [(100, 0.0)]
    assert numbers(evaluated._unless_of_two("simplex_deviation", three)) == [(100, 0.0)]


def test_a_probe_that_is_not_at_its_optimum_has_no_accuracy(monkeypatch):
    facts = {"arm": "cl", "split": "test", "labelling": "size", "reference": None, "measure": "accuracy", "ways": 2}
    curve = SimpleNamespace(**facts, steps=np.array([102]), values=np.array([0.8]), flags=(f"{NOT_OPTIMAL}: why",))
    monkeypatch.setattr(evaluated, "probe", lambda evaluation, **options: [curve])
    arms = {"cl": tables_of("cl", {"cl": {"objective": "dcl"}})}
    sample = SimpleNamespace(labels={"size": torch.tensor([0, 1])})
    evaluation = SimpleNamespace(arms=("cl",), run=SimpleNamespace(arms=arms), sample=lambda split: sample)
    assert evaluated._accuracies(evaluation)["probe_accuracy", "cl"].reason == f"cl: {NOT_OPTIMAL}: why"


@pytest.mark.slow
def test_what_cannot_be_evaluated_is_a_gap_that_says_why(run, monkeypatch):
    def absent(*args, **kwargs):
        raise UserError("the data set is not here", "it is needed")

    monkeypatch.setattr(evaluated, "Evaluation", absent)
    for measure in set(EVALUATED) - {"few_shot_error"}:
        series = Evaluated(run, ("cl", "nscl")).series(measure, "nscl")
        assert isinstance(series, Gap) and "the data set is not here" in series.reason
    assert isinstance(Evaluated(run, ("cl", "nscl")).errors(), Gap)
