"""The ledger: what an arm's divergence from its reference is made of, docs/theory.md (103) to (108).

D, V, a, b: the differences of weights and momentum buffers, and the two parts of the gradients' difference, all of what
every arm has (no head). Gradients are those of the whole batch, before clipping. What a reference elsewhere has travels
to the ranks of the arms compared with it.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import torch
from torch import Tensor

from coupled.arms.arm import Arm
from coupled.arms.audits import Audits, Request
from coupled.arms.initial import initial_weights
from coupled.config import Config
from coupled.config.ledger import contrasted, has_momentum, is_moved, ledger_arms, records_ledger, split_arms
from coupled.config.traits import traits_of
from coupled.models.ledger_passes import Passing, Product, Rates, Vectors, ledger_pass
from coupled.models.segments import Segments
from coupled.ranks.mesh import Mesh
from coupled.recording.checkpoints import Arrays, check_tensors, ledger_file, on_host, tensor_of
from coupled.recording.schedule import due
from coupled.store import TensorFile

_STREAM: Final = "ledger"
# Columns that are roots of sums, and those that are sums.
_NORMS: Final = {
    "state.distance": Product.DD,
    "state.momentum": Product.VV,
    "batch.instability": Product.AA,
    "batch.objective": Product.BB,
    "state.from_instability": Product.INSTABILITY,
    "state.from_objective": Product.OBJECTIVE,
    "state.from_start": Product.START,
    "state.from_moves": Product.MOVES,
    "state.from_rounding": Product.REST,
}
_PRODUCTS: Final = {
    "state.distance_momentum": Product.DV,
    "batch.instability_distance": Product.AD,
    "batch.objective_distance": Product.BD,
    "batch.instability_objective": Product.AB,
    "batch.instability_momentum": Product.AV,
    "batch.objective_momentum": Product.BV,
    "state.from_both": Product.BOTH,
    "state.objective_along": Product.ALONG,
}
_AT_REFERENCE: Final = "batch.objective_at_reference"


def ledger_files(config: Config) -> list[str]:
    """All of them."""
    return [ledger_file(arm) for arm in split_arms(config)]


def audited(config: Config) -> Callable[[int], Sequence[Request]]:
    """What the ledger wants of a step: the reference's loss at every arm's weights, and the loss of those that are
    contrasted at their reference's.
    """
    requests = [*ledger_arms(config).items(), *((at, of) for of, at in contrasted(config).items())]
    steps = frozenset(due(config, _STREAM, "batch"))
    return lambda step: requests if step in steps else ()


@dataclass
class Accumulators:
    """What the exact split of D carries along, (shared,) in the run's precision: docs/theory.md (105).

    `of_*`: I and O, None without momentum, where they are of one step. `moves`: D_k, None where nothing is added.
    """

    of_instability: Tensor | None
    of_objective: Tensor | None
    instability: Tensor
    objective: Tensor
    moves: Tensor | None

    def named(self) -> dict[str, Tensor]:
        """By their names in a checkpoint."""
        every = {
            "momentum.instability": self.of_instability,
            "momentum.objective": self.of_objective,
            "distance.instability": self.instability,
            "distance.objective": self.objective,
            "distance.moves": self.moves,
        }
        return {name: flat for name, flat in every.items() if flat is not None}

    def tensors(self) -> tuple[Tensor | None, ...]:
        """I, O, D_a, D_b, D_k."""
        return self.of_instability, self.of_objective, self.instability, self.objective, self.moves


class _Compared(NamedTuple):
    """What an arm is compared by; all (shared,), None where it is of no use."""

    weights: Tensor
    momentum: Tensor | None
    gradient: Tensor | None


class Ledger:
    """The ledger of the arms here. Where it splits D it has a state, which moves on when a step is looked at.

    `arms`: those that live here. Looking, and `moved`, are meetings of all ranks that write. `files`: those that a
    checkpoint has of it, of all ranks.
    """

    def __init__(self, config: Config, arms: Mapping[str, Arm], audits: Audits, mesh: Mesh) -> None:
        self._config, self._arms, self._audits, self._mesh = config, arms, audits, mesh
        self.reference_of = ledger_arms(config) if records_ledger(config) else {}
        self._dependents = _by_reference(self.reference_of)
        self._contrasted = _by_reference(contrasted(config) if self.reference_of else {})
        state = next(iter(arms.values())).state
        self._layers = Segments(state.shared_segments, state.weights.device)
        self._shared = state.shared
        self._momentum, self._decay = has_momentum(config), config.optimiser.weight_decay
        self._keep = (config.optimiser.momentum or 0.0) if self._momentum else 0.0
        self.files = ledger_files(config)
        split = split_arms(config) if mesh.writes else []
        self._moved = [name for name in self._dependents if is_moved(config, name)] if split else []
        self._accumulators = {name: self._at_start(name) for name in split if name in arms}
        self._apart = [name for name in self._accumulators if self._begins_apart(name)]
        self._starts: dict[str, Tensor] = {}

    def look(self, rate: float | None) -> dict[str, dict[str, Tensor]]:
        """The columns of every arm here; `rate`: of a step, whose gradients are there, its learning rate; then the
        accumulators take the step in. None: a state alone, without columns of a batch.
        """
        rows = {
            name: self._row(name, self._own(name, rate is not None), other, rate)
            for reference, other in self._references(with_gradients=rate is not None)
            for name in self._dependents[reference]
            if name in self._arms
        }
        if rate is not None:
            for name, norms in self._at_references():
                rows[name][_AT_REFERENCE] = norms
        return rows

    def _own(self, name: str, with_gradient: bool) -> _Compared:
        """Of an arm here."""
        arm, shared = self._arms[name], self._shared
        weights, momentum = arm.state.weights.detach(), None
        if self._momentum:
            kept = arm.optimiser.tensors().get("momentum_buffer")
            # Before the first update there is none.
            momentum = torch.zeros_like(weights[:shared]) if kept is None else kept[:shared]
        return _Compared(weights[:shared], momentum, arm.state.gradient[:shared] if with_gradient else None)

    def _references(self, *, with_gradients: bool) -> Iterator[tuple[str, _Compared]]:
        """Every reference in order, from wherever it lives."""

        def travelling(kind: int) -> Iterator[Tensor | None]:
            def local(name: str) -> Tensor:
                flat = self._own(name, with_gradients)[kind] if name in self._arms else None
                return self._room() if flat is None else flat

            return (flat for _, flat in self._mesh.references(self._dependents, local))

        def nothing() -> Iterator[None]:
            return (None for _ in self._dependents)

        momenta = travelling(1) if self._momentum else nothing()
        gradients = travelling(2) if with_gradients else nothing()
        for reference, weights, *others in zip(self._dependents, travelling(0), momenta, gradients, strict=True):
            assert weights is not None
            yield reference, _Compared(weights, *others)

    def _room(self) -> Tensor:
        weights = next(iter(self._arms.values())).state.weights
        return weights.new_empty(self._shared)

    def _row(self, name: str, own: _Compared, other: _Compared, rate: float | None) -> dict[str, Tensor]:
        at_own = None
        if rate is not None:
            at_own = self._audits.gradient(name, self.reference_of[name])[: self._shared]
        kept, starts = self._accumulators.get(name), self._starts_of(name)
        about = Passing(
            momentum=self._momentum,
            gradients=rate is not None,
            split=kept is not None,
            apart=starts[0] is not None,
            moves=kept is not None and kept.moves is not None,
        )
        vectors = Vectors(*own, at_own, *other, *starts, *((None,) * 5 if kept is None else kept.tensors()))
        sums = ledger_pass(self._layers, vectors, about, Rates(rate or 0.0, self._keep, self._decay))
        shown = _shown(about)
        row = {column: sums[place].sqrt() for column, place in _NORMS.items() if shown(column)}
        return row | {column: sums[place] for column, place in _PRODUCTS.items() if shown(column)}

    def _at_references(self) -> Iterator[tuple[str, Tensor]]:
        """The norms of the difference of gradients at the reference's own weights, of each arm here that is contrasted:
        docs/theory.md (108).
        """

        def local(reference: str) -> Tensor:
            arms = self._contrasted[reference]
            if reference not in self._arms:
                layers = self._layers.lengths
                return torch.empty((len(arms), len(layers)), dtype=torch.float64, device=layers.device)
            own = self._arms[reference].state.gradient
            others = (self._audits.gradient(reference, name) for name in arms)
            return torch.stack([self._layers.distances(own, other).sqrt() for other in others])

        for reference, norms in self._mesh.references(self._contrasted, local):
            yield from ((n, row) for n, row in zip(self._contrasted[reference], norms, strict=True) if n in self._arms)

    def moved(self, moves: Mapping[str, Tensor]) -> None:
        """Takes in what was added to the weights of arms here beside their updates, (weights,) each: after the update,
        as late nudges and kicks do. Every rank says so at the same steps, with whatever of its arms was moved.
        """

        def local(reference: str) -> Tensor:
            if reference not in self._arms:
                return self._room()
            move = moves.get(reference)
            return self._room().zero_() if move is None else move[: self._shared]

        for name in self._accumulators.keys() & moves.keys():
            self._add(name, moves[name][: self._shared], -1)
        movable = {reference: self._dependents[reference] for reference in self._moved}
        for reference, move in self._mesh.references(movable, local):
            for name in self._accumulators.keys() & set(movable[reference]):
                self._add(name, move, 1)

    def _add(self, name: str, move: Tensor, sign: int) -> None:
        """docs/theory.md (106)."""
        total = self._accumulators[name].moves
        assert total is not None, f"{name} and its reference are never moved"
        total.add_(move, alpha=sign)

    def _at_start(self, name: str) -> Accumulators:
        both = (name, self.reference_of[name])
        moves = any(is_moved(self._config, each) for each in both)
        wanted = (self._momentum, self._momentum, True, True, moves)
        flats = [self._room().zero_() if here else None for here in wanted]
        return Accumulators(*flats)  # type: ignore[reportArgumentType]

    def _starts_of(self, name: str) -> tuple[Tensor | None, Tensor | None]:
        """What an arm and its reference began with, where these differ and the split needs them. They are made again
        from their addresses, also when a run is gone on with.
        """
        if name not in self._apart:
            return None, None
        if not self._starts:
            both = [each for apart in self._apart for each in (apart, self.reference_of[apart])]
            self._starts = initial_weights(self._config, both, self._layers.lengths.device)
        own, other = (self._starts[each][: self._shared] for each in (name, self.reference_of[name]))
        return own, other

    def _begins_apart(self, name: str) -> bool:
        own, other = (traits_of(self._config.arms, each) for each in (name, self.reference_of[name]))
        return own.beginning != other.beginning

    def captured(self) -> dict[str, Arrays]:
        """The accumulators as files of a checkpoint, of the arms here, copied to the host."""
        return {
            ledger_file(name): {key: on_host(flat).numpy() for key, flat in kept.named().items()}
            for name, kept in self._accumulators.items()
        }

    def restore(self, file_of: Callable[[str], TensorFile]) -> None:
        """Go on with what `captured` gave. Raises StoreError for another's accumulators."""
        for name, kept in self._accumulators.items():
            file, named = file_of(ledger_file(name)), kept.named()
            check_tensors(file, named, f"the ledger of {name}")
            for key, flat in named.items():
                flat.copy_(tensor_of(file[key]))


def _by_reference(references: Mapping[str, str]) -> dict[str, list[str]]:
    """Arms by the reference of each."""
    return {r: [name for name, own in references.items() if own == r] for r in dict.fromkeys(references.values())}


def _shown(about: Passing) -> Callable[[str], bool]:
    """Which columns a pass gives."""

    def shown(column: str) -> bool:
        group, name = column.split(".")
        if group == "batch" and not about.gradients:
            return False
        if name.endswith("momentum"):
            return about.momentum
        return about.split or not (name.startswith("from_") or name == "objective_along")

    return shown
