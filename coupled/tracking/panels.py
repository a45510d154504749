"""CKA of the panel for trackers, from the shards that the run has committed: no step waits for it."""

from collections.abc import Callable, Mapping
from pathlib import Path

import torch

from coupled.config import Config
from coupled.reading.growing import Growing
from coupled.reading.records import Records
from coupled.store import StoreError
from coupled.theory.alignment import linear_cka
from coupled.tracking.points import Point, point

_COLUMN = "state.h"


class PanelCka:
    """A tracker that others feed on: at each point it looks whether panels were committed since, and has `offer` take
    their debiased CKA of h to each arm's reference, "cka/<arm>" at the panel's step. Those before `start`, where the
    run goes on from, were offered before it was stopped.
    """

    def __init__(self, root: Path, config: Config, offer: Callable[[Point], None], start: int) -> None:
        self._growing, self._offer, self._next = Growing(root, Records), offer, start
        self._seen: Records | None = None
        self._compared = {arm: spec.reference for arm, spec in config.arms.items() if spec.reference is not None}

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Looks at what is committed now."""
        del step, values
        self._look()

    def close(self) -> None:
        """Looks once more: the last panel comes with the end of the run."""
        self._look()

    def _look(self) -> None:
        records = self._growing.now()
        if records is self._seen:
            return
        self._seen = records
        arms = dict.fromkeys([*self._compared, *self._compared.values()])
        committed = [records.committed_steps("panel", arm, "state") for arm in arms]
        last = min((int(steps[-1]) if len(steps) else -1 for steps in committed), default=-1)
        for step in (int(step) for step in (committed[0] if committed else ()) if self._next <= step <= last):
            self._offer(point(step, {f"cka/{arm}": self._cka(records, arm, step) for arm in self._compared}))
            self._next = step + 1

    def _cka(self, records: Records, arm: str, step: int) -> float:
        own, other = (records.row("panel", name, _COLUMN, step) for name in (arm, self._compared[arm]))
        if own is None or other is None:
            raise StoreError(records.path, f"its panels of {arm} and {self._compared[arm]} are of different steps")
        return float(linear_cka(torch.tensor(own), torch.tensor(other)))
