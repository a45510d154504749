"""The stream ledger: what every arm's divergence from its reference is made of."""

from torch import Tensor

from coupled.recording.observation import Observation, Observer, Rows, Setting, StepObservation


class Split(Observer):
    """docs/theory.md (103) to (108)."""

    stream = "ledger"

    def __init__(self, setting: Setting) -> None:
        self._ledger = setting.ledger
        self._batch: dict[str, dict[str, Tensor]] = {}

    def state(self, seen: Observation) -> Rows:
        rate = seen.links[None].learning_rate if isinstance(seen, StepObservation) else None
        rows = self._ledger.look(rate)
        self._batch = {name: _group(row, "batch") for name, row in rows.items()}
        return {name: _group(row, "state") for name, row in rows.items()}

    def batch(self, seen: StepObservation) -> Rows:
        # Of the one pass that `state` took: it cannot be taken twice, for the step is taken in with it.
        rows, self._batch = self._batch, {}
        return rows


def _group(row: dict[str, Tensor], group: str) -> dict[str, Tensor]:
    return {column: values for column, values in row.items() if column.startswith(f"{group}.")}
