"""Canonical JSON: equal values have equal bytes, so that a digest of the bytes is a digest of the value."""

import hashlib
import json
from typing import Any


def canonical_json(value: Any) -> bytes:
    """UTF-8 JSON with sorted keys and no spaces; tuples are lists, floats their shortest repr (1 and 1.0 differ).

    Raises ValueError for NaN, infinities and lone surrogates, TypeError for keys that are not strings (1 and "1"
    would become one key) and for anything JSON cannot hold.
    """
    _refuse_other_keys(value)
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.encode("utf-8")


def digest(value: Any) -> str:
    """The sha256 of the value's canonical JSON, 64 hex digits. Raises like `canonical_json`."""
    return hashlib.sha256(canonical_json(value)).hexdigest()


def strict_json(data: bytes) -> Any:
    """Parses untrusted JSON; the caller bounds its length. Raises ValueError for all but plain JSON.

    Refused beyond the grammar: repeated keys (readers disagree on which one counts), NaN and infinities.
    """
    try:
        return json.loads(data.decode("utf-8"), object_pairs_hook=_no_repeats, parse_constant=_no_constant)
    except RecursionError:
        raise ValueError("JSON nested too deeply") from None


def _refuse_other_keys(value: Any) -> None:
    if isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str):
                raise TypeError(f"keys of canonical JSON are strings, given {key!r}")
            _refuse_other_keys(item)
    elif isinstance(value, list | tuple):
        for item in value:
            _refuse_other_keys(item)


def _no_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a key appears twice")
    return members


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")
