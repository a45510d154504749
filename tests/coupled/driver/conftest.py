"""The run that no test of this folder interrupts."""

import pytest
from interrupted import config_of

from coupled.driver.train import train
from coupled.store import tree_hash


@pytest.fixture(scope="session")
def golden(tmp_path_factory):
    """The hash of the run that was never interrupted."""
    return tree_hash(train(config_of(tmp_path_factory.mktemp("golden"))))
