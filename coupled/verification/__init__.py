"""`coupled-run verify`: what of a run is proven, by its bytes, by arithmetic, and by training parts of it again."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from coupled.config import Config
from coupled.errors import EarlyEnd, RunStopped, UserError
from coupled.reading.imported import imported
from coupled.reading.log import last_data_path
from coupled.reading.manifest_rules import surprises
from coupled.reading.records import Records
from coupled.reading.run_json import read_run
from coupled.recording.layout import train_layout
from coupled.store import Audit, Entry, Faults, Manifest, StoreError, audit
from coupled.store.manifest import MANIFEST, RUN_JSON
from coupled.terminal.counting import Progress
from coupled.verification.again import Again, again
from coupled.verification.chain import check_chain
from coupled.verification.checkpoints import check_checkpoints
from coupled.verification.columns import check_columns
from coupled.verification.conditions import check_drifts, continued, elsewhere
from coupled.verification.damage import AGAIN, BYTES, Damage, not_made
from coupled.verification.rebuilt import Findings, Rebuilt
from coupled.verification.redrawn import check_batches, check_initial_weights, check_panels, check_pixels
from coupled.verification.replay import check_stretches
from coupled.verification.run_json import check_run_json
from coupled.verification.twins import check_twins


@dataclass(frozen=True)
class Verified:
    """What was found true of a run, in words; and what these checks cannot tell, in words too.

    `reached`: the last step that its committed records reach; None before the first. `format`: of its run.json.
    `imported`: its checkpoints come from elsewhere. `again`: what the next command on it has to be given. `stopped`:
    what ended the checks that could not be made, by their names; `unproven` says it too.
    """

    path: Path
    format: int
    finished: bool
    reached: int | None
    proven: tuple[str, ...]
    unproven: tuple[str, ...]
    imported: bool = False
    again: Again = Again()
    stopped: Mapping[str, EarlyEnd] = field(default_factory=dict)


def verify(
    run: str | Path,
    *,
    sample: int = 8,
    replay: int = 0,
    stretch: int = 10,
    data: str = "",
    code: Sequence[str] = (),
    progress: Progress | None = None,
) -> Verified:
    """Check the run at this path. DamageError (exit code 3) has all that is not as it should be, by the check that
    found it; a damaged file is left out of the checks that follow. A check that could not be made, as an image cannot
    be read or the user's own code is not here, is in `stopped`.

    `sample`: how many steps' batches are drawn again, and of up to four of them the views. `replay`: how many stretches
    of at most `stretch` steps are trained again from kept checkpoints and compared byte by byte. `data`: where the data
    set lies, if not where the run's log says it lay; `code`: the Python files that were its code.files, which are run.
    `progress(work, done, all)`. UserError where there is no run, or for numbers that are not allowed.
    """
    if sample < 2 or stretch < 1 or replay < 0:
        allowed = "sample from 2 (the first and the last), stretch from 1, replay from 0"
        raise UserError(f"sample {sample}, replay {replay}, stretch {stretch}", allowed)
    path, progress = Path(run), progress or (lambda work, done, total: None)
    damage = Damage(path)
    facts, config, whole = _read(path, damage, progress)
    damage.again = again(facts, data, code)
    records = _records(path, facts, config, damage, whole.manifest)
    if (content := imported(facts)) is not None:
        if replay:
            raise UserError(f"{path} holds imported checkpoints", "--replay needs records, and these have none")
        of_states = check_checkpoints(records, content, progress, damage.of("checkpoints"))
        damage.refuse(facts)
        return _verified(path, facts, whole.manifest, [_of_bytes(whole), of_states], damage)
    columns = check_columns(records, progress, damage.of("whole"))
    check_drifts(path, records.manifest, damage.of("drift"))
    records = records.grown(damage.sound(records.manifest))
    rebuilt = Rebuilt(path, facts, records.manifest, data or last_data_path(path), code)
    damage.again = again(facts, data, code if rebuilt.fits else (), lost=rebuilt.lost)
    checks: dict[str, Callable[[Faults], Findings]] = {
        "chain": lambda faults: check_chain(rebuilt, records, whole.preempted, faults),
        "one start": lambda faults: check_initial_weights(rebuilt, records.manifest, faults),
        "drawn again": lambda faults: check_batches(rebuilt, records, sample, progress, faults),
        "made again": lambda faults: check_pixels(rebuilt, records, min(sample, 4), progress, faults),
        "panels": lambda faults: check_panels(rebuilt, records, faults),
        "twin": lambda faults: check_twins(rebuilt, records, faults),
        AGAIN: lambda faults: check_stretches(
            rebuilt, records, damage.sound(records.manifest), replay, stretch, progress, faults
        ),
    }
    findings = [_of_bytes(whole), columns]
    for name, check in checks.items():
        try:
            findings.append(check(damage.of(name)))
        except (UserError, RunStopped) as error:  # an image that cannot be read, code that is not here
            damage.stopped[name] = error
    damage.refuse(facts, here=not rebuilt.conditions(0))
    findings += [elsewhere(rebuilt), continued(rebuilt, whole.manifest)]
    return _verified(path, facts, whole.manifest, findings, damage)


def _read(path: Path, damage: Damage, progress: Progress) -> tuple[dict[str, Any], Config, Audit]:
    """What run.json says, and what the bytes are; DamageError where no other check can build on them."""

    def read() -> Audit:
        return audit(path, progress=lambda done, total: progress("bytes", done, total), faults=damage.of(BYTES))

    try:
        facts, config, _ = read_run(path, Faults())  # what is wrong with the manifest's lines, the audit says
    except StoreError as error:
        with damage.of(BYTES).noted():
            damage.whole = read()
        if error.path != path / RUN_JSON or RUN_JSON not in damage.files:
            damage.of(BYTES).add(error)
        damage.refuse(None)
        raise
    check_run_json(path, facts, config, damage.of(RUN_JSON))
    # The manifest is read before anything else: a run at work is checked as it was at this moment.
    damage.whole = whole = read()
    return facts, config, whole


def _records(path: Path, facts: Mapping[str, Any], config: Config, damage: Damage, manifest: Manifest) -> Records:
    """The records whose lines the config determines, and whose bytes are as committed."""
    surplus = set[Entry]()
    for reason, entry in surprises(config, train_layout(config), manifest):
        damage.of("lines").add(StoreError(path / MANIFEST, reason))
        if entry is not None:
            surplus.add(entry)
    expected = replace(manifest, entries=tuple(entry for entry in manifest.entries if entry not in surplus))
    return Records(path, config, facts, damage.sound(expected), verified=True)


def _verified(
    path: Path, facts: Mapping[str, Any], manifest: Manifest, findings: Sequence[Findings], damage: Damage
) -> Verified:
    proven = tuple(sentence for finding in findings for sentence in finding.proven)
    unproven = (*(sentence for finding in findings for sentence in finding.unproven), *not_made(damage.stopped))
    reached, is_imported = _reached(manifest), imported(facts) is not None
    told = (proven, unproven, is_imported, damage.again, damage.stopped)
    return Verified(path, facts["schema"], manifest.finished, reached, *told)


def _of_bytes(whole: Audit) -> Findings:
    sentence = (
        f"bytes: {whole.objects} files, {whole.size / 1e6:.1f} MB, have the sizes and SHA-256 that were committed, and "
        "the manifest has the lines that the config determines, in order"
    )
    return Findings([sentence], whole.notes)


def _reached(manifest: Manifest) -> int | None:
    return max((entry.last for entry in manifest.entries if entry.kind in ("shard", "finish")), default=None)
