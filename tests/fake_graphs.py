"""CUDA graphs on a CPU: the act that was captured is run again, and may then read no other tensors."""

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from coupled import graphs


class Read(TorchDispatchMode):
    """Where the tensors lie that an act reads or writes and has not made itself."""

    def __init__(self):
        super().__init__()
        self.places, self._made = set(), {}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        fresh = func is torch.ops.aten.lift_fresh.default  # an array of numpy that was just made
        for tensor in [] if fresh else self._tensors((args, kwargs or {})):
            place = tensor.untyped_storage().data_ptr()
            if place not in self._made and tensor.numel():
                self.places.add(place)
        out = func(*args, **kwargs or {})
        for tensor in self._tensors(out):
            place = tensor.untyped_storage().data_ptr()
            if place not in self.places:
                self._made[place] = tensor  # so that nothing else comes to lie there
        return out

    def _tensors(self, tree):
        return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, torch.Tensor)]


class Again(graphs.Graphs):
    """Counts what is captured and what is replayed."""

    def __init__(self):
        super().__init__()
        self.captured, self.replayed = [], []

    def _first(self, act):
        return act()

    def _captured(self, key, act, outputs):
        self.captured.append(key)
        with Read() as then:
            graphs._copy(outputs, act())

        def replay():
            self.replayed.append(key)
            with Read() as now:
                graphs._copy(outputs, act())
            assert now.places == then.places, f"{key} reads other tensors than it did"

        return replay
