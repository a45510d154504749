"""CUDA graphs on a CPU: the act that was captured is run again, and may then read no other tensors."""

from contextlib import contextmanager
from functools import partial

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from coupled import graphs
from coupled.lanes import Lane


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

    def _lane(self, key):
        return None

    def _plain(self, act, lane):
        return act()

    def _captured(self, key, act, outputs, lane):
        self.captured.append(key)
        with Read() as then:
            graphs._copy(outputs, act())

        def replay():
            self.replayed.append(key)
            with Read() as now:
                graphs._copy(outputs, act())
            assert now.places == then.places, f"{key} reads other tensors than it did"

        return replay


class Stream:
    """What is put on it is done when somebody waits for it, and not before."""

    def __init__(self):
        self.waiting, self.seen = [], []

    def wait_stream(self, other):
        self.seen.append(other)
        waiting, other.waiting = other.waiting, []
        for act in waiting:
            act()


class Streams:
    """In place of torch.cuda's: a main stream, on which all is done at once, and others, which are late."""

    def __init__(self, patch):
        self.main = self.current = Stream()
        patch.setattr(torch.cuda, "current_stream", lambda: self.current)
        patch.setattr(torch.cuda, "stream", self._on)

    @contextmanager
    def _on(self, stream):
        before, self.current = self.current, stream
        try:
            yield
        finally:
            self.current = before


class Late(Again):
    """Graphs side by side: until the stream of a replay is waited for, what it gives is not a number. `lanes`: those of
    what was captured, by key.
    """

    def __init__(self, streams):
        super().__init__()
        self.at_once, self.streams, self.lanes, self._shared = True, streams, {}, Lane(Stream(), "all")

    def _lane(self, key):
        if self._passes is None:
            return self._shared
        return self._lanes.setdefault(key, Lane(Stream(), key))

    def _captured(self, key, act, outputs, lane):
        self.lanes[key] = lane
        again = super()._captured(key, act, outputs, lane)

        def replay():
            if self.streams.current is self.streams.main:
                again()
                return
            assert self.streams.current is lane.stream and lane.stream.seen[-1] is self.streams.main
            again()
            results = [tensor.detach() for tensor in self._replays[key].results]
            lane.stream.waiting.append(partial(graphs._put, results, [tensor.clone() for tensor in results]))
            for tensor in results:
                tensor.fill_(torch.nan)

        return replay
