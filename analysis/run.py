"""Open a finished or growing run directory and ask it for curves."""

from pathlib import Path
from typing import Any

from analysis import measures
from analysis.curve import Curve
from analysis.records import Records, nearby_runs
from coupled import config as configs
from coupled.config import Config, from_resolved
from coupled.errors import UserError
from coupled.measures import in_weight_gap
from coupled.run import SCHEMA, meta_network
from coupled.store import REAL, StoreError, canonical_json, digest, read_manifest
from coupled.store.canonical import strict_json
from coupled.store.errors import naming, one_line
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

    Raises UserError if there is no run or its schema or config is not ours, StoreError (exit code 3) if it is damaged.
    """
    path = Path(path)
    if not path.is_dir():
        raise UserError(f"no run at {path}", "the path of a run directory is needed", nearby_runs(path))
    if not (path / RUN_JSON).is_file():
        raise UserError(f"{path} is not a run", f"a run directory holds {RUN_JSON}", nearby_runs(path))
    facts = _facts(path / RUN_JSON)
    return Run(path, _config(path / RUN_JSON, facts), facts, read_manifest(path / MANIFEST))


def _facts(path: Path) -> dict[str, Any]:
    """The content of run.json: an untrusted file, so its parts are checked to be what later code takes them for."""
    with naming(path):
        data = REAL.read(path, MAX_RUN_JSON)
    try:
        facts = strict_json(data)
        canonical_json(facts)  # what JSON can say beyond it (an overflowing number, half a character) has no digest
    except (ValueError, RecursionError) as error:
        raise StoreError(path, f"not JSON: {error}") from None
    if not isinstance(facts, dict) or type(facts.get("schema")) is not int:
        raise StoreError(path, "not the run.json of a run")
    if facts["schema"] != SCHEMA:
        raise UserError(
            f"{path} has schema {one_line(str(facts['schema']))}",
            f"this version of coupled reads schema {SCHEMA}",
            "use the version that wrote it",
        )
    if not isinstance(facts.get("config"), dict) or digest(facts["config"]) != facts.get("config_digest"):
        raise StoreError(path, "its config does not have its config_digest")
    return facts


def _config(path: Path, facts: dict[str, Any]) -> Config:
    """The config that a run.json resolved, by which all else in it, and later every shard, is checked."""
    try:
        config = from_resolved(facts["config"])
    except UserError as error:
        raise UserError(one_line(f"{path}: {error}"), "this version of coupled cannot read it") from None
    except (KeyError, TypeError, AttributeError) as error:
        raise StoreError(path, f"its arms are not tables with names ({error!r})") from None
    if configs.digest(config) != facts["config_digest"]:
        raise StoreError(path, "its config is not a resolved one: by the rules it would be another")
    if configs.fingerprint(config) != facts.get("fingerprint"):
        raise StoreError(path, "its config does not have its fingerprint")
    layers = [
        {"name": name, "shape": list(parameter.shape), "in_weight_gap": in_weight_gap(name)}
        for name, parameter in meta_network(config).named_parameters()
    ]
    if facts.get("layers") != layers:
        raise StoreError(path, "its layers are not those of its config's network")
    return config
