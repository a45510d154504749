import signal

import pytest
import torch
from hypothesis import HealthCheck, settings

# How long an example takes, or the making of one, is the machine's doing: no test may fail by it.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")
# What a shell starts in the background ignores Ctrl-C, and so does all that it starts.
signal.signal(signal.SIGINT, signal.default_int_handler)


# Its tests share a launch of all ranks, a minute each, and the runs of one process that they are compared with.
LAUNCHES = "tests/coupled/ranks/test_ranks.py"


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """With --dist loadgroup, the tests of `LAUNCHES` go to one worker; each other test goes to any that is free.

    The mark of xdist 3.8 for this purpose, xdist_group, has no effect with pytest 9.2: it changes an attribute of the
    tests (_nodeid) that pytest no longer reads.
    """
    if config.getvalue("dist") != "loadgroup":
        return None
    from xdist.scheduler import LoadScopeScheduling

    class Scheduling(LoadScopeScheduling):
        def _split_scope(self, nodeid):
            return LAUNCHES if nodeid.startswith(LAUNCHES) else nodeid

    return Scheduling(config, log)


def pytest_collection_modifyitems(items):
    """The longest tests first, so that no worker is left alone with one of them."""
    items.sort(key=lambda item: not item.nodeid.startswith("tests/test_shipped.py"))


def pytest_addoption(parser):
    parser.addoption("--threads", type=int, default=1, help="CPU threads of torch in every test (default: 1)")


@pytest.fixture(autouse=True)
def _threads(request):
    """Threads are an identity field: a test that wants another number says so. Two spinning on busy cores are slow."""
    torch.set_num_threads(request.config.getoption("--threads"))


@pytest.fixture(autouse=True)
def _no_terminal(monkeypatch):
    """Output goes to no terminal, whatever is said of that of whoever runs the tests (CI services set FORCE_COLOR)."""
    for name in ("COLUMNS", "LINES", "FORCE_COLOR", "NO_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
