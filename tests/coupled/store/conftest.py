"""A file system that writes down what is done to it, and can stop or fail at a chosen moment."""

import errno
import json
import tempfile
from pathlib import Path

import numpy as np
import pytest
from lives import Life, whole
from pretended import LENGTHS, commit_checkpoint, commit_shard, work

from coupled.store import REAL, FileSystem, RunDirectory, shard_name, to_bytes, tree_hash

DIGEST = "d" * 64


class Killed(BaseException):
    """Stands for the end of the process: no `except Exception` tidies up after it."""


class Watched(FileSystem):
    def __init__(self, root: Path, kill_at: int | None = None, fail_at: int | None = None):
        super().__init__()
        self.root, self.kill_at, self.fail_at = root, kill_at, fail_at
        self.acts, self.points, self._names, self._count = [], [], {}, 0

    def point(self, name):
        self.points.append(name)
        if self.kill_at == len(self.points) - 1:
            raise Killed(name)

    def open(self, path, flags):
        fd = super().open(path, flags)
        self._names[fd] = path
        return fd

    def write(self, fd, data):
        self._act("write", self._names[fd])
        return super().write(fd, data)

    def sync(self, fd):
        self._act("sync", self._names[fd])
        super().sync(fd)

    def rename(self, old, new):
        self._act("rename", new)
        super().rename(old, new)

    def mkdir(self, path):
        self._act("mkdir", path)
        super().mkdir(path)

    def _act(self, verb, path):
        inside = path == self.root or self.root in path.parents
        self.acts.append(f"{verb} {path.relative_to(self.root).as_posix() if inside else 'outside'}")
        self._count += 1
        if self._count - 1 == self.fail_at:
            raise OSError(errno.EIO, "Input/output error", str(path))


@pytest.fixture(scope="module")
def memory():
    """Folders in memory: these tests make a hundred thousand files and wait for none of them."""
    place = Path("/dev/shm") if Path("/dev/shm").is_dir() else None
    with tempfile.TemporaryDirectory(dir=place) as folder:
        yield Path(folder)


@pytest.fixture(scope="module")
def golden(memory):
    """The hash of a run of the longer length that was never touched; calls and points of a whole life."""
    folder = memory / "golden"
    folder.mkdir()
    work(folder / "run", REAL, LENGTHS[1])
    life = Life(folder / "life")
    assert life.live()
    whole(life, tree_hash(folder / "run"))
    return tree_hash(folder / "run"), life.fs.acts, life.fs.points


@pytest.fixture
def watched(tmp_path):
    """Makes watched file systems for the run directory `tmp_path / "run"`."""
    return lambda **moments: Watched(tmp_path / "run", **moments)


@pytest.fixture
def killed():
    return Killed


@pytest.fixture
def run_json():
    """The bytes of a run.json with the given digest."""
    return lambda digest=DIGEST: json.dumps({"config_digest": digest}).encode()


@pytest.fixture
def write_run(tmp_path, run_json):
    """Writes a small whole run, its lock released at the end."""

    def write(fs, root=tmp_path / "run", finish=True):
        with RunDirectory.create(root, run_json(), fs) as run:
            for first in (0, 2):
                data = to_bytes({"x": np.arange(4.0) + first}, {"first": first})
                commit_shard(run, shard_name("scalars", "cl", first, first + 1), data, first, first + 1)
            commit_checkpoint(run, 4, {"cl": to_bytes({"w": np.ones(2)}, {})}, {"position": 4})
            run.log({"event": "done"})
            if finish:
                run.finish(4)

    return write
