"""Parts of the device check: how one is declared, guarded and reported."""

import importlib
import importlib.util
import json
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

PARTS: dict[str, list[tuple[str, Callable[[], Any], bool, tuple[str, ...]]]] = {}


class CheckError(AssertionError):
    """What a part found wrong, in one line."""


def part(*, gpu: bool = True, needs: tuple[str, ...] = ()) -> Callable[[Callable[[], Any]], Callable[[], Any]]:
    """A part of its file's group. It returns a note, or (note, table). `gpu`: it means nothing on a CPU."""

    def declared(function: Callable[[], Any]) -> Callable[[], Any]:
        group = function.__module__.removesuffix("_parts")
        PARTS.setdefault(group, []).append((function.__name__, function, gpu, needs))
        return function

    return declared


def row(group: str, name: str, result: str, seconds: float, note: str, table: str = "") -> dict[str, Any]:
    """A part's result."""
    return {"group": group, "part": name, "result": result, "seconds": seconds, "note": note, "table": table}


def run_group(group: str, file: Path, only: Sequence[str] = ()) -> None:
    """Runs every part of a group, or those named; each result is a line of `file` as soon as it is known. The first
    line names those that come.
    """
    import torch

    try:
        importlib.import_module(f"{group}_parts")
    except ModuleNotFoundError as error:
        if (module := _missing(error)) is None:
            raise
        _put(file, {"coming": []}, row(group, "(all its parts)", "LEFT OUT", 0, f"{module} is not installed"))
        return
    coming = [each for each in PARTS[group] if not only or each[0] in only]
    _put(file, {"coming": [name for name, *_ in coming]})
    for name, function, gpu, needs in coming:
        missing = [module for module in needs if importlib.util.find_spec(module) is None]
        started, table = time.perf_counter(), ""
        if gpu and not torch.cuda.is_available():
            result, note = "LEFT OUT", "there is no GPU here"
        elif missing:
            result, note = "LEFT OUT", f"{', '.join(missing)} is not installed"
        else:
            result, note, table = _guarded(function)
        seconds = time.perf_counter() - started
        print(f"{result:8} {group}/{name} ({seconds:.1f} s) {note}", flush=True)
        _put(file, row(group, name, result, seconds, note, table))


def _put(file: Path, *lines: dict[str, Any]) -> None:
    with file.open("a") as out:
        out.writelines(json.dumps(line) + "\n" for line in lines)


def _missing(error: ModuleNotFoundError) -> str | None:
    """The module of others that is not installed; None where one of ours is missing."""
    module = str(error.name).partition(".")[0]
    ours = module == "coupled" or (Path(__file__).parent.parent / f"{module}.py").exists()
    return None if ours or importlib.util.find_spec(module) is not None else module


def _guarded(function: Callable[[], Any]) -> tuple[str, str, str]:
    try:
        note = function()
    except CheckError as error:
        return "FAIL", str(error), ""
    except ModuleNotFoundError as error:
        module = _missing(error)
        return ("FAIL", str(error), "") if module is None else ("LEFT OUT", f"{module} is not installed", "")
    except BaseException as error:
        traceback.print_exc()
        return "FAIL", f"{type(error).__name__}: {str(error).splitlines()[0][:160] if str(error) else ''}", ""
    note, table = note if isinstance(note, tuple) else (note, "")
    return "PASS", str(note or ""), table


def check(ok: bool, otherwise: str) -> None:
    """Fails the part with a line unless `ok`."""
    if not ok:
        raise CheckError(otherwise)
