"""The curves of a run at each moment: what is committed, and behind it what the run says of itself (log/live.json).

Looked at again, only shards that came since are read. Nothing is written, and no lock is taken.
"""

import os
import socket
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import takewhile
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from analysis.arrays.alignment import linear_cka, rsa
from analysis.output.thinning import spread
from analysis.runs.alignment import ESTIMATORS, FeaturePair
from analysis.runs.curve import Curve
from analysis.runs.run import Run
from coupled.config import Config
from coupled.reading.growing import Growing
from coupled.reading.live import Live, last_event, read_live
from coupled.reading.records import Block
from coupled.store import Manifest
from coupled.store.lock import LOCK, holder
from coupled.tracking.points import columns_of

_PANELS: Final = 120  # steps of a panel that are compared, about evenly spaced in log(step)
_AT_ONCE: Final = 24  # of them in one look: the others come with the next ones
_ALIGNMENT: Final = {"cka": linear_cka, "rsa": rsa}
_COLUMN: Final = "state.h"
_FRESH_S: Final = 120.0  # since a run of another machine last said where it is

State = Literal["running", "finished", "not running"]


class WatchedRun(Run):
    """A run whose columns of numbers are kept once they were read, also by what it grows to."""

    def __init__(self, path: Path, config: Config, facts: Mapping[str, Any], manifest: Manifest) -> None:
        super().__init__(path, config, facts, manifest)
        self._kept: dict[tuple[str, str, str], list[tuple[str, Block]]] = {}

    def column(self, stream: str, owner: str, column: str) -> Block:
        """The steps and values that are committed so far, which may be none."""
        kept, shards = self._kept.setdefault((stream, owner, column), []), self.shards.get((stream, owner), [])
        # What a resumed run has dropped, it makes again: with the same bytes, or not at all.
        equal = takewhile(bool, (sha == shard.sha256 for (sha, _), shard in zip(kept, shards, strict=False)))
        del kept[sum(equal) :]
        for shard in shards[len(kept) :]:
            file, steps = self.open(shard), f"{column.partition('.')[0]}.step"
            block = (file[steps].copy(), file[column].copy()) if column in file else _NOTHING
            kept.append((str(shard.sha256), block))
        blocks = [_NOTHING, *(block for _, block in kept)]
        return np.concatenate([at for at, _ in blocks]), np.concatenate([values for _, values in blocks])


_NOTHING: Final[Block] = (np.empty(0, np.int64), np.empty(0))


class Following:
    """The run at `path`, looked at again and again. Raises UserError where there is no run, also later."""

    def __init__(self, path: Path) -> None:
        self.path, self._growing = path, Growing(path, WatchedRun)
        self._compared: dict[tuple[str, str | None, str | None, int], float] = {}
        self._seen: object = None
        self._late = 0  # comparisons that were left for the next look
        self.look()

    def look(self) -> bool:
        """See what the run has done since; is there anything new? Raises UserError where the run is gone, StoreError
        where it is damaged.
        """
        self.run = self._growing.now()
        self.live: Live | None = None if self.run.finished else read_live(self.path)
        self.event, self.owner = last_event(self.path), holder(self.path / LOCK)
        self.state: State = self._state()
        before, self._seen = self._seen, (self.run, self.live, self.event, self.state)
        return before != self._seen or self._late > 0

    def _state(self) -> State:
        """Is the run finished, or is a process at work on it? Of one on another machine the live file alone tells."""
        if self.run.finished:
            return "finished"
        if self.owner is not None and self.owner[0] == socket.gethostname():
            return "running" if _is_there(self.owner[1]) else "not running"
        fresh = self.live is not None and abs(time.time() - self.live.time) < _FRESH_S
        return "running" if fresh else "not running"

    @property
    def done(self) -> int:
        """Updates made, as far as is known."""
        if self.run.finished:
            return self.run.planned_steps
        committed = max((entry.last for entry in self.run.manifest.entries), default=0)
        return min(max(committed, self.live.step if self.live else 0), self.run.planned_steps)

    def curves(self) -> list[Curve]:
        """Alignment on the panel, weight gap, losses and loss gap of each arm. Alignment may lack steps that the next
        looks add: a few are compared in each.
        """
        left, self._late = _AT_ONCE, 0
        curves: list[Curve] = []
        for arm in self.run.arms:
            curves += self._scalars(arm)
            aligned, left = self._aligned(arm, left)
            curves += aligned
        return [curve for curve in curves if len(curve.steps)]

    def _scalars(self, arm: str) -> Iterator[Curve]:
        for name, column in columns_of(self.run.config, arm).items():
            if self.run.schedules("scalars", column.partition(".")[0]):
                labelling = {"labelling": column.removeprefix("batch.gap.")} if name == "gap" else {}
                yield self._with_live(self.run.curve(name, arm=arm, **labelling), f"{name}/{arm}")

    def _with_live(self, curve: Curve, name: str) -> Curve:
        """The curve, gone on with what the run says of steps that are not committed."""
        last = int(curve.steps[-1]) if len(curve.steps) else -1
        points = self.live.points if self.live is not None else ()
        more = [(step, values[name]) for step, values in points if step > last and name in values]
        steps, values = (np.array([point[k] for point in more]) for k in range(2))
        if not more:
            return curve
        return replace(
            curve,
            steps=np.concatenate([curve.steps, steps.astype(np.int64)]),
            values=np.concatenate([curve.values, values.astype(np.float64)]),
        )

    def _aligned(self, arm: str, left: int) -> tuple[list[Curve], int]:
        """CKA and RSA of panel h, and how many comparisons are still left in this look."""
        run, reference = self.run, self.run.arms[arm].reference
        if reference is None or not run.schedules("panel"):
            return [], left
        own, other = (run.committed_steps("panel", name, "state") for name in (arm, reference))
        recorded = np.intersect1d(own, other)
        chosen = recorded[spread(recorded, _PANELS)] if len(recorded) else recorded
        keys = {step: self._key(arm, reference, step) for step in chosen.tolist()}
        missing = [step for step, key in keys.items() if ("cka", *key) not in self._compared]
        for step in missing[::-1][:left]:
            x, y = (_tensor(run.row("panel", name, _COLUMN, step)) for name in (arm, reference))
            for measure, function in _ALIGNMENT.items():
                self._compared[(measure, *keys[step])] = float(function(x, y))
        self._late += max(len(missing) - left, 0)
        known = [step for step, key in keys.items() if ("cka", *key) in self._compared]
        if not known:
            return [], left
        pair, steps = FeaturePair.of(run, arm), np.array(known, np.int64)
        curves = [
            pair.curve(measure, steps, self._values(measure, keys, known), estimator=ESTIMATORS[measure])
            for measure in _ALIGNMENT
        ]
        return curves, max(left - len(missing), 0)

    def _values(self, measure: str, keys: Mapping[int, Any], steps: list[int]) -> NDArray[np.float64]:
        return np.array([self._compared[(measure, *keys[step])] for step in steps], np.float64)

    def _key(self, arm: str, reference: str, step: int) -> tuple[str | None, str | None, int]:
        shards = [self.run.shard_at("panel", name, step) for name in (arm, reference)]
        own, other = (None if shard is None else shard.sha256 for shard in shards)
        return own, other, step


def _is_there(process: int) -> bool:
    """Does a process of this number run? One that has ended, and that nobody has asked about, does not."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        pass  # of another user
    try:
        return Path(f"/proc/{process}/stat").read_bytes().rpartition(b")")[2].split()[:1] != [b"Z"]
    except OSError:
        return True


def _tensor(row: NDArray[Any] | None) -> torch.Tensor:
    assert row is not None, "the step is recorded"
    return torch.tensor(row)
