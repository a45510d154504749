"""Resuming a run: the same config, the newest saved state, and from there the bytes of a run that never stopped."""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any, Final, NamedTuple

from coupled.arms.arm import Arm
from coupled.config import Config, digest, fingerprint, from_tables, resolved
from coupled.config.differences import config_facts
from coupled.config.formats import renamed
from coupled.config.identity import field_of, kind_of, path_of
from coupled.config.load import merge, tables_of
from coupled.config.traits import own_inputs
from coupled.driver.assembly import Parts, join
from coupled.driver.run import Run
from coupled.errors import UserError
from coupled.inputs.certificate import Chains
from coupled.reading import environment
from coupled.reading.checkpoints import open_arm
from coupled.reading.log import last_data_path, last_ranks, last_trackers
from coupled.reading.run_json import must_be_of_this_format, read_run
from coupled.recording.checkpoints import restore
from coupled.recording.layout import SHARED, open_rows_of
from coupled.recording.ledger import Ledger
from coupled.recording.schedule import checkpoint_steps, kept_steps
from coupled.store import (
    Committed,
    Position,
    RunDirectory,
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
from coupled.store.rundir import STATE
from coupled.tracking.trackers import TRACKERS
from coupled.userfiles import expanded, read_bytes


@dataclass(frozen=True)
class ResumeTerms:
    """The terms on which a run resumes.

    `from_step`: from the newest state at or before this step, not the newest of all. `allow_drift`: other libraries,
    machine or data are accepted and recorded. `steal`: the lock is taken from whoever has it.
    """

    from_step: int | None = None
    allow_drift: bool = False
    steal: bool = False


def go_on(parts: Parts, terms: ResumeTerms) -> tuple[Run, Position]:
    """The run of `parts` from its newest saved state, in its directory; longer than it was, if the config is.

    Rank 0 opens the directory and tells the others where to go on. Raises UserError where conditions differ, StoreError
    for damage.
    """
    mesh = parts.mesh
    reopened = mesh.alone_on_first(lambda: _reopened(parts, terms))
    directory = None if reopened is None else reopened.directory
    try:
        position = _position(mesh.on_first(lambda: _as_json(reopened)))
        run = mesh.together(lambda: join(parts, directory))
    except BaseException:
        if directory is not None:
            directory.close()
        raise
    try:
        mesh.on_first(lambda: _record_drift(reopened))
        mesh.together(lambda: None if position.saved is None else _go_to(run, position.saved))
    except BaseException as error:
        run.__exit__(type(error), error, error.__traceback__)
        raise
    return run, position


class _Reopened(NamedTuple):
    """The directory as rank 0 opened it, where the run goes on, and under which conditions."""

    directory: RunDirectory
    position: Position
    changes: Sequence[environment.Change]
    now: Mapping[str, Any]


def _record_drift(reopened: _Reopened | None) -> None:
    """What the run goes on with, if that is not what it was made with."""
    assert reopened is not None
    directory, changes = reopened.directory, reopened.changes
    if environment.that_may_change_bytes(changes):
        listed = [change._asdict() for change in changes]
        directory.commit_drift(reopened.position.step, {"changes": listed, "now": dict(reopened.now)})
    elif changes:
        directory.log({"event": "noted", "changes": [str(change) for change in changes]})


def _reopened(parts: Parts, terms: ResumeTerms) -> _Reopened:
    path, config = path_of(parts.config), parts.config
    facts, before, manifest = read_run(path)
    _refuse_other_config(path, before, config)
    now = environment.environment(parts.facts)
    then = environment.latest_environment(path, facts, manifest.entries)
    before_ranks, ranks = last_ranks(path)[1], parts.mesh.data.size
    resplit = ranks != before_ranks
    if resplit or environment.DATA_RANKS in then:
        then.setdefault(environment.DATA_RANKS, before_ranks)
        now[environment.DATA_RANKS] = ranks
    changes = environment.changes(then, now)
    if not terms.allow_drift:
        environment.refuse(path, environment.refused(changes))
    longer, run_json = digest(before) != digest(config), None
    if longer:
        run_json = canonical_json({**facts, **{k: parts.facts[k] for k in ("config", "config_digest")}}) + b"\n"
    directory, position = reopen(
        path,
        kept_steps(config).__contains__,
        recovery.ReopenTerms(
            run_json=run_json,
            at_most=terms.from_step,
            usable=set(checkpoint_steps(config)).__contains__ if longer else lambda step: True,
            forget=terms.allow_drift or resplit,
            steal=terms.steal,
        ),
    )
    try:
        # Recovery may have gone behind a drift.
        then = environment.latest_environment(path, facts, read_manifest(path / MANIFEST).entries)
    except BaseException:
        directory.close()
        raise
    if environment.DATA_RANKS in now:
        then.setdefault(environment.DATA_RANKS, before_ranks)
    if resplit:
        position = replace(position, notes=(*position.notes, _RESPLIT.format(before_ranks, ranks)))
    return _Reopened(directory, position, environment.changes(then, now), now)


_RESPLIT: Final = (
    "batches were split over {} ranks and are now over {}: batches, views and "
    "certificate go on bitwise, all else to rounding (float64 to 1e-10 over 10 steps; float32 diverges, as from any "
    "other rounding)"
)


def _as_json(reopened: _Reopened | None) -> dict[str, Any]:
    """The position as JSON, for the other ranks."""
    assert reopened is not None
    saved, notes = reopened.position.saved, reopened.position.notes
    return {"saved": None if saved is None else asdict(saved), "notes": list(notes)}


def _position(content: Mapping[str, Any]) -> Position:
    saved, notes = content["saved"], tuple(content["notes"])
    if saved is None:
        return Position(None, notes)
    files = {name: Committed(**file) for name, file in saved["files"].items()}
    return Position(Saved(**{**saved, "files": files}), notes)


def refuse_another(config: Config) -> None:
    """UserError with both sides of every field, where the directory of `config` holds the run of another config."""
    path = path_of(config)
    if state(path) not in ("finished", "unfinished") or read_config_digest(path) == digest(config):
        return
    facts, _, _ = read_run(path)
    must_be_of_this_format(path, facts, "give --overwrite to replace it, or choose another name with --set name=…")
    fields = [
        f"{fact.name} is {fact.a} there, {fact.b} here" for fact in config_facts(facts["config"], resolved(config))
    ]
    shown = "; ".join(fields[:6]) + (f"; and {len(fields) - 6} more" if len(fields) > 6 else "")
    raise UserError(
        one_line(f"{path} holds another run: {shown}"),
        "a name stands for one config",
        "give --overwrite to replace that run, or choose another name with --set name=…",
    )


def _refuse_other_config(path: Path, before: Config, config: Config) -> None:
    """The config may differ from the run's in train.steps alone."""
    if digest(replace(before, train=replace(before.train, steps=config.train.steps))) != digest(config):
        raise UserError(f"{path} holds the run of config {digest(before)}", f"this config is {digest(config)}")


def _go_to(run: Run, saved: Saved) -> None:
    """Arms, chains and open rows as they were at the saved step."""
    root, state = run.root, saved.state
    run.chains = restored(root, saved, run.arms, run.ledger, run.config, run.fingerprint)
    if "first" in state:
        run.recorder.begin_shards(root / saved.folder, state["first"])
        for owner in (*run.arms, SHARED):
            if run.mesh.holds(owner):
                run.recorder.load_open_rows(owner, open_arm(root, saved, open_rows_of(owner), run.fingerprint))
    else:
        run.recorder.begin_at(saved.step)
    run.start, run.restored = saved.step, True


def restored(
    root: Path, saved: Saved, arms: Mapping[str, Arm], ledger: Ledger, config: Config, fingerprint: str
) -> Chains:
    """Gives arms and ledger the state saved in the run at `root`; the chains as they were. Raises StoreError."""
    for name, arm in arms.items():
        restore(arm, open_arm(root, saved, name, fingerprint), saved.step)
    ledger.restore(lambda name: open_arm(root, saved, name, fingerprint))
    try:
        return Chains.resumed(saved.state, own_inputs(config.arms))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise StoreError(root / saved.folder / STATE, f"not a state of a run: {error!r}") from None


def config_of(path: Path, *, extend: int | None = None, overrides: Sequence[str] = ()) -> tuple[Config, list[str]]:
    """The config with which the run at `path` resumes, and a note on each of `overrides` that was not taken.

    Elastic fields are taken from `overrides`, paths.data, ranks.data and log.trackers otherwise from the run's log.
    Recorded fields stay as the run has them, with a note; UserError for another value of an identity field, or a length
    that cannot be.
    """
    facts, before, _ = read_run(path)
    must_be_of_this_format(path, facts, "go on with the version that wrote it, or train the config again")
    overrides = [renamed(override) for override in overrides]
    elastic = [override for override in overrides if kind_of(_key(override)) == "elastic"]
    for key in ("name", "paths.runs"):
        if key in map(_key, elastic):
            raise UserError(f"--set {key}", "a run goes on where it is", "move the folder instead")
    raw = tables_of(facts["config"])
    raw["paths"] = {"data": last_data_path(path)}
    raw["name"] = "resumed"  # any that is allowed, until `_placed`
    raw["ranks"] = {"data": last_ranks(path)[1]}
    raw["log"] = {"trackers": last_trackers(path, TRACKERS)}
    for override in elastic:
        merge(raw, override)
    _must_have_code(path, raw)
    config = from_tables(raw, begun=True)
    notes = [note for override in overrides if override not in elastic and (note := _untaken(config, raw, override))]
    if extend is None:
        return _placed(config, path), notes
    if extend <= before.train.steps:
        raise UserError(f"--extend {extend}", f"more than the {before.train.steps} steps that the run has")
    horizon = before.optimiser.horizon
    if horizon is not None and extend > horizon:
        raise UserError(
            f"--extend {extend}",
            f"at most {horizon}: there the {before.optimiser.schedule} schedule ends, and the rate is 0",
            "a longer run takes a config with a longer optimiser.horizon from the start",
        )
    raw.setdefault("train", {})["steps"] = extend
    return _placed(from_tables(raw, begun=True), path), notes


def _must_have_code(path: Path, raw: Mapping[str, Any]) -> None:
    """UserError unless the files of the user's own code that are given are those of the run: it holds none itself."""
    code = {"files": [], "sha256": [], **raw.get("code", {})}
    files, wanted = code["files"], code["sha256"]
    if not isinstance(files, list) or not all(isinstance(file, str) for file in files):
        return  # the config's own check says it
    digests = [sha256(read_bytes(Path(expanded(file)), "code.files: ", _GIVE)).hexdigest() for file in files]
    if digests != wanted:
        given = ", ".join(f"{file} ({own[:12]})" for file, own in zip(files, digests, strict=True)) or "no code.files"
        count = "the file" if len(wanted) == 1 else f"the {len(wanted)} files, in this order,"
        raise UserError(
            f"{path} was trained with its user's own code, given are {given}",
            f"it goes on with {count} of SHA-256 {', '.join(own[:12] for own in wanted)}, which no run holds"
            if wanted
            else "it was trained without any",
            f"{_GIVE}: --set \"code.files=['FILE.py']\"" if wanted else "give none",
        )


_GIVE: Final = "give the run's own files"


def _placed(config: Config, path: Path) -> Config:
    """The config with the folder at `path` as its run directory, whose name need not be one that a new run may have."""
    folder = path.resolve()
    return replace(config, name=folder.name, paths=replace(config.paths, runs=str(folder.parent)))


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
