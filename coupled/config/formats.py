"""Formats of run.json: what earlier ones call a field, and what they lack, read as if this one had written it.

Format 3 calls the arm that another is compared with `reference`, which was `anchor`, and has the stream `motion`. A
field that a later version adds is left out while it has its default (`option(later=True)`), so that the format stays.
"""

import warnings
from collections.abc import Mapping
from typing import Any, Final

from coupled.errors import UserError

FORMAT: Final = 3
READ: Final = (2, FORMAT)
# Kept for what is to come: a run that begins at another run's state has a table `start` in its config.
START: Final = "start"
# Only a run whose checkpoints come from elsewhere has this key (`reading.imported`).
IMPORTED: Final = "imported"
# What a run.json holds. A reader that does not know a key does not know what the run is.
KEYS: Final = (
    "schema", "config", "config_digest", "fingerprint", "layers", "data", "versions", "machine", "determinism",
    "certificate", IMPORTED,
)  # fmt: skip

_OLD, _NEW = "anchor", "reference"
_NEVER: Final = {"every": 0, "last": False, "log": 0, "steps": []}
_LATER_STREAMS: Final = ("motion",)  # which format 2 lacks: never recorded


def upgraded(tables: Mapping[str, Any], format_: int) -> dict[str, Any]:
    """The config of a run.json of format `format_` as format 3 has it. Raises KeyError, TypeError or AttributeError
    where its arms are not tables, or it has no streams.
    """
    if format_ == FORMAT:
        return dict(tables)
    never: dict[str, Any] = dict.fromkeys(_LATER_STREAMS, _NEVER)
    arms = [{_NEW if key == _OLD else key: value for key, value in arm.items()} for arm in tables["arms"]]
    return {**tables, "arms": arms, "record": {**tables["record"], **never}}


def downgraded(tables: Mapping[str, Any], format_: int) -> dict[str, Any]:
    """A resolved config as format `format_` has it: what its digest was computed of."""
    if format_ == FORMAT:
        return dict(tables)
    arms = [{_OLD if key == _NEW else key: value for key, value in arm.items()} for arm in tables["arms"]]
    record = {stream: schedule for stream, schedule in tables["record"].items() if stream not in _LATER_STREAMS}
    return {**tables, "arms": arms, "record": record}


def renamed(override: str) -> str:
    """An override such as "arms.nscl.anchor=cl" under the field's new name."""
    dotted, equals, value = override.partition("=")
    keys = dotted.strip().split(".")
    if len(keys) != 3 or keys[0] != "arms" or keys[2] != _OLD:
        return override
    _warn([dotted.strip()])
    return f"{keys[0]}.{keys[1]}.{_NEW}{equals}{value}"


def _warn(fields: list[str]) -> None:
    warnings.warn(f"{', '.join(fields)}: this field is now called {_NEW}", FutureWarning, stacklevel=1)


def with_reference(tables: Mapping[str, Any]) -> dict[str, Any]:
    """A user's tables with every arm's `anchor` under its new name, `reference`; one warning says so.

    Raises UserError for an arm that has both names.
    """
    arms = tables.get("arms")
    if not isinstance(arms, Mapping):
        return dict(tables)
    old = [name for name, arm in arms.items() if isinstance(arm, Mapping) and _OLD in arm]
    for name in old:
        if _NEW in arms[name]:
            raise UserError(
                f"arms.{name} has {_OLD} and {_NEW}", f"they are one field, now called {_NEW}", f"remove {_OLD}"
            )
    if old:
        _warn([f"arms.{name}.{_OLD}" for name in old])
    renamed = {name: {_NEW if key == _OLD else key: v for key, v in arms[name].items()} for name in old}
    return {**tables, "arms": {name: renamed.get(name, arm) for name, arm in arms.items()}}
