"""All that is wrong with a run, by the check that found it, and what makes it whole again."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, NoReturn

from coupled.config.formats import FORMAT
from coupled.errors import EarlyEnd
from coupled.reading.imported import imported
from coupled.store import Audit, Faults, Manifest, StoreError, checkpoint_folder, verify_object
from coupled.store.audit import DamageError, SurplusError, last_sound
from coupled.store.manifest import MANIFEST, RUN_JSON
from coupled.terminal.shell import shell
from coupled.verification.again import Again

BYTES: Final = "bytes"  # the one check whose faults leave the hashes on record right
AGAIN: Final = "trained again"


def not_made(stopped: Mapping[str, EarlyEnd]) -> list[str]:
    """A sentence for each check that could not be made."""
    return [f"{check}: this check could not be made: {error}" for check, error in stopped.items()]


class Damage:
    """The faults of the run at `path`, whose bytes `whole` tells of once they are read."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.whole: Audit | None = None
        self.again = Again()
        self.stopped: dict[str, EarlyEnd] = {}  # what ended a check that could not be made, by its name
        self._checks: dict[str, Faults] = {}

    def of(self, check: str) -> Faults:
        """What a check of that name finds."""
        return self._checks.setdefault(check, Faults())

    @property
    def files(self) -> set[str]:
        """The names inside the run of all files that have a fault; not of those that should not be there."""
        every = [fault for faults in self._checks.values() for fault in faults.errors]
        paths = [fault.path for fault in every if not isinstance(fault, SurplusError)]
        return {path.relative_to(self.path).as_posix() for path in paths if path and path.is_relative_to(self.path)}

    def sound(self, manifest: Manifest) -> Manifest:
        """The lines of a manifest without those whose files have a fault: of a checkpoint, any of its files."""
        files = self.files
        folders = {name.rpartition("/")[0] for name in files}
        lines = [
            entry
            for entry in manifest.entries
            if entry.kind in ("begin", "finish", "retire")
            or not (entry.name in files or (entry.kind == "checkpoint" and checkpoint_folder(entry.first) in folders))
        ]
        return replace(manifest, entries=tuple(lines))

    def refuse(self, facts: Mapping[str, Any] | None, *, here: bool = True) -> None:
        """DamageError if there is any. `facts`: of run.json, if they could be read; `here`: the run was made under the
        conditions that are here.
        """
        groups = {check: faults.errors for check, faults in self._checks.items() if faults.errors}
        if not groups:
            return
        if not here and groups.keys() == {AGAIN}:
            self._raise(groups, "verify it where it was made: there equal bytes are promised")
        if all(isinstance(fault, SurplusError) for faults in groups.values() for fault in faults):
            self._raise(groups, "what was committed has the bytes on record: move what was not out of the run")
        self._raise(groups, self._remedy(facts, by_bytes=groups.keys() == {BYTES} and not self._is_as_committed()))

    def _raise(self, groups: Mapping[str, Sequence[StoreError]], do: str) -> NoReturn:
        raise DamageError(groups, do, not_made(self.stopped))

    def _is_as_committed(self) -> bool:
        """Has any file with a fault that the manifest names the bytes that are on record?"""
        files = self.files
        for entry in () if self.whole is None else self.whole.manifest.entries:
            if entry.name in files and entry.sha256 is not None:
                with suppress(StoreError):
                    verify_object(self.path, entry.committed())
                    return True
        return False

    def _remedy(self, facts: Mapping[str, Any] | None, *, by_bytes: bool) -> str:
        """What makes the files of the run again. `by_bytes`: the hashes on record are those of the files as made."""
        files, run = self.files, shell(self.path)
        if facts is not None and imported(facts) is not None:
            return "coupled-analyze import makes it again from the folder that it was made of"
        if facts is not None and facts["schema"] != FORMAT:
            return f"runs of format {facts['schema']} cannot be resumed: train its config again"
        if self.whole is None or files & {RUN_JSON, MANIFEST}:
            return f"no resume mends {RUN_JSON} or {MANIFEST}: move the run away and train its config again"
        sound = last_sound(self.whole.manifest, files, self.whole.folders)
        # Without the same bytes, the files that it makes have other hashes than those on record.
        how = ("" if by_bytes else " --allow-drift") + self.again.resume
        if sound:
            do = f"coupled-run resume {run} --from {sound}{how} goes on from it"
            return f"step {sound} is the last sound checkpoint: {do}"
        if not by_bytes and any(name.startswith(f"{checkpoint_folder(0)}/") for name in files):
            return "the checkpoint at step 0 is not what it has to be: train its config again, with --overwrite"
        return f"no checkpoint after step 0 is sound: coupled-run resume {run} --from 0{how} trains it anew"
