"""The records of a run, checked before they are believed: hashes, fingerprint, steps. Arrays are mapped, not loaded."""

import difflib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from coupled.config import Arm, Config
from coupled.config.build import unknown
from coupled.errors import UserError
from coupled.layout import SHARED, STREAMS, schedule_of
from coupled.store import Committed, Manifest, StoreError, TensorFile, open_tensors, verify_object

STACKED: Final = ("state", "batch", "update")

Block = tuple[NDArray[np.int64], NDArray[Any]]


class Records:
    """What the committed shards of one run hold.

    `path` the run directory, `config` the resolved config, `facts` the whole run.json. The manifest is read when the
    run is opened: of a run that is still written, this is its state at that moment.
    """

    def __init__(self, path: Path, config: Config, facts: Mapping[str, Any], manifest: Manifest) -> None:
        self.path, self.config, self.facts = path, config, facts
        self.finished = manifest.finished
        self.fingerprint: str = facts["config_digest"]
        self._shards: dict[tuple[str, str], list[Committed]] = {}
        self._opened: dict[str, TensorFile] = {}
        self._last: int | None = None
        for entry in manifest.entries:
            if entry.kind == "shard":
                shard = entry.committed()
                self._shards.setdefault(self._owner(shard), []).append(shard)
                self._last = max(entry.last, self._last or 0)

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def arms(self) -> dict[str, Arm]:
        """The arms in the config's order, controls resolved to the objective they copy."""
        return self.config.arms

    @property
    def precision(self) -> str:
        return self.config.train.precision

    @property
    def steps(self) -> int | None:
        """The last step that committed records reach: train.steps of a finished run, None before the first shard."""
        return self._last

    @property
    def planned_steps(self) -> int:
        return self.config.train.steps

    def arm(self, name: str) -> Arm:
        """The arm of that name; UserError with the nearest name if there is none."""
        if name not in self.arms:
            raise unknown("arm", name, self.arms)
        return self.arms[name]

    def expected(self, stream: str, group: str) -> list[int]:
        """The steps at which the whole run has `group` (state, batch, update) of `stream`; empty: never recorded."""
        if stream not in STREAMS:
            raise unknown("stream", stream, STREAMS)
        steps = schedule_of(self.config, stream)
        # The last state has no batch and no update.
        return steps if group == "state" else [step for step in steps if step < self.planned_steps]

    def stream(self, stream: str, owner: str) -> Iterator[TensorFile]:
        """The committed shards of a stream and owner (an arm or "shared") in step order, each verified on first use.

        A shard maps tensor names (`group.column`) to read-only, memory-mapped arrays. Raises UserError if the run has
        no such records, StoreError (while iterating) for a shard that is damaged or of another run.
        """
        if stream not in STREAMS:
            raise unknown("stream", stream, STREAMS)
        if owner != SHARED:
            self.arm(owner)
        if not schedule_of(self.config, stream):
            raise UserError(
                f"{self.path} records no {stream}",
                f"its config has an empty schedule record.{stream}",
                "train with one",
            )
        shards = self._shards.get((stream, owner), [])
        if shards:
            return map(self._open, shards)
        if self.finished:
            raise UserError(f"{self.path} has no records {stream}/{owner}", f"it has {self._owners(stream)}")
        raise UserError(
            f"{self.path} has no step of {stream}/{owner} yet",
            "records are committed shard by shard",
            "try again later",
        )

    def blocks(self, stream: str, owner: str, column: str) -> Iterator[Block]:
        """(steps (k,), values (k, …)) of a column such as "batch.z", shard by shard, values memory-mapped.

        Raises like `stream`; StoreError too where steps are not those that the config schedules.
        """
        group = column.partition(".")[0]
        names = [name for name in next(self.stream(stream, owner)) if name.partition(".")[0] in STACKED]
        if column not in names:
            raise unknown(f"column of {stream}/{owner}", column, names)
        return self._checked_blocks(stream, owner, column, self.expected(stream, group))

    def column(self, stream: str, owner: str, column: str) -> Block:
        """All recorded steps, int64 (k,), and values (k, …) of a column that fits in memory. Raises like `blocks`."""
        blocks = list(self.blocks(stream, owner, column))
        return np.concatenate([steps for steps, _ in blocks]), np.concatenate([values for _, values in blocks])

    def fixed(self, stream: str, column: str) -> NDArray[Any]:
        """A column that is the same at every step, such as "fixed.ids" of the panel. Raises like `stream`."""
        shard = next(self.stream(stream, SHARED))
        if column not in shard or not column.startswith("fixed."):
            raise unknown(f"column of {stream}", column, [name for name in shard if name.startswith("fixed.")])
        return shard[column]

    def _checked_blocks(self, stream: str, owner: str, column: str, expected: list[int]) -> Iterator[Block]:
        index, seen = f"{column.partition('.')[0]}.step", 0
        for file in self.stream(stream, owner):
            if index not in file:
                continue
            steps, values = file[index], file[column]
            wanted = expected[seen : seen + len(steps)]
            if steps.tolist() != wanted or len(values) != len(steps):
                raise StoreError(file.path, f"holds the steps {_brief(steps.tolist())}, scheduled are {_brief(wanted)}")
            seen += len(steps)
            yield steps, values
        if self.finished and seen < len(expected):
            raise StoreError(self.path, f"finished, yet {stream}/{owner} lacks the steps {_brief(expected[seen:])}")

    def _open(self, shard: Committed) -> TensorFile:
        if shard.name not in self._opened:
            file = open_tensors(verify_object(self.path, shard))
            found = file.metadata.get("fingerprint")
            if found != self.fingerprint:
                raise StoreError(
                    file.path, f"its fingerprint is {found}, the run's is {self.fingerprint}; it is of another run"
                )
            self._opened[shard.name] = file
        return self._opened[shard.name]

    def _owner(self, shard: Committed) -> tuple[str, str]:
        parts = shard.name.split("/")
        if len(parts) != 4:
            raise StoreError(self.path / shard.name, "not records/<stream>/<arm>/<steps>")
        return parts[1], parts[2]

    def _owners(self, stream: str) -> str:
        return ", ".join(f"{stream}/{owner}" for found, owner in self._shards if found == stream) or f"no {stream}"


def nearby_runs(path: Path) -> str:
    """ "did you mean …?" if a run of a similar name lies beside `path`, else how runs are made."""
    try:
        names = [entry.name for entry in path.parent.iterdir() if (entry / "run.json").is_file()]
    except OSError:
        names = []
    near = difflib.get_close_matches(path.name, names, n=1)
    return f"did you mean {path.parent / near[0]}?" if near else "coupled-run train makes one"


def _brief(steps: list[int]) -> str:
    shown = " ".join(map(str, steps[:4]))
    return f"{shown} … {steps[-1]}" if len(steps) > 4 else shown or "none"
