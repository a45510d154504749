"""Probes of what has no answer, or half of one: it is said, and never a plausible number."""

import math

import numpy as np
import pytest
import torch
from probe_curves import one

import analysis
from analysis.evaluation.features import Evaluation
from analysis.evaluation.probe import probe
from analysis.evaluation.probe.trials import Probed
from coupled.errors import UserError

pytestmark = pytest.mark.kernels


def test_more_shots_than_a_class_has_are_undefined_with_their_reason(evaluation):
    (curve, *_) = probe(evaluation, shots=[79], draws=2, groups=["centre"], features=["h"])
    assert math.isnan(curve.at(6)) and "fewer than 79 shots" in curve.undefined


def test_neighbours_among_fewer_shots_are_undefined(curves):
    curve = one(curves, arm="cl", split="test", feature="h", classifier="knn20", ways=4, shots=4)
    assert math.isnan(curve.at(6)) and curve.undefined == "20 neighbours among fewer shots"


def test_test_samples_of_an_unknown_class_are_left_out_and_said():
    torch.manual_seed(0)
    train, test = torch.randn(20, 3), torch.randn(9, 3)
    probed = Probed(train, torch.arange(20) % 2, test, torch.tensor([0, 1, 7] * 3))
    assert probed.unknown == 3 and len(probed.test) == 6 and probed.count == 2


def test_of_two_classes_there_is_no_two_way_beside_c_way(evaluation, monkeypatch):
    for split in ("train", "test"):
        sample = evaluation.sample(split)
        monkeypatch.setitem(evaluation._samples, split, Halved(sample))
    curves = probe(evaluation, shots=[2], draws=2, groups=["centre"], features=["h"])
    assert {c.ways for c in curves} == {2} and len([c for c in curves if c.arm == "cl"]) == 4


class Halved:
    """A sample whose labels are of two classes."""

    def __init__(self, sample):
        self._sample, self.labels = sample, {"half": sample.labels["texture"] % 2}

    def __getattr__(self, name):
        return getattr(self._sample, name)

    def __len__(self):
        return len(self._sample)


def test_one_class_and_no_labels_are_one_line(evaluation, monkeypatch):
    labels_of(monkeypatch, evaluation, torch.zeros(80, dtype=torch.int64), torch.zeros(80, dtype=torch.int64))
    with pytest.raises(UserError, match="own: all train samples are of one class"):
        probe(evaluation)
    evaluation.sample("train").labels = {}
    with pytest.raises(UserError, match="has no labels"):
        probe(evaluation)


def labels_of(monkeypatch, evaluation, train, test):
    """The evaluation's samples with other labels, (n,) integers."""
    for split, labels in (("train", train), ("test", test)):
        sample = Halved(evaluation.sample(split))
        sample.labels = {"own": labels}
        monkeypatch.setitem(evaluation._samples, split, sample)


def test_pairs_are_of_classes_that_both_splits_have(evaluation, monkeypatch):
    labels_of(monkeypatch, evaluation, torch.arange(80) % 4, torch.arange(80) % 2)
    curves = probe(evaluation, shots=[3, None], draws=4, features=["h"])
    two_way = [c for c in curves if c.ways == 2 and c.measure == "accuracy" and not c.classifier.startswith("knn1")]
    assert two_way and all(np.isfinite(c.values).all() for c in two_way if c.classifier in ("centre", "linear", "knn5"))
    assert {c.draws for c in two_way if c.shots is None} == {1}
    assert any("there are 1 pairs of classes: draws repeat them" in flag for c in curves for flag in c.flags)
    (fourway, *_) = [c for c in curves if c.ways == 4 and c.split == "test"]
    assert "2 classes of train have no test samples: in no mean over classes" in fourway.flags


def test_all_pairs_of_all_samples_have_no_interval_as_none_is_drawn(evaluation, monkeypatch):
    labels_of(monkeypatch, evaluation, torch.arange(80) % 3, torch.arange(80) % 3)
    for draws, drawn in ((2, 2), (3, 3), (50, 3)):
        curves = probe(evaluation, shots=[None], draws=draws, groups=["linear"], features=["h"])
        (curve, *_) = [c for c in curves if c.ways == 2 and c.split == "test"]
        assert curve.draws == drawn and np.isnan(curve.interval.low).all() == (drawn == 3)


def test_splits_without_a_class_in_common_are_refused_before_any_work(evaluation, monkeypatch):
    labels_of(monkeypatch, evaluation, torch.arange(80) % 2, 5 + torch.arange(80) % 2)
    with pytest.raises(UserError, match="no test sample is of a class of train"):
        probe(evaluation)


def test_fewer_samples_than_neighbours_are_undefined_with_their_reason(trained, folder):
    few = Evaluation(analysis.open_run(trained), steps=[6], size=12, output=folder)
    curves = probe(few, shots=[None], draws=2, groups=["knn"], features=["h"], labelling="size")
    (curve, *_) = [c for c in curves if c.classifier == "knn20"]
    assert math.isnan(curve.at(6)) and curve.undefined == "20 neighbours among fewer shots"


def test_features_that_say_nothing_are_flagged(evaluation, monkeypatch):
    monkeypatch.setattr(Evaluation, "features", lambda self, place, column: torch.ones(80, 3))
    curves = probe(evaluation, shots=[3, None], draws=2, features=["h"])
    c_way = [c for c in curves if (c.labelling, c.ways) == ("texture", 4) and c.classifier in ("centre", "linear")]
    c_way = [c for c in c_way if c.reference is None]
    assert c_way and all(any("all samples go to one class" in flag for flag in c.flags) for c in c_way)


def test_nothing_is_said_of_one_class_where_features_tell_classes_apart(curves):
    named = [c for c in curves if c.classifier in ("centre", "linear") and c.shots is None and c.labelling == "texture"]
    assert not any("go to one class" in flag for c in named for flag in c.flags)


def test_an_unknown_labelling_is_refused(evaluation):
    with pytest.raises(UserError, match="labelling colours"):
        probe(evaluation, labelling="colours")
