"""CUDA graphs: what a step does where the step before did it, as one launch in place of hundreds.

Small networks are bound by the host that launches their kernels. A graph has the very kernels that its act launches, on
the same memory, so it gives the same bytes.
"""

import gc
from collections.abc import Callable, Hashable, Mapping
from functools import cache
from typing import Any, Final, TypeVar

import torch
from torch import Tensor

from coupled.config import Config
from coupled.config.traits import objective_of
from coupled.errors import RunStopped
from coupled.objectives.registry import registered
from coupled.ranks.mesh import Mesh

K = TypeVar("K")
Act = Callable[[], Mapping[K, Tensor]]


class Graphs:
    """Acts by name. An act depends on nothing that changes but tensors which stay where they are, and asks the device
    for no number.

    The first time, an act runs as it is, and libraries load what they need. The second time it runs once more, its
    kernels are captured, and what they give must have the same bytes; from then on they are replayed. What it gives are
    tensors that stay where they are as well, until it is run again. In between nothing has to be kept in the memory of
    graphs, so all of a process share it, in whatever order they are replayed.
    """

    why_not = ""

    def __init__(self) -> None:
        self._outputs: dict[Hashable, dict[Any, Tensor]] = {}
        self._begun: set[Hashable] = set()
        self._replays: dict[Hashable, tuple[Callable[[], object], Act[Any]]] = {}

    def run(self, key: Hashable, act: Act[K]) -> Mapping[K, Tensor]:
        """What `act()` gives; `key` names it, with all that it depends on beside its tensors."""
        if key not in self._begun:
            self._begun.add(key)
            return self.kept(key, self._first(act))
        outputs = self._outputs[key]
        if key in self._replays:
            self._replays[key][0]()
            return outputs
        expected = {name: value.detach().clone() for name, value in self._first(act).items()}
        # The act is kept: so are the tensors whose addresses its graph has.
        self._replays[key] = self._captured(key, act, outputs), act
        self._replays[key][0]()
        differing = [name for name in outputs if not _same_bytes(outputs[name], expected[name])]
        if differing:
            raise _refused(key, f"{differing[0]} came out with other bytes than without")
        return outputs

    def forget(self) -> None:
        """Lets go of all graphs, and of the tensors that they work on."""
        for kept in (self._outputs, self._replays, self._begun):
            kept.clear()

    def kept(self, key: Hashable, values: Mapping[K, Tensor]) -> Mapping[K, Tensor]:
        """What another act gave in place of that of `key`, where the tensors of that one lie."""
        if key not in self._outputs:
            self._outputs[key] = {name: value.detach().clone() for name, value in values.items()}
        _copy(self._outputs[key], values)
        return self._outputs[key]

    def _first(self, act: Act[K]) -> Mapping[K, Tensor]:
        # On the stream that captures: what libraries keep for a stream is then not made within a graph.
        (stream, _), current = _shared(torch.cuda.current_device()), torch.cuda.current_stream()
        stream.wait_stream(current)
        with torch.cuda.stream(stream):
            outputs = act()
        current.wait_stream(stream)
        return outputs

    def _captured(self, key: Hashable, act: Act[K], outputs: Mapping[K, Tensor]) -> Callable[[], object]:
        if not self._replays:
            gc.collect()  # what an earlier run of this process has left would be freed within the capture
        graph, (stream, pool) = torch.cuda.CUDAGraph(), _shared(torch.cuda.current_device())
        current = torch.cuda.current_stream()
        try:
            # Other threads, which make views, go on meanwhile.
            with torch.cuda.graph(graph, pool=pool, stream=stream, capture_error_mode="thread_local"):
                _copy(outputs, act())
        except RuntimeError as error:
            torch.cuda.set_stream(current)  # which a capture that fails twice leaves behind
            # The end of a capture fails too then, and says less.
            cause = error.__context__ if isinstance(error.__context__, RuntimeError) else error
            if isinstance(cause, torch.OutOfMemoryError):
                raise cause from None
            raise _refused(key, next(iter(str(cause).splitlines()), "no reason given")) from error
        return graph.replay

    @property
    def is_on(self) -> bool:
        return not self.why_not


@cache
def _shared(device: int) -> tuple[torch.cuda.Stream, Any]:
    """The stream that captures, and the memory of all graphs of this process on a device."""
    return torch.cuda.Stream(device), torch.cuda.graph_pool_handle()


def _refused(key: Hashable, reason: str) -> RunStopped:
    of = ", ".join(map(str, key)) if isinstance(key, tuple) else str(key)
    return RunStopped(f"no CUDA graph can be made of {of} ({reason}): set train.graphs = false, the bytes are the same")


def _same_bytes(one: Tensor, other: Tensor) -> bool:
    # bytes, not values: 0.0 == -0.0 there, and NaN is never itself
    return torch.equal(*(tensor.contiguous().reshape(-1).view(torch.uint8) for tensor in (one, other)))


class NoGraphs(Graphs):
    """Acts are run as they are. `why_not`: in words."""

    def __init__(self, why_not: str) -> None:
        super().__init__()
        self.why_not = why_not

    def run(self, key: Hashable, act: Act[K]) -> Mapping[K, Tensor]:
        return act()

    def kept(self, key: Hashable, values: Mapping[K, Tensor]) -> Mapping[K, Tensor]:
        return values


OFF: Final = NoGraphs("off")


def graphs_of(config: Config, device: torch.device, mesh: Mesh) -> Graphs:
    """Those of a process of the run, on unless something in its steps forbids them."""
    why_not = forbidden_by(config, device.type, mesh.data.size)
    return NoGraphs(why_not) if why_not else Graphs()


def forbidden_by(config: Config, device: str, data_ranks: int) -> str:
    """Why the steps of a config are no graphs on this type of device, in words; "" where they are."""
    objectives = (objective_of(arm).name for arm in config.arms.values())
    own = next((name for name in objectives if registered(name) is not None), None)
    forbids = [
        (device != "cuda", "arms are on a CPU"),
        (not config.train.graphs, "train.graphs is off"),
        (config.train.compile, "train.compile has its own"),
        (data_ranks > 1, "ranks that share a batch meet within its forward"),
        (own is not None, f"{own} is code that may ask for numbers"),
    ]
    return next((why for forbidden, why in forbids if forbidden), "")


def _copy(outputs: Mapping[K, Tensor], values: Mapping[K, Tensor]) -> None:
    assert outputs.keys() == values.keys(), "an act gives the same every time"
    with torch.no_grad():
        for key, value in values.items():
            outputs[key].copy_(value)
