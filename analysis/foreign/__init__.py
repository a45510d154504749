"""Checkpoints that others trained, with the code of the two papers, as a run directory that every reader takes."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from analysis.foreign import config as configs
from analysis.foreign import write
from analysis.foreign.config import Origin
from analysis.foreign.folders import Checkpoint, arm_folders, checkpoints, objective_of
from analysis.foreign.loading import Loader
from analysis.foreign.names import Target, targets, translated
from analysis.foreign.shapes import Architecture, read
from coupled.reading.imported import Source
from coupled.store import StoreError
from coupled.terminal.counting import Progress

__all__ = ["Origin", "import_checkpoints"]


def import_checkpoints(
    directory: str | Path | None,
    output: str | Path,
    origin: Origin,
    *,
    arms: Sequence[tuple[str, str | Path]] = (),
    epochs: Sequence[int] = (),
    heads: int | None = None,
    progress: Progress | None = None,
) -> Path:
    """Makes the run directory `output` of the checkpoints in `directory`/dcl, nscl, scl and ce, and of `arms`, pairs of
    a name and the folder of its checkpoints; returns its path.

    epochs: only these. heads: of a ViT, 12 by default. progress(work, done, all). The first arm is the others'
    reference. No file is trusted: each is opened by a process of its own, with limits, that runs nothing of it. Raises
    UserError for what the user can mend, StoreError for a file that is damaged, hostile or of another network; then
    nothing is left behind.
    """
    count: Progress = progress or (lambda work, done, total: None)
    path = Path(output)
    write.must_be_free(path)
    folders = arm_folders(None if directory is None else Path(directory), [(name, Path(at)) for name, at in arms])
    for arm in folders:
        objective_of(arm)
    by_epoch = checkpoints(folders, epochs)
    steps = configs.steps_of(list(by_epoch), origin)
    with write.workshop(path) as (folder, publish), Loader(folder / "tensors.safetensors") as loader:
        config = configs.config(_read(loader, by_epoch, heads), list(folders), list(steps.values()), origin)
        marks = {file: file.mark() for files in by_epoch.values() for file in files.values()}
        sources = list(_sources(list(marks), steps, count))
        facts = write.facts_of(config, configs.content(config, origin, sources))
        classes = configs.classes_of(config, origin)
        wanted = {name: targets(config, arm.objective, classes[name]) for name, arm in config.arms.items()}
        reading = _Reading(loader, wanted, marks, count)
        states = {steps[epoch]: reading.states(files) for epoch, files in by_epoch.items()}
        write.write(folder / "run", facts, origin.data, states)
        publish()
    return path


class _Reading:
    """All files in turn, as the tensors of our checkpoints."""

    def __init__(
        self,
        loader: Loader,
        wanted: Mapping[str, Mapping[str, Target]],
        marks: Mapping[Checkpoint, tuple[int, ...]],
        progress: Progress,
    ) -> None:
        self._loader, self._wanted, self._marks, self._progress = loader, wanted, marks, progress
        self._done = 0

    def states(self, files: Mapping[str, Checkpoint]) -> Iterator[tuple[str, write.Arrays]]:
        """The arms of one epoch."""
        for arm, checkpoint in files.items():
            arrays = translated(checkpoint, self._loader.load(checkpoint), self._wanted[arm])
            if checkpoint.mark() != self._marks[checkpoint]:
                raise StoreError(checkpoint.path, "it changed while it was read")
            yield arm, arrays
            self._done += 1
            self._progress("checkpoints", self._done, len(self._marks))


def _read(loader: Loader, by_epoch: Mapping[int, Mapping[str, Checkpoint]], heads: int | None) -> Architecture:
    """The network of the first file, by its shapes."""
    first = next(iter(next(iter(by_epoch.values())).values()))
    tensors = loader.load(first)
    try:
        return read({name: info.shape for name, info in tensors.header.tensors.items()}, heads)
    except ValueError as error:
        raise StoreError(first.path, str(error)) from None


def _sources(files: Sequence[Checkpoint], steps: Mapping[int, int], progress: Progress) -> Iterator[Source]:
    """Every file with its bytes' digest."""
    for number, file in enumerate(files, 1):
        size, sha256 = file.fingerprint()
        yield Source(file.arm, file.epoch, steps[file.epoch], file.path.name, size, sha256)
        progress("digests", number, len(files))
