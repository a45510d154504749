"""Libraries of the extras, imported when a command needs them and not before, and how those of `evaluation` are run."""

import importlib
import threading
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from types import ModuleType
from typing import Final

from coupled.errors import UserError


def extra(module: str, library: str, needed_for: str, *, instead: str = "", of: str = "evaluation") -> ModuleType:
    """The module of a library; UserError where it is not installed. `instead`: what works without it. `of`: the extra
    of this package that installs it.
    """
    try:
        return importlib.import_module(module)
    except ImportError:
        do = f"pip install 'coupled[{of}]'"
        do = f"{do}, or {instead}" if instead else do
        raise UserError(f"{needed_for} needs {library}", "it is not installed here", do) from None


class _Shared:
    """What all threads inside `alone` share: the first to enter sets it up, the last to leave takes it down."""

    lock: Final = threading.Lock()
    inside = 0
    state = ExitStack()


@contextmanager
def alone(needed_for: str) -> Iterator[None]:
    """Inside, BLAS uses one thread, so that no sum depends on the number of cores, and scikit-learn does not warn of a
    fit that fell short: who fits measures that, and says so. Several threads may be inside; it may be entered again.

    UserError where scikit-learn is not installed.
    """
    pools = extra("threadpoolctl", "scikit-learn", needed_for)
    unfinished = extra("sklearn.exceptions", "scikit-learn", needed_for).ConvergenceWarning
    with _Shared.lock:
        if _Shared.inside == 0:
            _Shared.state.enter_context(warnings.catch_warnings())
            warnings.simplefilter("ignore", unfinished)
            # One shot of each of many classes is no regression.
            warnings.filterwarnings("ignore", "The number of unique classes is greater than 50%", UserWarning)
            _Shared.state.enter_context(pools.threadpool_limits(1, user_api="blas"))
        _Shared.inside += 1
    try:
        yield
    finally:
        with _Shared.lock:
            _Shared.inside -= 1
            if _Shared.inside == 0:
                _Shared.state.close()
