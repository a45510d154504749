import pytest
import torch
from hypothesis import HealthCheck, settings

# How long an example takes, or the making of one, is the machine's doing: no test may fail by it.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")


def pytest_addoption(parser):
    parser.addoption("--threads", type=int, default=1, help="CPU threads of torch in every test (default: 1)")


@pytest.fixture(autouse=True)
def _threads(request):
    """Threads are an identity field: a test that wants another number says so. Two spinning on busy cores are slow."""
    torch.set_num_threads(request.config.getoption("--threads"))
