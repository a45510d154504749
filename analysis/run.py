"""Open a finished or growing run directory and ask it for curves."""

from pathlib import Path
from typing import Any

from analysis import measures
from analysis.curve import Curve
from analysis.records import Records, nearby_runs
from coupled.config import Config, from_resolved
from coupled.errors import UserError
from coupled.run import SCHEMA
from coupled.store import REAL, StoreError, digest, read_manifest
from coupled.store.canonical import strict_json
from coupled.store.errors import naming
from coupled.store.manifest import MANIFEST
from coupled.store.rundir import MAX_RUN_JSON, RUN_JSON


class Run(Records):
    """A run opened for reading."""

    def curve(self, measure: str, *, arm: str, **options: Any) -> Curve:
        """One measured quantity of `arm` over the recorded steps; see `analysis.measures` for measures and options.

        "cka" and "rsa" take `source` ("panel", "batch", "surrogate"), `feature` ("h", "z") and `anchor`; without them
        it is the headline: panel, h, against the arm's own anchor. Raises UserError for what the run does not have.
        """
        return measures.curve(self, measure, arm, **options)


def open_run(path: str | Path) -> Run:
    """Opens a run directory, finished or not; shards are verified when they are first read.

    Raises UserError if there is no run or its schema is not ours, StoreError (exit code 3) if it is damaged.
    """
    path = Path(path)
    if not path.is_dir():
        raise UserError(f"no run at {path}", "the path of a run directory is needed", nearby_runs(path))
    if not (path / RUN_JSON).is_file():
        raise UserError(f"{path} is not a run", f"a run directory holds {RUN_JSON}", nearby_runs(path))
    facts = _facts(path / RUN_JSON)
    return Run(path, _config(path / RUN_JSON, facts["config"]), facts, read_manifest(path / MANIFEST))


def _facts(path: Path) -> dict[str, Any]:
    """The content of run.json: an untrusted file, so its parts are checked to be what later code takes them for."""
    with naming(path):
        data = REAL.read(path, MAX_RUN_JSON)
    try:
        facts = strict_json(data)
    except ValueError as error:
        raise StoreError(path, f"not JSON: {error}") from None
    if not isinstance(facts, dict):
        raise StoreError(path, "not the run.json of a run")
    if facts.get("schema") != SCHEMA:
        raise UserError(
            f"{path} has schema {facts.get('schema')}",
            f"this version of coupled reads schema {SCHEMA}",
            "use the version that wrote it",
        )
    if not isinstance(facts.get("config"), dict) or digest(facts["config"]) != facts.get("config_digest"):
        raise StoreError(path, f"its config does not have its config_digest, {facts.get('config_digest')}")
    layers = facts.get("layers")
    if not isinstance(layers, list) or not all(map(_is_layer, layers)):
        raise StoreError(path, "its layers are not tables with name, shape and in_weight_gap")
    return facts


def _is_layer(layer: Any) -> bool:
    return (
        isinstance(layer, dict)
        and isinstance(layer.get("name"), str)
        and isinstance(layer.get("in_weight_gap"), bool)
        and isinstance(layer.get("shape"), list)
        and all(type(size) is int for size in layer["shape"])
    )


def _config(path: Path, tables: dict[str, Any]) -> Config:
    """The config that a run.json resolved."""
    try:
        return from_resolved(tables)
    except UserError as error:
        raise UserError(f"{path}: {error}", "this version of coupled cannot read it") from None
    except (KeyError, TypeError, AttributeError) as error:
        raise StoreError(path, f"its arms are not tables with names ({error!r})") from None
