"""Arms at their start: one initialisation for all, and what each kind of control makes of it."""

from collections.abc import Iterable

import torch
from torch import Tensor

from coupled.arms.arm import Arm
from coupled.arms.network import unfilled_network
from coupled.config import Config
from coupled.config.traits import Nudge, traits_of
from coupled.errors import UserError
from coupled.models.flat import FlatState
from coupled.models.init import initialise, initialise_head, nudge
from coupled.ranks.mesh import ALONE, Mesh
from coupled.ranks.sums import Sums


def build_arms(config: Config, device: torch.device, mesh: Mesh = ALONE, sums: Sums | None = None) -> dict[str, Arm]:
    """The arms that live here in the config's order, all from one initialisation; controls as their kind says:
    docs/theory.md (73). `sums`: what adds up their gradients.
    """
    arms = {name: Arm(name, config.arms[name], config, device, mesh.data, sums) for name in mesh.own(list(config.arms))}
    shared = [arm for arm in arms.values() if not arm.traits.start]
    for arm in shared[:1]:
        initialise(arm.network, arm.state, config.seed, draw=0)
    for arm in shared[1:]:
        arm.state.copy_from(shared[0].state)
        initialise_head(arm.network, arm.state, config.seed, draw=0)
    for arm in arms.values():
        if arm.traits.start:
            initialise(arm.network, arm.state, config.seed, arm.traits.start)
        for first in arm.traits.beginning[1]:
            _nudge(arm, first, config)
    return arms


def initial_weights(config: Config, names: Iterable[str], device: torch.device) -> dict[str, Tensor]:
    """The flat weights that each of these arms starts with, but for a head, made again from their addresses: (shared,),
    in the run's precision. Arms that start alike have one tensor together.
    """
    network = unfilled_network(config)
    state = FlatState(network, getattr(torch, config.train.dtype), device)
    starts: dict[tuple[int, tuple[Nudge, ...]], Tensor] = {}
    chosen = {}
    for name in names:
        beginning = traits_of(config.arms, name).beginning
        if beginning not in starts:
            draw, nudges = beginning
            initialise(network, state, config.seed, draw=draw)
            for first in nudges:
                nudge(state, config.seed, first.scale, first.draw)
            starts[beginning] = state.weights.clone()
        chosen[name] = starts[beginning]
    return chosen


def is_held(before: Tensor, after: Tensor) -> bool:
    """Did a nudge move every weight but those that are 0?"""
    return not bool(((after == before) & (before != 0)).any())


def _nudge(arm: Arm, first: Nudge, config: Config) -> None:
    before = arm.state.weights.clone()
    nudge(arm.state, config.seed, first.scale, first.draw)
    if not is_held(before, arm.state.weights):
        raise UserError(
            f"arms.{arm.name}.scale = {first.scale}",
            f"a nudge that {config.train.dtype} can hold",
            'raise it, or use scale = "ulp"',
        )
