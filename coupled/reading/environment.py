"""What a run was made with, against what is here now: the same bytes are promised only with the same."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from coupled.errors import UserError
from coupled.store import REAL, Entry, StoreError, verify_object
from coupled.store.canonical import strict_json
from coupled.store.errors import naming, one_line
from coupled.store.rundir import MAX_RUN_JSON

# Over how many ranks batches are split: it changes bytes, within rounding, and is not refused.
DATA_RANKS: Final = "ranks.data"
# What of run.json is not config. `versions.python` runs the host code only: it is noted, and changes no bytes.
_PARTS: Final = ("certificate", "data", "machine", "versions")
_NOTED: Final = frozenset({"versions.python"})


class Change(NamedTuple):
    """One fact of a run's environment (versions, machine, data) that was `then` and is `now`; dotted name."""

    name: str
    then: Any
    now: Any

    def __str__(self) -> str:
        return one_line(f"{self.name} {'' if self.then is None else f'was {self.then}, '}is {self.now}")


def environment(facts: Mapping[str, Any]) -> dict[str, Any]:
    """The facts of a run.json that are not config, by dotted name."""
    parts = {part: facts.get(part) for part in _PARTS}
    return {
        f"{part}.{key}": value
        for part, table in parts.items()
        for key, value in (table if isinstance(table, dict) else {}).items()
    }


def changes(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[Change]:
    """Every fact that differs between two environments."""
    names = sorted(then.keys() | now.keys())
    return [Change(name, then.get(name), now.get(name)) for name in names if then.get(name) != now.get(name)]


def that_may_change_bytes(differing: Sequence[Change]) -> list[Change]:
    """Those of the changes that may change bytes."""
    return [change for change in differing if change.name not in _NOTED]


def refused(differing: Sequence[Change]) -> list[Change]:
    """Those of the changes that a run does not go on under unless drift is allowed."""
    return [change for change in that_may_change_bytes(differing) if change.name != DATA_RANKS]


def latest_environment(root: Path, facts: Mapping[str, Any], entries: Sequence[Entry]) -> dict[str, Any]:
    """What the run was last continued with: run.json's environment, or that of the last accepted drift."""
    drifts = [entry for entry in entries if entry.kind == "drift"]
    return environment(facts) if not drifts else read_drift(root, drifts[-1])


def read_drift(root: Path, entry: Entry) -> dict[str, Any]:
    """The environment that a drift line's object holds, verified. Raises StoreError."""
    path = verify_object(root, entry.committed())
    with naming(path):
        data = REAL.read(path, MAX_RUN_JSON)
    try:
        now = strict_json(data)["now"]
        if not isinstance(now, dict):
            raise ValueError("now is no table")
    except (ValueError, KeyError, TypeError) as error:
        raise StoreError(path, f"not a record of drift: {error!r}") from None
    return now


def refuse(root: Path, differing: Sequence[Change]) -> None:
    """UserError naming both sides of what changed, if anything did."""
    if differing:
        shown = "; ".join(map(str, differing[:6])) + ("" if len(differing) <= 6 else f"; and {len(differing) - 6} more")
        raise UserError(
            f"{root} was made under other conditions: {shown}",
            "what is resumed is the same run, byte for byte, only under the same",
            "restore them, or give --allow-drift, which the run records",
        )
