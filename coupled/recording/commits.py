"""What all ranks of a run commit together: each writes the objects of its arms, rank 0 alone writes lines.

The writing threads of all ranks do the same tasks in the same order and meet in each of them, twice: when all objects
are on disk, and when their line is. So an error of one is known to all in the task it happened in, and no line stands
for an object that is not there.
"""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from coupled.errors import RunStopped, UserError
from coupled.ranks.mesh import Mesh
from coupled.store import Committed, Objects, RunDirectory

_RECORD = 1 + 8 + 32  # present, size, SHA-256


class Commits:
    """The objects of a run from this rank's side. `directory`: open on rank 0, None elsewhere."""

    def __init__(self, mesh: Mesh, objects: Objects, directory: RunDirectory | None) -> None:
        self.mesh, self.objects, self.directory = mesh, objects, directory

    def commit(
        self,
        names: Sequence[str],
        put: Callable[[Objects], Sequence[Committed]],
        line: Callable[[RunDirectory, Sequence[Committed]], object],
    ) -> None:
        """`put` this rank's of the objects `names`, then on rank 0 `line` of all, in the order of names.

        If any rank fails, the first that did raises its error and the others end in silence.
        """
        own = self._meet(lambda: put(self.objects))
        everyones = self._exchanged(names, {done.name: done for done in own})
        directory = self.directory
        self._meet(lambda: [] if directory is None else [line(directory, everyones)])

    def _meet(self, act: Callable[[], Sequence]) -> Sequence:
        result, error = (), None
        try:
            result = act()
        except (UserError, RunStopped) as raised:
            error = raised
        self.mesh.agree(error, self.mesh.writers)
        return result

    def _exchanged(self, names: Sequence[str], own: Mapping[str, Committed]) -> list[Committed]:
        """Every rank's objects, in the order of `names`."""
        if self.mesh.writers.size == 1:
            return [own[name] for name in names]
        rows = torch.stack([_packed(own.get(name)) for name in names])
        gathered = self.mesh.writers.gathered(rows)
        assert bool((gathered[:, :, 0].sum(0) == 1).all()), "an object has one writer"
        return [_unpacked(name, row) for name, row in zip(names, gathered.sum(0, dtype=torch.uint8), strict=True)]


def _packed(done: Committed | None) -> Tensor:
    data = bytes(_RECORD) if done is None else b"\1" + done.size.to_bytes(8, "little") + bytes.fromhex(done.sha256)
    return torch.frombuffer(bytearray(data), dtype=torch.uint8)


def _unpacked(name: str, row: Tensor) -> Committed:
    data = row.numpy().tobytes()
    return Committed(name, int.from_bytes(data[1:9], "little"), data[9:].hex())
