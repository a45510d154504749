"""A run directory opened for reading: run.json, checked before it is believed."""

import difflib
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from coupled import config as configs
from coupled.config import Config, from_resolved
from coupled.config.formats import FORMAT, KEYS, READ, START, upgraded
from coupled.errors import UserError
from coupled.reading.imported import check_imported
from coupled.recording.layout import layer_facts
from coupled.store import (
    REAL,
    Faults,
    Manifest,
    StoreError,
    canonical_json,
    digest,
    read_manifest,
)
from coupled.store.canonical import strict_json
from coupled.store.errors import naming, one_line
from coupled.store.manifest import MANIFEST
from coupled.store.rundir import MAX_RUN_JSON, RUN_JSON
from coupled.terminal.shell import shell


def read_run(path: Path, faults: Faults | None = None) -> tuple[dict[str, Any], Config, Manifest]:
    """The content of run.json, the config it resolved, and the manifest as it is now.

    The config that an earlier format wrote is read as if this one had written it; `schema` says which it was.

    Raises UserError if there is no run or its schema or config is not ours, StoreError (exit code 3) if it is damaged.
    `faults`, if given, takes what is wrong with lines of the manifest.
    """
    if not path.is_dir():
        raise UserError(f"no run at {path}", "the path of a run directory is needed", nearby_runs(path))
    with naming(path):
        there = (path / RUN_JSON).is_file()
    if not there:
        if (path / MANIFEST).is_file():  # which is written after it
            raise StoreError(path / RUN_JSON, f"is no file, though {MANIFEST} commits it")
        raise UserError(f"{path} is not a run", f"a run directory holds {RUN_JSON}", nearby_runs(path))
    facts, data = _facts(path / RUN_JSON)
    config, facts["config"] = _config(path / RUN_JSON, facts)
    manifest = read_manifest(path / MANIFEST, faults=faults)
    begin = manifest.entries[0].sha256 if manifest.entries else None
    if faults is None and begin != hashlib.sha256(data).hexdigest():
        raise StoreError(path / RUN_JSON, f"not the file that {MANIFEST} begins with (its SHA-256 there is {begin})")
    return facts, config, manifest


def nearby_runs(path: Path) -> str:
    """ "did you mean …?" if a run of a similar name lies beside `path`, else how runs are made."""
    try:
        names = [entry.name for entry in path.parent.iterdir() if (entry / RUN_JSON).is_file()]
    except OSError:
        names = []
    near = difflib.get_close_matches(path.name, names, n=1)
    return f"did you mean {shell(path.parent / near[0])}?" if near else "coupled-run train makes one"


def _facts(path: Path) -> tuple[dict[str, Any], bytes]:
    """The content of run.json, an untrusted file, its parts checked to be what later code takes them for; its bytes."""
    with naming(path):
        data = REAL.read(path, MAX_RUN_JSON)
    try:
        facts = strict_json(data)
        canonical_json(facts)  # what JSON can say beyond it (an overflowing number, half a character) has no digest
    except (ValueError, RecursionError) as error:
        raise StoreError(path, f"not JSON: {error}") from None
    if not isinstance(facts, dict) or type(facts.get("schema")) is not int:
        raise StoreError(path, "not the run.json of a run")
    if facts["schema"] not in READ:
        raise UserError(
            f"{path} has format {one_line(str(facts['schema']))}",
            f"this version of coupled reads format {' and '.join(map(str, READ))}",
            "use the version that wrote it",
        )
    if not isinstance(facts.get("config"), dict) or digest(facts["config"]) != facts.get("config_digest"):
        raise StoreError(path, "its config does not have its config_digest")
    unknown = [key for key in facts if key not in KEYS] + [key for key in (START,) if key in facts["config"]]
    if unknown:
        raise UserError(
            f"{path} is of a kind that this version of coupled does not know ({one_line(unknown[0])})",
            "it reads runs that begin at their initial weights, and imported checkpoints",
            "use the version that wrote it",
        )
    return facts, data


def refuse_earlier_format(path: Path) -> None:
    """UserError if the run.json at `path`, as it is, is of an earlier format; anything else about it is told later."""
    try:
        facts = strict_json(REAL.read(path / RUN_JSON, MAX_RUN_JSON))
    except (OSError, ValueError, RecursionError):
        return
    if isinstance(facts, dict) and facts.get("schema") in READ:
        must_be_of_this_format(path, facts, "go on with the version that wrote it, or train the config again")


def must_be_of_this_format(path: Path, facts: Mapping[str, Any], do: str) -> None:
    """UserError where a run is of an earlier format: it is read, and nothing is added to it; `do` says what helps."""
    if facts["schema"] != FORMAT:
        raise UserError(
            f"{path} is a run of format {facts['schema']}",
            f"only runs of format {FORMAT} can be resumed or trained further",
            do,
        )


def _config(path: Path, facts: Mapping[str, Any]) -> tuple[Config, dict[str, Any]]:
    """The config that a run.json resolved, by which all else in it, and later every shard, is checked; and its tables,
    in today's format.
    """
    try:
        tables = upgraded(facts["config"], facts["schema"])
        config = from_resolved(tables)
    except UserError as error:
        raise UserError(one_line(f"{path}: {error}"), "this version of coupled cannot read it") from None
    except (KeyError, TypeError, AttributeError) as error:
        raise StoreError(path, f"its streams and arms are not tables ({error!r})") from None
    if configs.digest(config, facts["schema"]) != facts["config_digest"]:
        raise StoreError(path, "its config is not a resolved one: by the rules it would be another")
    if configs.fingerprint(config) != facts.get("fingerprint"):
        raise StoreError(path, "its config does not have its fingerprint")
    if facts.get("layers") != layer_facts(config):
        raise StoreError(path, "its layers are not those of its config's network")
    check_imported(path, facts, config)
    return config, tables
