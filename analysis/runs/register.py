"""How a user's own measures become known: `register_measure`, and files that call it."""

import hashlib
import inspect
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, TypeVar

from analysis.runs.measures import MEASURES
from analysis.runs.own_measures import OwnMeasure, UserMeasure, registered
from analysis.statistics.estimates import RANGES
from coupled.config.user_code import run_file
from coupled.errors import UserError, unknown
from coupled.userfiles import calling_file

Function = TypeVar("Function", bound=UserMeasure)

# The names that curves of this package have, also those that no measure has by itself.
TAKEN: Final = frozenset(
    {
        *MEASURES, *RANGES, "rsa_spearman", "batch_cka", "batch_rsa", "gap_with_positive", "mass_with_positive",
        "gap_slack", "moved", "surrogate_drift", "surrogate_moved", "angle", "relative_distance", "excess", "put_in",
        "amplification", "flipped", "contrast", "instability", "objective", "from_instability", "from_objective",
        "objective_share",
    }
)  # fmt: skip
_HOW: Final = '@analysis.register_measure("name") above a function of x and y'
# What `execute` has registered: it is withdrawn before other files are run.
_of_files: list[str] = []


def register_measure(
    name: str, *, feature: str = "h", tensors: bool = False, bands: bool = True
) -> Callable[[Function], Function]:
    """Decorator that makes a function a measure of the analysis, known by `name` for the life of the process.

    The function takes x (n, D) of an arm and y (n, d) of its reference, float64 arrays of numpy (`tensors`: of torch)
    with the same samples in the same order, and, if it has a parameter of that name, `labels`, int64 (n,). It returns a
    real number, the same for the same features; NaN is a gap in the curve. h is as it was recorded; rows of z have norm
    1. It is of `feature` ("h", "z", "stage.<k>") of the panel unless `Run.curve` is asked for another. `bands`: it gets
    a 95 % jackknife interval and a null band, at up to 33 steps 25 calls each. The file that calls this may do so
    again, which replaces. Raises UserError for a name that is taken or not made of letters, digits and '_', and for a
    function that cannot be called so.
    """
    if not isinstance(name, str):
        raise UserError("register_measure without a name", "it makes a decorator", f"write {_HOW}")
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]{0,63}", name):
        raise UserError(f"measure name {name!a}", "a letter, then at most 63 letters, digits and '_'")
    if feature not in ("h", "z") and not re.fullmatch(r"stage\.\d+", feature):
        raise unknown("feature", feature, ("h", "z", "stage.<k>"))
    origin = calling_file()
    other = registered.get(name)
    if name in TAKEN:
        raise UserError(f"measure name {name} of {origin}", "a curve that is built in has it", "choose another")
    if other is not None and origin != _origin(other):
        raise UserError(f"measure name {name} of {origin}", f"{_origin(other)} has registered it", "choose another")

    def register(function: Function) -> Function:
        labelled = _asks_for_labels(name, function)
        file = None if origin == "__main__" else Path(origin)
        sha256 = None if file is None or not file.is_file() else hashlib.sha256(file.read_bytes()).hexdigest()
        file = file if sha256 else None
        registered.pop(name, None)
        registered[name] = OwnMeasure(name, function, file, sha256, feature, tensors, bands, labelled)
        return function

    return register


def forget(name: str) -> None:
    """Takes back a registration, if there is one."""
    registered.pop(name, None)


def execute(files: Sequence[Path]) -> None:
    """Runs Python files that register measures. What files given here before have registered is withdrawn.

    They are the user's own code, and run with all its rights. Raises UserError for a file that is missing, fails, or
    registers no measure.
    """
    for name in _of_files:
        forget(name)
    _of_files.clear()
    for file in files:
        before = dict(registered)
        try:
            run_file(file, "--code: ")
        finally:
            new = [name for name, own in registered.items() if before.get(name) is not own]
            _of_files.extend(new)
        if not new:
            raise UserError(f"--code: {file} registers no measure", "a file that does is needed", f"it has {_HOW}")


def _origin(own: OwnMeasure) -> str:
    return "__main__" if own.file is None else str(own.file)


def _asks_for_labels(name: str, function: UserMeasure) -> bool:
    """Has the function a parameter `labels`? UserError where it cannot be called as a measure is."""
    try:
        signature = inspect.signature(function)
    except TypeError:
        raise UserError(f"measure {name} is {function!r:.60}", "a function of x and y is needed") from None
    except ValueError:
        return False  # compiled functions may not say what they take
    labelled = "labels" in signature.parameters
    try:
        signature.bind(None, None, **({"labels": None} if labelled else {}))
    except TypeError:
        takes = f"takes {signature}"
        raise UserError(f"measure {name} {takes}", "a measure takes (x, y) or (x, y, labels)", "change it") from None
    return labelled
