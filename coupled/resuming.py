"""Going on with a run that is there: the same config, the newest saved state, and then as if nothing had happened."""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from coupled import drift
from coupled.checkpoints import OPEN_ROWS, restore
from coupled.config import Config, digest, fingerprint, from_tables, resolved
from coupled.config.differences import config_facts
from coupled.config.identity import field_of, kind_of
from coupled.config.load import merge, tables_of
from coupled.errors import UserError
from coupled.layout import checkpoint_steps
from coupled.opened import last_data_path, open_arm, read_run
from coupled.run import Parts, Run, join, kept_steps, path_of
from coupled.store import (
    Position,
    Saved,
    StoreError,
    canonical_json,
    read_config_digest,
    read_manifest,
    recovery,
    reopen,
    state,
)
from coupled.store.errors import one_line
from coupled.store.manifest import MANIFEST


@dataclass(frozen=True)
class Terms:
    """On what terms a run is gone on with.

    `from_step`: from the newest state at or before this step, not the newest of all. `allow_drift`: other libraries,
    machine or data are accepted and recorded. `steal`: the lock is taken from whoever has it.
    """

    from_step: int | None = None
    allow_drift: bool = False
    steal: bool = False


def go_on(parts: Parts, terms: Terms) -> tuple[Run, Position]:
    """The run of `parts` from its newest saved state, in its directory; longer than it was, if the config is.

    Raises UserError where conditions differ, StoreError for damage.
    """
    path, config = path_of(parts.config), parts.config
    facts, before, manifest = read_run(path)
    _refuse_other_config(path, before, config)
    now = drift.environment(parts.facts)
    if not terms.allow_drift:
        then = drift.latest_environment(path, facts, manifest.entries)
        drift.refuse(path, drift.counting(drift.changes(then, now)))
    longer = digest(before) != digest(config)
    run_json = None
    if longer:
        run_json = canonical_json({**facts, **{k: parts.facts[k] for k in ("config", "config_digest")}}) + b"\n"
    directory, position = reopen(
        path,
        kept_steps(config).__contains__,
        recovery.Terms(
            run_json=run_json,
            at_most=terms.from_step,
            usable=set(checkpoint_steps(config)).__contains__ if longer else lambda step: True,
            forget=terms.allow_drift,
            steal=terms.steal,
        ),
    )
    try:
        run = join(parts, directory)
    except BaseException:
        directory.close()
        raise
    try:
        _record_drift(run, position.step, facts, now)
        if position.saved is not None:
            _restore(run, position.saved)
    except BaseException as error:
        run.__exit__(type(error), error, error.__traceback__)
        raise
    return run, position


def refuse_another(config: Config) -> None:
    """UserError with both sides of every field, where the directory of `config` holds the run of another config."""
    path = path_of(config)
    if state(path) not in ("finished", "unfinished") or read_config_digest(path) == digest(config):
        return
    facts, _, _ = read_run(path)
    found = [
        f"{fact.name} is {fact.a} there, {fact.b} here" for fact in config_facts(facts["config"], resolved(config))
    ]
    shown = "; ".join(found[:6]) + (f"; and {len(found) - 6} more" if len(found) > 6 else "")
    raise UserError(
        one_line(f"{path} holds another run: {shown}"),
        "a name stands for one config",
        "give --overwrite to replace that run, or choose another name with --set name=…",
    )


def _refuse_other_config(path: Path, before: Config, config: Config) -> None:
    """The config may differ from the run's in train.steps alone."""
    if digest(replace(before, train=replace(before.train, steps=config.train.steps))) != digest(config):
        raise UserError(f"{path} holds the run of config {digest(before)}", f"this config is {digest(config)}")


def _record_drift(run: Run, step: int, facts: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    root = run.directory.root
    then = drift.latest_environment(root, facts, read_manifest(root / MANIFEST).entries)
    found = drift.changes(then, now)
    if drift.counting(found):
        listed = [change._asdict() for change in found]
        run.directory.commit_drift(step, {"changes": listed, "now": dict(now)})
    elif found:
        run.directory.log({"event": "noted", "changes": [str(change) for change in found]})


def _restore(run: Run, saved: Saved) -> None:
    """Arms, chain and open rows as they were at the saved step."""
    root, state = run.directory.root, saved.state
    for name, arm in run.arms.items():
        restore(arm, open_arm(root, saved, name, run.fingerprint), saved.step)
    try:
        run.certificate.link = bytes.fromhex(state["chain"])
        if len(run.certificate.link) != 32:
            raise ValueError("the chain's link is not 32 bytes")
    except (KeyError, TypeError, ValueError) as error:
        raise StoreError(root / saved.folder, f"not a state of a run: {error!r}") from None
    if f"{OPEN_ROWS}.safetensors" in saved.files:
        first = state.get("first")
        if not isinstance(first, dict):
            raise StoreError(root / saved.folder, "does not say where its open shards began")
        run.recorder.load_open_rows(open_arm(root, saved, OPEN_ROWS, run.fingerprint), first)
    else:
        run.recorder.begin_at(saved.step)
    run.start, run.restored = saved.step, True


def config_of(path: Path, *, extend: int | None = None, overrides: Sequence[str] = ()) -> tuple[Config, list[str]]:
    """The config that the run at `path` goes on with, and notes on what of `overrides` was not taken.

    Elastic fields are taken from `overrides`, paths.data otherwise from the run's log. Recorded fields stay as the
    run has them, with a note; UserError for another value of an identity field, or a length that cannot be.
    """
    facts, before, _ = read_run(path)
    elastic = [override for override in overrides if kind_of(_key(override)) == "elastic"]
    for key in ("name", "paths.runs"):
        if key in map(_key, elastic):
            raise UserError(f"--set {key}", "a run goes on where it is", "move the folder instead")
    raw = tables_of(facts["config"])
    raw["paths"] = {"data": last_data_path(path), "runs": str(path.absolute().parent)}
    raw["name"] = path.absolute().name
    for override in elastic:
        merge(raw, override)
    config = from_tables(raw)
    notes = [note for override in overrides if override not in elastic and (note := _untaken(config, raw, override))]
    if extend is None:
        return config, notes
    if extend <= before.train.steps:
        raise UserError(f"--extend {extend}", f"more than the {before.train.steps} steps that the run has")
    raw.setdefault("train", {})["steps"] = extend
    return from_tables(raw), notes


def _untaken(config: Config, raw: Mapping[str, Any], override: str) -> str:
    """A note where a recorded field was given another value; UserError for an identity field; "" for the same value."""
    changed = deepcopy(dict(raw))
    merge(changed, override)
    other = from_tables(changed)
    if digest(other) == digest(config):
        return ""
    key = _key(override)
    given, kept = (field_of(c, key) for c in (other, config))
    if fingerprint(other) != fingerprint(config):
        raise UserError(
            f"{key} is {kept} in this run, {given} was given", "another value is another run", "train it by itself"
        )
    return f"{key} stays {kept}, as this run records; {given} was given"


def _key(override: str) -> str:
    return override.partition("=")[0].strip()
