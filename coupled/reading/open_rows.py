"""Rows of shards that have not closed, as a run that was asked to stop has saved them in preempt/."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from coupled.recording.layout import SHARED, Layout, open_rows_of
from coupled.store import REAL, Entry, Manifest, StoreError, TensorFile, open_tensors, shard_name, verify_object
from coupled.store.errors import naming
from coupled.store.objects import Committed
from coupled.store.rundir import PREEMPT, STATE
from coupled.store.saved import Saved, read_preempted

_PREFIX: Final = "step-"


@dataclass(frozen=True)
class OpenRows:
    """The rows of a stream and owner. `entry`: the line that a shard of them would have if it closed now, by which they
    are known; there is no file of its name. `committed`: the file in preempt/ that they lie in, which has rows of the
    owner's other streams too.
    """

    entry: Entry
    stream: str
    owner: str
    committed: Committed

    def opened(self, run: Path) -> TensorFile:
        """As if they were a shard of their own, its columns named as there. StoreError for a damaged file."""
        return _part(open_tensors(verify_object(run, self.committed)), self.stream, self.owner)


def open_rows(run: Path, manifest: Manifest, layout: Layout) -> list[OpenRows]:
    """The rows that the newest state in preempt/ adds to what this manifest has committed; none where there is none.

    Nothing is read of them yet, but for names. StoreError for a state that is damaged or of another manifest.
    """
    step = None if manifest.finished else _newest(run)
    if step is None:
        return []
    saved, _ = read_preempted(run, step, manifest)
    first: Any = saved.state.get("first")
    if not isinstance(first, dict) or first.keys() != layout.keys():
        raise StoreError(run / saved.folder / STATE, "the steps at which its shards began are not those of the run")
    reached = _reached(manifest)
    files = _files(run, saved, layout)
    found = []
    for stream, owners in layout.items():
        begins = first[stream]
        if type(begins) is not int or not 0 <= begins < step or begins <= reached.get(stream, -1):
            continue  # shards have closed since: the run went on from this state
        held = [owner for owner in owners if _holds(files, stream, owner, owners[owner])]
        # What is the same at every step lies with what arms share: rows without it cannot be understood.
        if any(name.startswith("fixed.") for name in owners.get(SHARED, {})) and SHARED not in held:
            continue
        for owner in held:
            committed = saved.files[_file(owner)]
            entry = Entry(
                0, "shard", begins, step - 1, shard_name(stream, owner, begins, step - 1), 0, committed.sha256
            )
            found.append(OpenRows(entry, stream, owner, committed))
    return found


def _newest(run: Path) -> int | None:
    folder = run / PREEMPT
    with naming(folder):
        names = REAL.names(folder) if REAL.is_folder(folder) else []
    steps = [name.removeprefix(_PREFIX) for name in names if (folder / name / STATE).is_file()]
    return max((int(step) for step in steps if step.isascii() and step.isdecimal()), default=None)


def _reached(manifest: Manifest) -> dict[str, int]:
    """The last step of every stream that is committed."""
    reached: dict[str, int] = {}
    for entry in manifest.entries:
        if entry.kind == "shard":
            stream = [*str(entry.name).split("/"), ""][1]
            reached[stream] = max(entry.last, reached.get(stream, -1))
    return reached


def _file(owner: str) -> str:
    return f"{open_rows_of(owner)}.safetensors"


def _files(run: Path, saved: Saved, layout: Layout) -> dict[str, TensorFile]:
    """The files of rows by owner, their headers read."""
    owners = dict.fromkeys(owner for of_stream in layout.values() for owner in of_stream)
    lacking = [owner for owner in owners if _file(owner) not in saved.files]
    if lacking:
        raise StoreError(run / saved.folder / STATE, f"it lists no {_file(lacking[0])}")
    return {owner: open_tensors(run / saved.files[_file(owner)].name) for owner in owners}


def _holds(files: Mapping[str, TensorFile], stream: str, owner: str, columns: Mapping[str, Any]) -> bool:
    names = {name.rpartition("/")[2] for name in files[owner] if name.startswith(f"{stream}/{owner}/")}
    return bool(names) and all(name in names for name in columns if name.startswith("fixed."))


def _part(file: TensorFile, stream: str, owner: str) -> TensorFile:
    """The columns of one stream of a file, under the names that they have in shards."""
    prefix = f"{stream}/{owner}/"
    tensors = {name.removeprefix(prefix): info for name, info in file.header.tensors.items() if name.startswith(prefix)}
    return TensorFile(file.path, replace(file.header, tensors=tensors), REAL)
