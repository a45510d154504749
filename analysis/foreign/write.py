"""A run directory of imported checkpoints: made beside its place and moved there when it is whole."""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import numpy as np
import torch

from coupled import runtime
from coupled.config import Config, digest, fingerprint, resolved
from coupled.config.formats import FORMAT, IMPORTED
from coupled.errors import UserError
from coupled.reading.imported import NOTHING_PROMISED, Imported, check_imported
from coupled.recording.layout import layer_facts
from coupled.store import RunDirectory, canonical_json, checkpoint_folder, state, to_bytes
from coupled.store.canonical import strict_json
from coupled.store.errors import naming
from coupled.store.lock import LOCK
from coupled.store.rundir import MAX_RUN_JSON, RUN_JSON

Arrays = Mapping[str, np.ndarray]
_PREFIX: Final = ".import-"  # of the folder that a run is made in


def must_be_free(path: Path) -> None:
    """UserError unless a run can be made at the path."""
    if state(path) != "absent":
        raise UserError(f"{path} is there already", "a run is made in a new or empty folder", "give another --output")


def facts_of(config: Config, content: Imported) -> dict[str, Any]:
    """The content of run.json, as a reader takes it. UserError where it lists more files than it may."""
    facts = {
        "schema": FORMAT,
        "config": resolved(config),
        "config_digest": digest(config),
        "fingerprint": fingerprint(config),
        "layers": layer_facts(config),
        "data": {"train": None, "test": None},
        "versions": runtime.versions(),
        "machine": runtime.machine(torch.device("cpu")),
        "determinism": NOTHING_PROMISED,
        "certificate": None,
        IMPORTED: content.content(),
    }
    written = canonical_json(facts)
    if len(written) >= MAX_RUN_JSON:
        raise UserError(f"{len(content.sources)} files", "run.json holds no more of them", "choose with --epochs")
    check_imported(Path(RUN_JSON), strict_json(written), config)
    return facts


def write(path: Path, facts: Mapping[str, Any], data: str, steps: Mapping[int, Iterator[tuple[str, Arrays]]]) -> None:
    """Makes the finished run at `path`: at every step the arms with their tensors, one at a time.

    `data`: where the data set lies, for the log.
    """
    mark = {"fingerprint": facts["fingerprint"]}
    with RunDirectory.create(path, canonical_json(facts) + b"\n") as directory:
        for step, arms in steps.items():
            folder = checkpoint_folder(step)
            files = [directory.put(f"{folder}/{arm}.safetensors", to_bytes(arrays, mark)) for arm, arrays in arms]
            directory.append_checkpoint(step, files, mark)
        directory.finish(max(steps))
        directory.log({"event": "imported", "paths": {"data": data}})
    (path / LOCK).unlink(missing_ok=True)


@contextmanager
def workshop(path: Path) -> Iterator[tuple[Path, Callable[[], None]]]:
    """A folder beside `path` to make things in, and what moves the run made in its `run` to `path`.

    It is removed in the end, and so are folders above `path` that were made for it where nothing came of it.
    """
    new_folders: list[Path] = []
    parent = path.absolute().parent
    with naming(parent):
        for folder in [*reversed(parent.parents), parent]:
            if not folder.exists():
                folder.mkdir()
                new_folders.append(folder)
    try:
        with naming(parent):
            temporary = TemporaryDirectory(prefix=_PREFIX, dir=parent)
        with temporary as name:
            yield Path(name), lambda: os.replace(Path(name) / "run", path)  # noqa: PTH105
    finally:
        for folder in reversed(new_folders):
            with suppress(OSError):
                folder.rmdir()
