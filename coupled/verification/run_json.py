"""What run.json says beside its config, before any check builds on it: a stranger may have written it."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from coupled.config import Config
from coupled.config.formats import IMPORTED
from coupled.reading.imported import NOTHING_PROMISED
from coupled.recording.run_json import DETERMINISM, inputs_facts
from coupled.store import Faults, StoreError
from coupled.store.manifest import RUN_JSON


def check_run_json(path: Path, facts: Mapping[str, Any], config: Config, faults: Faults) -> None:
    """Is every fact of its kind, and are those that the config determines as it does?"""
    promised, certified = DETERMINISM, _is_certificate(facts.get("certificate"), config)
    of_data = _is_data(facts.get("data"))
    if IMPORTED in facts:
        # Nobody saw their images or initial weights here.
        promised, certified = NOTHING_PROMISED, facts.get("certificate") is None
        of_data = facts.get("data") == {"train": None, "test": None}
    for name, is_so in (
        ("certificate", certified),
        ("data", of_data),
        ("machine", _is_names(facts.get("machine"))),
        ("versions", _is_names(facts.get("versions"))),
        ("determinism", facts.get("determinism") == promised),
    ):
        if not is_so:
            faults.add(StoreError(path / RUN_JSON, f"its {name} is not what a run of this config has there"))


def initial_weights(facts: Mapping[str, Any]) -> str | None:
    """The digest of the shared initial weights (hex); None where what stands there is none."""
    certificate = facts.get("certificate")
    digest = certificate.get("initial_weights") if isinstance(certificate, dict) else None
    return digest if _is_sha256(digest) else None


def _is_certificate(part: Any, config: Config) -> bool:
    inputs = inputs_facts(config)
    return (
        isinstance(part, dict)
        and part.keys() == {"seed", "initial_weights", *inputs}
        and type(part["seed"]) is int
        and part["seed"] == config.seed
        and all(part[key] == value for key, value in inputs.items())
        and _is_sha256(part["initial_weights"])
    )


def _is_data(part: Any) -> bool:
    whole = isinstance(part, dict) and part.keys() == {"train", "test"}
    return whole and all(value is None or _is_sha256(value) for value in part.values())


def _is_names(part: Any) -> bool:
    return isinstance(part, dict) and bool(part) and all(isinstance(value, str) for value in part.values())


def _is_sha256(value: Any) -> bool:
    return isinstance(value, str) and re.fullmatch("[0-9a-f]{64}", value) is not None
