"""A trained run, and a copy of it for every test."""

import shutil

import pytest
from spoilt import config_of

from coupled.driver.train import train


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    return train(config_of(tmp_path_factory.mktemp("verify")))


@pytest.fixture
def run(trained, tmp_path):
    return shutil.copytree(trained, tmp_path / "run")
