"""CUDA graphs: what a step does where the step before did it, as one launch in place of hundreds.

Small networks are bound by the host that launches their kernels. A graph has the very kernels that its act launches, on
the same memory, so it gives the same bytes.
"""

import gc
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, TypeVar

import torch
from torch import Tensor

from coupled.config import Config
from coupled.config.traits import objective_of
from coupled.errors import RunStopped
from coupled.lanes import Lane, give_up, own_lane, shared_lane
from coupled.objectives.registry import registered
from coupled.ranks.mesh import Mesh

K = TypeVar("K")
Act = Callable[[], Mapping[K, Tensor]]


class GraphError(RunStopped):
    """A graph cannot be made, or gives other bytes than its act."""


@dataclass(frozen=True)
class _Replay:
    """A graph that was captured in a lane. Its act is kept: so are the tensors whose addresses the graph has."""

    again: Callable[[], object]
    act: Act[Any]
    outputs: Mapping[Any, Tensor]
    changes: Sequence[Tensor]
    lane: Lane

    @property
    def results(self) -> list[Tensor]:
        return [*self.outputs.values(), *self.changes]


@dataclass
class _Passes:
    """What comes at the end of passes: captures that are due, and keys of what is being replayed at once."""

    due: list[Callable[[], None]] = field(default_factory=list)
    at_once: list[Hashable] = field(default_factory=list)


class Graphs:
    """Acts by name. An act depends on nothing that changes but tensors which stay where they are, and asks the device
    for no number.

    The first time, an act runs as it is, and libraries load what they need. The second time it runs once more, its
    kernels are captured, and what they give must have the same bytes; from then on they are replayed. What it gives are
    tensors that stay where they are as well, until it is run again. In between nothing has to be kept in the memory of
    graphs, so all that are replayed one after the other share it. `at_once`: those of `passes` run at once, and share
    none.

    Where a graph cannot be made, or gives other bytes, what its act gave stays, and `refused` says why: the run is to
    be stopped.
    """

    why_not = ""

    def __init__(self, *, at_once: bool = False) -> None:
        self.at_once = at_once
        self._outputs: dict[Hashable, dict[Any, Tensor]] = {}
        self._begun: set[Hashable] = set()
        self._replays: dict[Hashable, _Replay] = {}
        self._lanes: dict[Hashable, Lane] = {}
        self._passes: _Passes | None = None
        self._compared: set[Hashable] = set()
        self.refused: GraphError | None = None

    def run(
        self, key: Hashable, act: Act[K], *, changes: Sequence[Tensor] = (), room: Hashable = None
    ) -> Mapping[K, Tensor]:
        """What `act()` gives; `key` names it, with all that it depends on beside its tensors. `changes`: the tensors
        that it changes in place. Acts of one `room` give tensors that lie in the same place.
        """
        room, lane = key if room is None else room, self._lane(key)
        if key in self._replays:
            self._replay(key)
            return self._replays[key].outputs
        is_first = key not in self._begun
        self._begun.add(key)
        before = [] if is_first or self._passes is not None else [tensor.clone() for tensor in changes]
        outputs = self.kept(room, self._plain(act, lane))
        if not is_first:
            capture = partial(self._capture, key, act, outputs, changes, lane, before)
            if self._passes is None:
                capture()
            else:
                self._passes.due.append(capture)
        return outputs

    @contextmanager
    def passes(self) -> Iterator[None]:
        """For the passes of all arms, which take most of the memory. All that are to be captured are so at the end,
        when none runs as it is any more: the memory of a pass is then needed once. Where graphs are `at_once`, those
        that are replayed run beside each other, each in a lane of its own, and what they give is there at the end. If
        one of them never was, all are then replayed in turns as well, and must give the same bytes.

        What runs within must give the same when it is run again, with nothing else changed, and none may read what
        another gives.
        """
        self._passes = passes = _Passes()
        try:
            yield
        finally:
            self._passes = None
            for key in passes.at_once:
                torch.cuda.current_stream().wait_stream(self._replays[key].lane.stream)
        for capture in passes.due:
            capture()
        if len(passes.at_once) > 1 and not self._compared.issuperset(passes.at_once):
            self._compare(passes.at_once)
            self._compared.update(passes.at_once)

    def forget(self) -> None:
        """Lets go of all graphs, and of the tensors that they work on."""
        for kept in (self._outputs, self._replays, self._begun, self._lanes):
            kept.clear()

    def kept(self, room: Hashable, values: Mapping[K, Tensor]) -> Mapping[K, Tensor]:
        """What another act gave in place of that of `room`, where the tensors of that one lie."""
        if room not in self._outputs:
            self._outputs[room] = {name: value.detach().clone() for name, value in values.items()}
        _copy(self._outputs[room], values)
        return self._outputs[room]

    def _lane(self, key: Hashable) -> Lane:
        at_once = self.at_once and self._passes is not None
        if (lane := key if at_once else None) not in self._lanes:
            device = torch.cuda.current_device()
            self._lanes[lane] = own_lane(len(self._lanes), device) if at_once else shared_lane(device)
        return self._lanes[lane]

    def _plain(self, act: Act[K], lane: Lane) -> Mapping[K, Tensor]:
        """The act as it is."""
        # On the stream that captures: what libraries keep for a stream is then not made within a graph.
        current = torch.cuda.current_stream()
        lane.stream.wait_stream(current)
        with torch.cuda.stream(lane.stream):
            outputs = act()
        current.wait_stream(lane.stream)
        return outputs

    def _capture(
        self,
        key: Hashable,
        act: Act[K],
        outputs: Mapping[K, Tensor],
        changes: Sequence[Tensor],
        lane: Lane,
        before: Sequence[Tensor],
    ) -> None:
        """Has the act captured and replayed, from what the tensors were `before` that it changes, if that matters:
        outputs and changes must come out as they are now.
        """
        if self.refused is not None:
            return
        results = [*outputs.values(), *changes]
        names = [*map(str, outputs), *["what it changes"] * len(changes)]
        expected = [tensor.clone() for tensor in results]
        try:
            again = self._captured(key, act, outputs, lane)
            _spoil(results)  # what a replay does not write must not look as if it had
            _put(changes[: len(before)], before)
            again()
            for name, one, other in zip(names, results, expected, strict=True):
                if not _same_bytes(one, other):
                    raise _refusal(key, f"{name} came out with other bytes than without")
        except GraphError as error:
            _put(results, expected)
            self.refused = error
        else:
            self._replays[key] = _Replay(again, act, outputs, changes, lane)

    def _captured(self, key: Hashable, act: Act[K], outputs: Mapping[K, Tensor], lane: Lane) -> Callable[[], object]:
        if not self._replays:
            gc.collect()  # what an earlier run of this process has left would be freed within the capture
        graph, current = torch.cuda.CUDAGraph(), torch.cuda.current_stream()
        try:
            # Other threads, which make views, go on meanwhile.
            with torch.cuda.graph(graph, pool=lane.pool.handle, stream=lane.stream, capture_error_mode="thread_local"):
                _copy(outputs, act())
        except RuntimeError as error:
            torch.cuda.set_stream(current)  # which a capture that fails twice leaves behind
            give_up(lane, torch.cuda.current_device())
            with suppress(RuntimeError):
                graph.reset()
            # The end of a capture fails too then, and says less.
            cause = error.__context__ if isinstance(error.__context__, RuntimeError) else error
            if isinstance(cause, torch.OutOfMemoryError):
                raise cause from None
            raise _refusal(key, next(iter(str(cause).splitlines()), "no reason given")) from error
        return graph.replay

    def _replay(self, key: Hashable) -> None:
        replay = self._replays[key]
        if self._passes is None or not self.at_once:
            replay.again()
            return
        self._passes.at_once.append(key)
        replay.lane.stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(replay.lane.stream):
            replay.again()

    def _compare(self, keys: Sequence[Hashable]) -> None:
        """Replays in turns what was replayed at once."""
        replays = {key: self._replays[key] for key in keys}
        together = {key: [tensor.clone() for tensor in replay.results] for key, replay in replays.items()}
        for replay in replays.values():
            _spoil(replay.results)
            replay.again()
        for key, replay in replays.items():
            if not all(map(_same_bytes, replay.results, together[key])):
                self.refused = GraphError(
                    f"{_words(key)} came out with other bytes side by side than one after the other: set "
                    "train.side_by_side = false, the bytes are then those of one after the other"
                )

    @property
    def is_on(self) -> bool:
        return not self.why_not


def _refusal(key: Hashable, reason: str) -> GraphError:
    return GraphError(
        f"no CUDA graph can be made of {_words(key)} ({reason}): set train.graphs = false, the bytes are the same"
    )


def _words(key: Hashable) -> str:
    return ", ".join(map(str, key)) if isinstance(key, tuple) else str(key)


def _same_bytes(one: Tensor, other: Tensor) -> bool:
    # bytes, not values: 0.0 == -0.0 there, and NaN is never itself
    return torch.equal(*(tensor.contiguous().reshape(-1).view(torch.uint8) for tensor in (one, other)))


class NoGraphs(Graphs):
    """Acts are run as they are. `why_not`: in words."""

    def __init__(self, why_not: str) -> None:
        super().__init__()
        self.why_not = why_not

    def run(
        self, key: Hashable, act: Act[K], *, changes: Sequence[Tensor] = (), room: Hashable = None
    ) -> Mapping[K, Tensor]:
        return act()

    def kept(self, room: Hashable, values: Mapping[K, Tensor]) -> Mapping[K, Tensor]:
        return values


OFF: Final = NoGraphs("off")


def graphs_of(config: Config, device: torch.device, mesh: Mesh) -> Graphs:
    """Those of a process of the run, on unless something in its steps forbids them."""
    why_not = forbidden_by(config, device.type, mesh.data.size)
    return NoGraphs(why_not) if why_not else Graphs(at_once=config.train.side_by_side)


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


def _spoil(tensors: Sequence[Tensor]) -> None:
    with torch.no_grad():
        for tensor in tensors:
            if tensor.is_floating_point():
                tensor.fill_(torch.nan)
            else:
                tensor.bitwise_not_()


def _put(tensors: Sequence[Tensor], values: Sequence[Tensor]) -> None:
    with torch.no_grad():
        for tensor, value in zip(tensors, values, strict=True):
            tensor.copy_(value)


def _copy(outputs: Mapping[K, Tensor], values: Mapping[K, Tensor]) -> None:
    assert outputs.keys() == values.keys(), "an act gives the same every time"
    with torch.no_grad():
        for key, value in values.items():
            outputs[key].copy_(value)
