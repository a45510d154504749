"""The certificate: one chain of what the arms shared, from the initial weights to the last recorded step."""

from pathlib import Path
from typing import Any

import numpy as np

from coupled.inputs.certificate import Certificate, next_link
from coupled.reading.checkpoints import checkpoints_of
from coupled.reading.records import Records
from coupled.recording.layout import SHARED
from coupled.store import REAL, Manifest, Saved, StoreError, read_saved
from coupled.store.audit import gone_since
from coupled.store.rundir import PREEMPT, STATE
from coupled.store.saved import read_preempted
from coupled.verification.rebuilt import Findings, Rebuilt, listed

# Steps that are not recorded and are drawn again to join the chain; each takes about a millisecond.
_MOST_DRAWN = 5000
_COLUMNS = ("learning_rate", "ids_digest", "draws_digest", "chain")


class _Trail:
    """The chain, walked once: `link` after `at` steps, None where it cannot be known before the next recorded step."""

    def __init__(self, rebuilt: Rebuilt) -> None:
        self._rebuilt = rebuilt
        self.link: bytes | None = Certificate(bytes.fromhex(rebuilt.facts["certificate"]["initial_weights"])).link
        self.at = self.drawn = self.skipped = 0

    def go_to(self, step: int) -> None:
        """Past steps that are not recorded, by drawing them again where that is cheap."""
        missing = step - self.at
        if (
            missing
            and self.link is not None
            and self._rebuilt.batches is not None
            and self.drawn + missing <= _MOST_DRAWN
        ):
            for between in range(self.at, step):
                self.link = self._rebuilt.link_after(self.link, between)
            self.drawn += missing
        elif missing:
            self.link, self.skipped = None, self.skipped + missing
        self.at = step

    @property
    def why(self) -> str:
        """Why steps were skipped."""
        return f"at most {_MOST_DRAWN} are" if self._rebuilt.batches is not None else "their order needs the data set"

    def follow(self, path: Path, rate: np.ndarray, ids: np.ndarray, draws: np.ndarray, chain: np.ndarray) -> None:
        """Over the recorded step `at`, whose shard is `path`. StoreError where what is recorded does not follow."""
        planned = self._rebuilt.rate(self.at)
        if rate.tobytes() != np.float64(planned).tobytes():
            raise StoreError(
                path, f"the learning rate of step {self.at} is {float(rate)!r}, the schedule's {planned!r}"
            )
        if self.link is not None:
            self.link = next_link(self.link, ids.tobytes(), draws.tobytes(), planned)
            if self.link != chain.tobytes():
                raise StoreError(path, f"the chain breaks at step {self.at}: its link does not follow from the records")
        self.link, self.at = chain.tobytes(), self.at + 1


def check_chain(rebuilt: Rebuilt, records: Records, manifest: Manifest) -> Findings:
    """Every link follows from the one before it by what the step's records say, and the rate from its schedule; saved
    states carry the links of their steps.
    """
    rows, states = _rows(records), _states(rebuilt, manifest)
    trail, joined, loose = _Trail(rebuilt), 0, []
    for step in sorted(rows.keys() | states.keys()):
        trail.go_to(step)
        for saved in states.get(step, []):
            if _carries(rebuilt, saved, trail.link):
                joined += 1
            else:
                loose.append(step)
        if step in rows:
            trail.follow(records.path_of("scalars", SHARED, step), *rows[step])
    return _findings(trail, sorted(rows), joined, loose)


def _rows(records: Records) -> dict[int, tuple[np.ndarray, ...]]:
    """The recorded rate, digests and link of every step, by step."""
    rows = {}
    for blocks in zip(*(records.committed("scalars", SHARED, f"batch.{name}") for name in _COLUMNS), strict=True):
        values = zip(*(values for _, values in blocks), strict=True)
        rows |= dict(zip(blocks[0][0].tolist(), values, strict=True))
    return rows


def _findings(trail: _Trail, steps: list[int], joined: int, loose: list[int]) -> Findings:
    proven, unproven = [], []
    if steps or joined:
        parts = [f"{len(steps)} recorded steps (to step {steps[-1]})"] if steps else []
        parts += [f"{trail.drawn} steps that are not recorded and were drawn again"] if trail.drawn else []
        proven.append(
            f"one input: through {' and '.join(parts) or 'no step'} the chain of sample ids, integer draws and "
            "learning rates follows from the digest of the shared initial weights"
            + (f", and {joined} saved states carry its links" if joined else "")
            + "; that all arms saw it is by construction: one batch is made and handed to every arm"
        )
    if not steps:
        unproven.append("chain: no step of the stream scalars is recorded")
    if trail.skipped:
        unproven.append(f"chain: {trail.skipped} steps are not recorded and were not drawn again ({trail.why})")
    if loose:
        unproven.append(f"chain: the links that the saved states at {listed(loose)} carry, which lie behind such steps")
    return Findings(proven, unproven)


def _states(rebuilt: Rebuilt, manifest: Manifest) -> dict[int, list[Saved]]:
    """Checkpoints that are not retired, and what is in preempt/, by step."""
    states: dict[int, list[Saved]] = {}
    for step, entry in checkpoints_of(rebuilt.path, manifest).items():
        try:
            states.setdefault(step, []).append(read_saved(rebuilt.path, entry))
        except StoreError:
            if not gone_since(rebuilt.path, str(entry.name), manifest):
                raise
    folder = rebuilt.path / PREEMPT
    for name in REAL.names(folder) if REAL.status(folder) is not None else []:
        step = int(name.removeprefix("step-"))  # the audit has looked at these names
        states.setdefault(step, []).append(read_preempted(rebuilt.path, step, manifest)[0])
    return states


def _carries(rebuilt: Rebuilt, saved: Saved, link: bytes | None) -> bool:
    """Does a saved state carry this link? False where that is not known. StoreError where it carries another."""
    path, state = rebuilt.path / saved.folder / STATE, saved.state
    fingerprint: Any = state.get("fingerprint")
    if fingerprint != rebuilt.facts["fingerprint"]:
        raise StoreError(
            path, f"the state at step {saved.step} has the fingerprint {fingerprint}; it is of another run"
        )
    if link is not None and state.get("chain") != link.hex():
        raise StoreError(path, f"the state at step {saved.step} carries another chain than the records have there")
    return link is not None
