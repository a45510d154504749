"""`coupled-run verify`: what of a run is proven, by its bytes, by arithmetic, and by training parts of it again."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from coupled.config.formats import FORMAT
from coupled.errors import UserError
from coupled.reading.imported import imported
from coupled.reading.log import last_data_path
from coupled.reading.manifest_rules import first_surprise
from coupled.reading.records import Records
from coupled.reading.run_json import read_run
from coupled.store import Audit, Manifest, StoreError, audit
from coupled.store.audit import DamageError
from coupled.store.manifest import MANIFEST
from coupled.terminal.counting import Progress
from coupled.terminal.shell import shell
from coupled.verification.chain import check_chain
from coupled.verification.checkpoints import check_checkpoints
from coupled.verification.columns import check_columns
from coupled.verification.conditions import continued, elsewhere
from coupled.verification.rebuilt import Findings, Rebuilt
from coupled.verification.redrawn import check_batches, check_initial_weights, check_panels, check_pixels
from coupled.verification.replay import check_stretches
from coupled.verification.run_json import check_run_json
from coupled.verification.twins import check_twins


@dataclass(frozen=True)
class Verified:
    """What was found true of a run, in words; and what these checks cannot tell, in words too.

    `reached`: the last step that its committed records reach; None before the first. `format`: of its run.json.
    `imported`: its checkpoints come from elsewhere.
    """

    path: Path
    format: int
    finished: bool
    reached: int | None
    proven: tuple[str, ...]
    unproven: tuple[str, ...]
    imported: bool = False


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
    """Check the run at this path. DamageError has every file that is not as committed; StoreError names the first other
    thing that is not as it should be (exit code 3).

    `sample`: how many steps' batches are drawn again, and of up to four of them the views. `replay`: how many stretches
    of at most `stretch` steps are trained again from kept checkpoints and compared byte by byte. `data`: where the data
    set lies, if not where the run's log says it lay; `code`: the Python files that were its code.files, which are run.
    `progress(work, done, all)`. UserError for what the caller can mend.
    """
    if sample < 2 or stretch < 1 or replay < 0:
        allowed = "sample from 2 (the first and the last), stretch from 1, replay from 0"
        raise UserError(f"sample {sample}, replay {replay}, stretch {stretch}", allowed)
    path, progress = Path(run), progress or (lambda work, done, total: None)
    facts, config, _ = read_run(path)
    check_run_json(path, facts, config)
    # The manifest is read before anything else: a run at work is checked as it was at this moment.
    try:
        whole = audit(path, progress=lambda done, total: progress("bytes", done, total))
    except DamageError as damage:
        raise DamageError(damage.faults, damage.sound, _remedy(path, facts, damage.sound)) from None
    manifest = whole.manifest
    records = Records(path, config, facts, manifest, verified=True)
    if surprise := first_surprise(config, records.layout, manifest):
        raise StoreError(path / MANIFEST, surprise)
    if (content := imported(facts)) is not None:
        if replay:
            raise UserError(f"{path} holds imported checkpoints", "--replay needs records, and these have none")
        return _verified(path, facts, manifest, [_of_bytes(whole), check_checkpoints(records, content, progress)])
    rebuilt = Rebuilt(path, facts, manifest, data or last_data_path(path), code)
    findings: list[Findings] = [
        _of_bytes(whole),
        check_columns(records, progress),
        check_chain(rebuilt, records, manifest),
        check_initial_weights(rebuilt, manifest),
        check_batches(rebuilt, records, sample, progress),
        check_pixels(rebuilt, records, min(sample, 4), progress),
        check_panels(rebuilt, records),
        check_twins(rebuilt, records),
        check_stretches(rebuilt, records, manifest, replay, stretch, progress),
        elsewhere(rebuilt),
        continued(rebuilt, manifest),
    ]
    return _verified(path, facts, manifest, findings)


def _remedy(path: Path, facts: Mapping[str, Any], sound: int) -> str:
    """What makes the files of a damaged run again."""
    if imported(facts) is not None:
        return "coupled-analyze import makes it again from the folder that it was made of"
    if facts["schema"] != FORMAT:
        return f"runs of format {facts['schema']} cannot be resumed: train its config again"
    if sound == 0:
        return f"no checkpoint after step 0 is sound: coupled-run resume {shell(path)} --from 0 trains it anew"
    return f"step {sound} is the last sound checkpoint: coupled-run resume {shell(path)} --from {sound} goes on from it"


def _verified(path: Path, facts: Mapping[str, Any], manifest: Manifest, findings: Sequence[Findings]) -> Verified:
    proven = tuple(sentence for finding in findings for sentence in finding.proven)
    unproven = tuple(sentence for finding in findings for sentence in finding.unproven)
    reached, is_imported = _reached(manifest), imported(facts) is not None
    return Verified(path, facts["schema"], manifest.finished, reached, proven, unproven, is_imported)


def _of_bytes(whole: Audit) -> Findings:
    sentence = (
        f"bytes: {whole.objects} files, {whole.size / 1e6:.1f} MB, have the sizes and SHA-256 that were committed, and "
        "the manifest has the lines that the config determines, in order"
    )
    return Findings([sentence], whole.notes)


def _reached(manifest: Manifest) -> int | None:
    return max((entry.last for entry in manifest.entries if entry.kind in ("shard", "finish")), default=None)
