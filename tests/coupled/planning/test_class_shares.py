"""How many of a placebo's pairs are of one true class by chance, as far as it is known before training."""

import math

import pytest
import torch
from helpers import tiny

from coupled.cli import main
from coupled.inputs.order import Uniform
from coupled.inputs.placebo import overlap_by_chance
from coupled.planning.class_shares import permuted_overlaps

ARMS = {
    "cl": {"objective": "dcl"},
    "nscl": {"objective": "nscl"},
    "fine": {"objective": "nscl", "labelling": "shape"},
    "placebo": {"kind": "placebo", "of": "nscl"},
    "again": {"kind": "placebo", "of": "nscl", "draw": 2},
    "other": {"kind": "placebo", "of": "fine"},
}


def test_each_permuted_labelling_has_its_share_once(tmp_path):
    overlaps = permuted_overlaps(tiny(tmp_path, arms=ARMS))
    assert list(overlaps) == ["size", "shape"]
    # Some thousand images of even classes, one pair of them in C.
    assert overlaps["size"] == pytest.approx(1 / 2, abs=0.01) and overlaps["shape"] < 0.2
    assert permuted_overlaps(tiny(tmp_path)) == {}


def test_the_share_of_a_uniform_stream_is_that_of_its_batches_in_the_mean():
    labels = torch.tensor([0] * 9 + [1] * 6 + [2])
    stream = Uniform(0, len(labels), 4)
    shares = [_pairs(labels[stream.at(step)[0]].bincount(minlength=3)) for step in range(4000)]
    expected = overlap_by_chance(labels.bincount())
    # Hoeffding for the means of 1000 epochs of four batches, in [0, 1]: further away once in 10⁹ seeds.
    assert abs(sum(shares) / len(shares) - expected) < math.sqrt(math.log(2e9) / (2 * 1000))


def _pairs(counts):
    """docs/theory.md (100) of one batch, in which there may be no pair of one class."""
    return float((counts * (counts - 1)).sum() / (4 * 3))


def test_a_balanced_stream_has_even_classes_and_is_not_asked_of_others(tmp_path):
    balanced = {"size": 6, "stream": "balanced"}
    assert permuted_overlaps(tiny(tmp_path, arms=ARMS, batches=balanced)) == {"size": 2 * 3 * 2 / (6 * 5)}
    assert permuted_overlaps(tiny(tmp_path, arms=ARMS, batches={"size": 7, "stream": "balanced"})) == {
        "size": (4 * 3 + 3 * 2) / (7 * 6)
    }


def test_plan_says_it(tmp_path, capsys):
    config = tmp_path / "c.toml"
    config.write_text('[data]\nlabelling = "size"\n[arms.a]\nobjective = "nscl"\n[arms.p]\nkind = "placebo"\n')
    assert main(["plan", str(config)]) == 0
    assert "placebo         of size: 0.5 of the pairs of a class are of one true class" in capsys.readouterr().out
