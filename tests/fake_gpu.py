"""A GPU that is not there: tensors that say they are on one and have no elements, and a count of what it would do."""

from contextlib import contextmanager

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from coupled.graphs import Graphs
from coupled.models.norm import fused

GPU = torch.device("cuda:0")
# They start no kernel: memory alone, and what Python asks of a tensor.
IDLE = ("aten.empty", "aten.new_empty", "prim.", "profiler.", "aten.lift_fresh")


class Counted(TorchDispatchMode):
    """Names of the operations that would start a kernel on a device, and of those that bring something to the host.

    `to_device`: of those that take something from the host, names and whether `pin` was told of the memory.
    """

    def __init__(self, device="cuda"):
        super().__init__()
        self._device, self.launches, self.to_host, self.to_device, self._pinned = device, [], [], [], []

    def pin(self, tensor):
        """`tensor`, whose memory counts as pinned from now on."""
        self._pinned.append(tensor)  # kept: no other memory may get its number
        return tensor

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **kwargs or {})
        name = str(func)
        if not func.is_view and not name.startswith(IDLE):
            given, result = (self._on_device(tree) for tree in ((args, kwargs or {}), out))
            to_host = name == "aten._local_scalar_dense.default" or (result and not any(result))
            if any(result) or any(given):
                (self.to_host if to_host else self.launches).append(name)
            if any(result):
                self.to_device += [
                    (name, self._is_pinned(host)) for host in self._from_host((args, kwargs or {}), name)
                ]
        return out

    def _from_host(self, tree, name):
        """The tensors that a device would have to fetch: not the numbers that kernels take along."""
        leaves = [leaf for leaf in tree_leaves(tree) if isinstance(leaf, torch.Tensor) and leaf.device.type == "cpu"]
        return [leaf for leaf in leaves if leaf.ndim or "copy" in name]

    def _is_pinned(self, tensor):
        memory = tensor.untyped_storage()._cdata  # of fake tensors too, which have no address
        return any(memory == pinned.untyped_storage()._cdata for pinned in self._pinned)

    def _on_device(self, tree):
        return [leaf.device.type == self._device for leaf in tree_leaves(tree) if isinstance(leaf, torch.Tensor)]


def count_kernels(counted, patch):
    """Batch-norm's kernels, which have no shapes of their own, as one launch each of what they would give."""

    def double(name, shapes):
        def kernel(*given):
            counted.launches.append(f"batch_norm_{name}")
            return shapes(*given)

        patch.setattr(torch, f"batch_norm_{name}", kernel)

    def of_channels(x, many):
        return tuple(x.new_empty(x.shape[1], dtype=torch.float32) for _ in range(many))

    double("stats", lambda x, eps: of_channels(x, 2))
    double("elemt", lambda x, *more: torch.empty_like(x))
    double("backward_reduce", lambda g, x, *more: of_channels(x, 4))
    double("backward_elemt", lambda g, x, *more: torch.empty_like(x))
    patch.setattr(fused, "takes", lambda x: True)


class CountedGraphs(Graphs):
    """Each is one launch, and brings nothing to the host."""

    def __init__(self, counted):
        super().__init__()
        self._counted = counted

    def run(self, key, act, **more):
        launches, to_host = len(self._counted.launches), list(self._counted.to_host)
        outputs = act()
        assert self._counted.to_host == to_host, f"{key} asks the GPU for something"
        self._counted.launches[launches:] = [f"graph of {key}"]
        return outputs


class Event:
    """What a stream comes to at once."""

    def record(self, *stream): ...
    def synchronize(self): ...


@contextmanager
def fake_gpu():
    """Inside, tensors can be made on `GPU`; what comes counts all that runs inside.

    A value that Python asks for (`.item()`) is an error there, unless it is a list, each of which is one wait.
    """
    with pytest.MonkeyPatch.context() as patch, FakeTensorMode(allow_non_fake_inputs=True), Counted() as counted:
        tolist = FakeTensor.tolist

        def waits(self):
            if self.device.type == GPU.type:
                counted.to_host.append("tolist")
                return _trues(tuple(self.shape))
            return tolist(self)

        patch.setattr(FakeTensor, "tolist", waits)
        patch.setattr(torch.cuda, "Event", Event)
        count_kernels(counted, patch)
        yield counted


def _trues(shape):
    return [_trues(shape[1:]) for _ in range(shape[0])] if shape else True
