import pytest
from claimed_sweeps import Maker


@pytest.fixture
def maker(tmp_path):
    return Maker(tmp_path)
