"""Moves: what late nudges and kicks add to the weights of a state, after the update that made it.

A move belongs to the state into which it is added: it is in that state's record and checkpoint, and not in what the
update is said to have moved. No gradient, no optimiser state and no running statistics know of it.
"""

from collections.abc import Callable, Mapping
from enum import IntEnum
from functools import cached_property
from typing import Final, NamedTuple

import torch
from torch import Tensor

from coupled.address import Purpose
from coupled.arms.arm import Arm
from coupled.arms.audits import Audits, Request
from coupled.arms.directions import Directions, add_along
from coupled.arms.initial import is_held
from coupled.config import Config
from coupled.config.controls import MATCHED
from coupled.config.traits import Nudge, traits_of
from coupled.inputs.source import Batch
from coupled.models.init import nudge
from coupled.models.segments import Segments
from coupled.ranks.mesh import Mesh

# Behind every step that a run can have.
_ASIDE: Final = 1 << 31


class Failure(IntEnum):
    """Why an arm could not be moved."""

    NONE = 0
    NOT_HELD = 1
    NOT_FINITE = 2
    NOTHING_TO_MATCH = 3


class Moved(NamedTuple):
    """What was added to the weights of each arm here that a state moves, (weights,), the difference in the run's
    precision; and the arms of the run that could not be moved, as far as is known here.
    """

    added: dict[str, Tensor]
    failures: dict[str, Failure]


def aside(draw: int) -> int:
    """The step whose batch, by the run's own order, gives a nudge its direction; no run gets there."""
    return _ASIDE + draw % _ASIDE


class Moves:
    """The moves of the arms that live here. `batch_at`: the run's batch of a step.

    Lengths that are taken from other arms are measured before any move into the same state, where the arm lives that is
    matched, and travel from there.
    """

    def __init__(self, config: Config, arms: Mapping[str, Arm], batch_at: Callable[[int], Batch], mesh: Mesh) -> None:
        self._config, self._arms, self._batch_at, self._mesh = config, arms, batch_at, mesh
        traits = {name: traits_of(config.arms, name) for name in config.arms}
        self._nudges = {name: [nudge for nudge in of.nudges if nudge.at] for name, of in traits.items()}
        self._kicks = {name: of.kicks for name, of in traits.items() if of.kicks}
        self._kicked_by = list(dict.fromkeys(kick.match for kicks in self._kicks.values() for kick in kicks))
        self._nudged_at = frozenset(nudge.at for nudges in self._nudges.values() for nudge in nudges)

    @property
    def asks(self) -> list[Callable[[int], list[Request]]]:
        """What `Audits` is to be told: nothing where no arm is kicked."""
        return [self.requests] if self._kicked_by else []

    def requests(self, step: int) -> list[Request]:
        """The gradients of other losses from which kicks have their lengths: at every step."""
        del step
        return [(match, self._reference(match)) for match in self._kicked_by]

    def are_due(self, step: int) -> bool:
        """Is any arm of the run moved into state `step`?"""
        return bool(self._kicks) or self.nudge(step)

    def nudge(self, step: int) -> bool:
        """Is any arm of the run nudged into state `step`?"""
        return step in self._nudged_at

    def add(self, step: int, audits: Audits, learning_rate: float) -> Moved:
        """Move the arms into the state after `step` updates, the last of which was at `learning_rate`: an arm's nudges
        first, then its kicks. Where a length comes from another arm, a meeting of all ranks.

        Raises the UserError of a user's objective, of which a nudge along a gradient asks for one.
        """
        nudges = {name: [nudge for nudge in of if nudge.at == step] for name, of in self._nudges.items()}
        matched = dict.fromkeys(str(nudge.match) for of in nudges.values() for nudge in of if nudge.scale == MATCHED)
        apart = {match: self._first_difference(match) for match in matched}
        wanted = {match: learning_rate * self._objective_difference(match, audits) for match in self._kicked_by}
        added, failures = {}, {name: Failure.NOT_FINITE for name in self._kicks if not self._finite(name, wanted)}
        for name, arm in self._arms.items():
            if nudges[name] or name in self._kicks:
                before = arm.state.weights.clone()
                worst = max((self._nudge(arm, nudge, apart) for nudge in nudges[name]), default=Failure.NONE)
                for kick in self._kicks.get(name, ()):
                    # docs/theory.md (112)
                    self._directions.add(arm.state, wanted[kick.match], Purpose.KICK, draw=kick.draw, step=step - 1)
                arm.moved()
                added[name] = arm.state.weights - before
                failures[name] = max(worst, failures.get(name, Failure.NONE))
        return Moved(added, failures)

    def _nudge(self, arm: Arm, of: Nudge, apart: Mapping[str, Tensor]) -> Failure:
        before = arm.state.weights.clone()
        if of.scale == MATCHED:
            lengths = apart[str(of.match)]
            if not bool((lengths != 0).any()):
                return Failure.NOTHING_TO_MATCH
            self._directions.add(arm.state, lengths, Purpose.MATCHED, draw=of.draw)
            held = True  # what float32 cannot hold of it, it could not hold of the difference
        elif of.direction == "batch":
            assert isinstance(of.scale, float | int), "a nudge along a gradient has a size"
            held = _add_along_gradient(arm, arm.gradient_aside(self._batch_at(aside(of.draw))), of.scale)
        else:
            nudge(arm.state, self._config.seed, of.scale, of.draw)
            held = is_held(before, arm.state.weights)
        if not bool(arm.state.weights.isfinite().all()):
            return Failure.NOT_FINITE
        return Failure.NONE if held else Failure.NOT_HELD

    def _finite(self, name: str, wanted: Mapping[str, Tensor]) -> bool:
        return all(bool(wanted[kick.match].isfinite().all()) for kick in self._kicks[name])

    def _first_difference(self, match: str) -> Tensor:
        """‖w_ref − w‖ of an arm and its reference: as `_travelled`."""
        reference, home = self._reference(match), self._mesh.index_of(match)
        weights = {name: arm.state.weights[: arm.state.shared] for name, arm in self._arms.items()}
        other = weights.get(reference, torch.empty_like(next(iter(weights.values()))))
        if (there := self._mesh.index_of(reference)) != home:
            other = self._mesh.arms.shared(other, there)
        return self._travelled(match, self._layers.distances(weights[match], other) if match in weights else None)

    def _objective_difference(self, match: str, audits: Audits) -> Tensor:
        """‖b‖, docs/theory.md (111): as `_travelled`."""
        if match not in self._arms:
            return self._travelled(match, None)
        other, own = audits.gradient(match, self._reference(match)), self._arms[match].state.gradient
        return self._travelled(match, self._layers.distances(other, own))

    def _travelled(self, match: str, squares: Tensor | None) -> Tensor:
        """Roots of `squares`, given where `match` lives, on all ranks: per layer that arms share, float64 (layers,) on
        the CPU.
        """
        lengths = self._layers.lengths.new_zeros(len(self._layers.lengths), dtype=torch.float64)
        lengths = lengths if squares is None else squares.sqrt()
        return self._mesh.arms.shared(lengths, self._mesh.index_of(match)).cpu()

    def _reference(self, match: str) -> str:
        reference = self._config.arms[match].reference
        assert reference is not None, "an arm that is matched has a reference"
        return reference

    @cached_property
    def _directions(self) -> Directions:
        return Directions(next(iter(self._arms.values())).state, self._config.seed)

    @cached_property
    def _layers(self) -> Segments:
        state = next(iter(self._arms.values())).state
        return Segments(state.shared_segments, state.weights.device)


def _add_along_gradient(arm: Arm, gradient: Tensor, scale: float) -> bool:
    """Every layer is moved by `scale` times its length along `gradient`: docs/theory.md (109). False where, in the
    run's precision, nothing is left of it in a layer that it should move.
    """
    layers, before = arm.optimiser.layers, arm.state.weights.clone()
    lengths, wanted = layers.squares(gradient).sqrt(), scale * layers.squares(before).sqrt()
    add_along(arm.state, arm.state.weight_segments, gradient, wanted, lengths)
    lost = layers.distances(arm.state.weights, before) == 0
    return not bool((lost & (lengths > 0) & (wanted > 0)).any())
