"""Which saved state a reopened run goes on from: the newest one whose files are as they were committed."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from coupled.store.errors import StoreError, naming
from coupled.store.fs import FileSystem
from coupled.store.manifest import Manifest
from coupled.store.rundir import PREEMPT, STATE, checkpoint_folder
from coupled.store.saved import Saved, read_preempted, read_saved
from coupled.terminal.shell import shell


@dataclass(frozen=True)
class ReopenTerms:
    """How a run is to be reopened.

    `run_json`: the run's new run.json, of a longer run that shares everything up to the checkpoints that are `usable`.
    `at_most`: only a state at or before this step. `forget`: what is dropped need not come back with equal hashes.
    `steal`: take the lock from whoever has it.
    """

    run_json: bytes | None = None
    at_most: int | None = None
    usable: Callable[[int], bool] = lambda step: True
    forget: bool = False
    steal: bool = False


@dataclass(frozen=True)
class Newest:
    """A state to go on from (None: the beginning), and how many lines of the manifest come before or with it.

    `preempted`: it lies in preempt/. `notes`: the newer states that were passed over, and why.
    """

    saved: Saved | None
    lines: int
    preempted: bool = False
    notes: tuple[str, ...] = ()

    @property
    def step(self) -> int:
        return 0 if self.saved is None else self.saved.step


def newest(root: Path, manifest: Manifest, terms: ReopenTerms, preempted: bool, fs: FileSystem) -> Newest:
    """The newest state that `terms` allow; `preempted`: those in preempt/ count too.

    StoreError if there are states and all are damaged.
    """
    most, notes, damage = terms.at_most, (), None
    states = [state for state in _saved_steps(root, manifest, preempted, fs) if most is None or state[0] <= most]
    for step, index in sorted(states, key=lambda state: (state[0], state[1] is None), reverse=True):
        try:
            if index is None:
                saved, lines = read_preempted(root, step, manifest, fs)
                saved.verify(root, fs)
                return Newest(saved, lines, preempted=True, notes=notes)
            if terms.usable(step):
                saved = read_saved(root, manifest.entries[index], fs)
                saved.verify(root, fs)
                follows = manifest.entries[index + 1 : index + 2]
                return Newest(saved, index + 1 + (bool(follows) and follows[0].kind == "retire"), notes=notes)
        except StoreError as error:
            notes += (f"passed over: {error}",)
            damage = error
    if damage is not None and most is None:
        hint = f"no state to go on from is left; coupled-run resume {shell(root)} --from 0 makes everything again"
        raise StoreError(damage.path or root, damage.reason, hint)
    return Newest(None, 1, notes=notes)


def _saved_steps(root: Path, manifest: Manifest, preempted: bool, fs: FileSystem) -> Iterator[tuple[int, int | None]]:
    """(step, index of its line) of every checkpoint that should be or is on disk; index None: in preempt/."""
    retired = {entry.name for entry in manifest.entries if entry.kind == "retire"}
    for index, entry in enumerate(manifest.entries):
        if entry.kind == "checkpoint" and (
            entry.name not in retired or fs.status(root / checkpoint_folder(entry.first) / STATE) is not None
        ):
            yield entry.first, index
    folder = root / PREEMPT
    with naming(folder):
        names = fs.names(folder) if preempted and fs.is_folder(folder) else []
    for name in names:
        digits = name.removeprefix("step-")
        if digits.isascii() and digits.isdecimal() and name == f"step-{int(digits):09d}":
            yield int(digits), None
