"""A disk whose power can fail: what was not fsynced is lost, kept or torn.

`SimulatedDisk` acts on real files below `base`, which are what a running process sees, and keeps beside them a model of
what is durable: a file's bytes as of its last fsync, a folder's entries as of its own. `survive` lays down in another
folder what a power cut could have left.
"""

import errno
import os
import random
from pathlib import Path

from coupled.store import FileSystem


class PowerCut(BaseException):
    """The end of the process: nothing tidies up after it."""


class Node:
    """A file (data, durable bytes) or a folder (entries, durable entries, changes since its last fsync)."""

    def __init__(self, folder):
        self.folder = folder
        self.data, self.durable = b"", b""
        self.entries, self.durable_entries, self.pending = {}, {}, []


class SimulatedDisk(FileSystem):
    """Counts its calls. At call `cut_at` the power fails before the call, or amid it where it writes; at call `fail_at`
    the operating system refuses with `error`. At kill point number `kill_at` the power fails too.
    """

    def __init__(self, base, cut_at=None, fail_at=None, kill_at=None, error=errno.ENOSPC):
        super().__init__()
        self.base, self.cut_at, self.fail_at, self.kill_at, self.error = base, cut_at, fail_at, kill_at, error
        self.calls, self.points, self.acts = 0, [], []
        self._open, self._nodes = {}, Node(folder=True)
        self._load(base, self._nodes)

    def _load(self, path, node):
        for child in sorted(path.iterdir()):
            inside = Node(child.is_dir())
            node.entries[child.name] = node.durable_entries[child.name] = inside
            if inside.folder:
                self._load(child, inside)
            else:
                inside.data = inside.durable = child.read_bytes()

    def _node(self, path):
        node = self._nodes
        for part in path.relative_to(self.base).parts:
            node = node.entries[part]
        return node

    def _call(self, act, partly=lambda: None):
        self.acts.append(act)
        number, self.calls = self.calls, self.calls + 1
        if number == self.cut_at:
            partly()
            raise PowerCut(act)
        if number == self.fail_at and act not in ("open", "close"):
            raise OSError(self.error, os.strerror(self.error))

    def _inside(self, path):
        return path == self.base or self.base in path.parents

    def point(self, name):
        self.points.append(name)
        if self.kill_at is not None and len(self.points) - 1 == self.kill_at:
            raise PowerCut(name)

    # -- primitives

    def open(self, path, flags):
        new = flags & os.O_CREAT and not path.exists()
        if new:
            self._call("create")
        fd = super().open(path, flags)
        if new:
            self._link(path, Node(folder=False))
        if flags & (os.O_WRONLY | os.O_RDWR | os.O_DIRECTORY):  # a reader closes its descriptor by itself
            self._open[fd] = self._node(path) if self._inside(path) else None
        return fd

    def close(self, fd):
        self._open.pop(fd, None)
        super().close(fd)

    def write(self, fd, data):
        def put(piece):
            self._open[fd].data += bytes(piece)
            return FileSystem.write(self, fd, piece)

        self._call("write", partly=lambda: put(data[: len(data) // 2]))
        return put(data)

    def truncate(self, fd):
        self._call("truncate")
        self._open[fd].data = b""
        super().truncate(fd)

    def sync(self, fd):
        self._call("sync")
        self._make_durable(self._open[fd])

    def _make_durable(self, node):
        if node is None:
            return
        if node.folder:
            node.durable_entries, node.pending = dict(node.entries), []
        else:
            node.durable = node.data

    def rename(self, old, new):
        self._call("rename")
        super().rename(old, new)
        node = self._node(old.parent).entries.pop(old.name)
        self._node(new.parent).entries[new.name] = node
        if old.parent == new.parent:
            self._node(old.parent).pending.append((old.name, new.name, node))
        else:
            self._node(old.parent).pending.append((old.name, None, None))
            self._node(new.parent).pending.append((None, new.name, node))

    def unlink(self, path):
        self._call("unlink")
        super().unlink(path)
        self._unlink(path)

    def mkdir(self, path):
        self._call("mkdir")
        super().mkdir(path)
        self._link(path, Node(folder=True))

    def rmdir(self, path):
        self._call("rmdir")
        super().rmdir(path)
        self._unlink(path)

    def _link(self, path, node):
        parent = self._node(path.parent)
        parent.entries[path.name] = node
        parent.pending.append((None, path.name, node))

    def _unlink(self, path):
        parent = self._node(path.parent)
        if parent.entries.pop(path.name, None) is not None:
            parent.pending.append((path.name, None, None))

    # -- the end

    def die(self):
        """The process is gone: its descriptors and locks with it."""
        for fd in list(self._open):
            os.close(fd)
        self._open.clear()

    def survive(self, place: Path, seed: int, mode="random"):
        """Lays down in the new folder `place` what may be left. mode: lost (all that was not fsynced), kept, random."""
        self.die()
        place.mkdir(parents=True)
        self._lay(self._nodes, place, random.Random(seed), mode)
        return place

    def _lay(self, node, place, rng, mode):
        entries = dict(node.durable_entries)
        for old, new, child in node.pending:
            if mode == "kept" or (mode == "random" and rng.random() < 0.5):
                if old is not None:
                    entries.pop(old, None)
                if new is not None:
                    entries[new] = child
        for name, child in entries.items():
            if child.folder:
                (place / name).mkdir()
                self._lay(child, place / name, rng, mode)
            else:
                (place / name).write_bytes(self._left_of(child, rng, mode))

    @staticmethod
    def _left_of(node, rng, mode):
        if node.data == node.durable or mode == "lost":
            return node.durable
        fate = "kept" if mode == "kept" else rng.choice(["lost", "kept", "cut", "zeros"])
        if fate == "lost":
            return node.durable
        if fate == "kept":
            return node.data
        pairs = zip(node.data, node.durable, strict=False)
        common = next((i for i, (new, old) in enumerate(pairs) if new != old), min(len(node.data), len(node.durable)))
        cut = rng.randint(common, max(common, len(node.data)))
        return node.data[:cut] + (b"\0" * (len(node.data) - cut) if fate == "zeros" else b"")
