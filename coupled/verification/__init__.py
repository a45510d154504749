"""`coupled-run verify`: what of a run is proven, by its bytes, by arithmetic, and by training parts of it again."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from coupled import drift
from coupled.errors import UserError
from coupled.expected import first_surprise
from coupled.opened import last_data_path, read_run
from coupled.shards import Shards
from coupled.store import StoreError, audit
from coupled.store.manifest import MANIFEST
from coupled.verification.chain import check_chain
from coupled.verification.redrawn import Here, check_batches, check_initial_weights, check_panels, check_pixels
from coupled.verification.replay import check_stretches
from coupled.verification.twins import check_twins

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Verified:
    """What was found true of a run, in words; and what these checks cannot tell, in words too."""

    path: Path
    finished: bool
    proven: tuple[str, ...]
    unproven: tuple[str, ...]


def verify(
    run: str | Path,
    *,
    sample: int = 8,
    replay: int = 0,
    stretch: int = 10,
    data: str = "",
    progress: Progress | None = None,
) -> Verified:
    """Check the run at this path; StoreError names the first thing that is not as it should be (exit code 3).

    `sample`: how many steps' batches are drawn again, and of up to four of them the views. `replay`: how many stretches
    of at most `stretch` steps are trained again from kept checkpoints and compared byte by byte. `data`: where the data
    set lies, if not where its package puts it. `progress(what, done, all)`.
    """
    if min(sample, stretch) < 1 or replay < 0:
        raise UserError(
            f"sample {sample}, replay {replay}, stretch {stretch}", "sample and stretch from 1, replay from 0"
        )
    path, told = Path(run), progress or (lambda what, done, total: None)
    facts, config, _ = read_run(path)
    # The manifest is read before anything else: a run at work is checked as it was at this moment.
    whole = audit(path, progress=lambda done, total: told("bytes", done, total))
    manifest = whole.manifest
    shards = Shards(path, config, manifest, facts["fingerprint"], verified=True)
    if surprise := first_surprise(config, shards.layout, manifest):
        raise StoreError(path / MANIFEST, surprise)
    here = Here(path, facts, data or last_data_path(path))
    proven = [
        f"bytes: {whole.objects} files, {whole.size / 1e6:.1f} MB, have the sizes and SHA-256 that were committed, and "
        "the manifest has the lines that the config determines, in order",
    ]
    unproven = list(whole.notes)
    for check in (
        lambda: check_chain(here, shards, manifest),
        lambda: check_initial_weights(here, manifest),
        lambda: check_batches(here, shards, sample, told),
        lambda: check_pixels(here, shards, min(sample, 4)),
        lambda: check_panels(here, shards),
        lambda: check_twins(here, shards),
        lambda: check_stretches(here, shards, manifest, replay, stretch, told),
    ):
        yes, no = check()
        proven += yes
        unproven += no
    drifts = [entry for entry in manifest.entries if entry.kind == "drift"]
    for entry in drifts:
        drift.read_drift(path, entry)
        unproven.append(f"from step {entry.first} on the run went on under other conditions: see {entry.name}")
    return Verified(path, manifest.finished, tuple(proven), tuple(unproven))
