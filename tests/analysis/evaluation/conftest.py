"""Tests that evaluate kept checkpoints."""

import pytest


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where all tests of a file keep features and results."""
    return tmp_path_factory.mktemp("features")
