"""Where results go: RUN/analysis/, outside every hash of the run, or a folder that the user chose, and then nothing is
written into the run. A file there is whole, also while it is replaced.
"""

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from coupled.errors import UserError
from coupled.store.errors import naming

FOLDER = "analysis"

# The folder that the user chose, and the runs and sweeps that were given, each with its own folder there. Of the whole
# process, for work is done in threads and in copies of it.
_chosen: list[tuple[Path, dict[Path, Path]]] = []


@contextmanager
def results_in(output: str | Path | None, given: Sequence[str | Path] = ()) -> Iterator[None]:
    """Inside, all results and all that is kept for later calls go below `output`, and into no run; None: as always.

    given: the runs or sweeps that will be analysed. Each has the folder `output`/NAME, by its own name, or by the last
    parts of its path where two bear one name; a sweep's runs have folders in that of the sweep. UserError where
    `output` is a file.
    """
    if output is None:
        yield
        return
    output = Path(output)
    if (output.exists() and not output.is_dir()) or any(part.is_file() for part in output.parents):
        raise UserError(f"{output} is no folder", "results are several files", "name a folder, which may be new")
    paths = list(dict.fromkeys(Path(path).resolve() for path in given))
    own = {path: output.joinpath(*_told_apart(path, paths)) for path in paths}
    _chosen.append((output, own))
    try:
        yield
    finally:
        _chosen.pop()


def _told_apart(path: Path, paths: Sequence[Path]) -> tuple[str, ...]:
    """The last parts of a path, as many as tell it from the others."""
    parts, others = path.parts[1:], [other.parts[1:] for other in paths if other != path]
    many = next((k for k in range(1, len(parts)) if all(parts[-k:] != other[-k:] for other in others)), len(parts))
    return parts[-many:]


def folder(path: Path) -> Path:
    """Where the results of the run or sweep at this path go."""
    if not _chosen:
        return path / FOLDER
    output, own = _chosen[-1]
    whole = path.resolve()
    for above in (whole, *whole.parents):
        if above in own:
            return own[above] / whole.relative_to(above)
    return output / whole.name


def found(path: Path, name: str) -> Path:
    """Where an earlier result of that run or sweep lies: in its folder, else in RUN/analysis/."""
    chosen = folder(path) / name
    return chosen if chosen.exists() else path / FOLDER / name


def write(path: Path, data: bytes) -> Path:
    """Writes or replaces a result atomically; StoreError if the operating system refuses."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with naming(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            temporary.write_bytes(data)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    return path


def remove_others(folder: Path, names: Iterable[str], written: Iterable[Path]) -> None:
    """Removes what an earlier call has left in a folder under the `names` of a command's results, but not `written`.

    StoreError if the operating system refuses.
    """
    for name in set(names) - {path.name for path in written}:
        with naming(folder / name):
            (folder / name).unlink(missing_ok=True)
