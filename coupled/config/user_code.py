"""A user's own objectives, data sets, encoders and streams: Python files that register them."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

from coupled import streams
from coupled.data import registry as data_sets
from coupled.errors import UserError, raised
from coupled.models import registry as encoders
from coupled.objectives import registry as objectives
from coupled.userfiles import read_bytes

_REGISTRIES = (objectives, data_sets, encoders, streams)
# What files have registered: (registry, name). What a program registers by itself is not among it, and stays.
_own: list[tuple[int, str]] = []
# The SHA-256 of the files that ran last: what they registered is what is known now.
_executed: tuple[str, ...] = ()


def executed() -> tuple[str, ...]:
    """The SHA-256 (hex) of the files that ran last, in their order."""
    return _executed


def execute(files: Sequence[str]) -> tuple[str, ...]:
    """Run Python files that call `coupled.register_objective` and its like; their SHA-256 (hex).

    What files registered before is withdrawn first: a config sees its own files, as they are now, and no others'. They
    are the user's own code, named in the user's own config, and run with all its rights; what is read back from a run
    directory never runs any. Raises UserError where a file is missing or fails.
    """
    global _executed  # noqa: PLW0603 - it says what is in the registries, which are global
    _executed = ()
    for index, name in _own:
        _REGISTRIES[index].forget(name)
    _own.clear()
    before = [set(registry.known()) for registry in _REGISTRIES]
    try:
        _executed = tuple(run_file(Path(file)) for file in files)
        return _executed
    finally:
        for index, registered in enumerate(_REGISTRIES):
            _own.extend((index, name) for name in registered.known() if name not in before[index])


def run_file(path: Path, label: str = "code.files: ") -> str:
    """Run one Python file of a user's; its SHA-256 (hex). UserError, which begins with `label`, where it fails."""
    content = read_bytes(path, label, "give a Python file")
    try:
        # The very bytes that are hashed; a name of its own keeps `if __name__ == "__main__"` blocks out.
        exec(compile(content, str(path), "exec"), {"__name__": f"coupled_user_{path.stem}", "__file__": str(path)})
    except UserError:
        raise
    except (Exception, SystemExit) as error:
        raise UserError(f"{label}{path} fails", raised(error), "run it by itself") from None
    return hashlib.sha256(content).hexdigest()
