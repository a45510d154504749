"""A tiny run whose kept checkpoints are probed."""

import pytest
from helpers import tiny
from probe_curves import ASKED

import analysis
from analysis.evaluation.features import Evaluation
from analysis.evaluation.probe import probe
from coupled.driver.train import train


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    arms = {"cl": {"objective": "dcl"}, "nscl": {"objective": "nscl", "labelling": "texture"}, "twin": {"kind": "twin"}}
    return train(tiny(tmp_path_factory.mktemp("runs"), arms=arms))


@pytest.fixture(scope="module")
def evaluation(trained, folder):
    return Evaluation(analysis.open_run(trained), steps=[0, 6], size=80, output=folder)


@pytest.fixture(scope="module")
def curves(evaluation):
    return probe(evaluation, **ASKED)
