"""Arms at their start: one initialisation for all, and what each kind of control makes of it."""

from collections.abc import Iterable

import torch
from torch import Tensor

from coupled.arms.arm import Arm
from coupled.arms.network import meta_network
from coupled.config import Config
from coupled.errors import UserError
from coupled.models.flat import FlatState
from coupled.models.init import initialise, initialise_head, nudge
from coupled.ranks.mesh import ALONE, Mesh


def build_arms(config: Config, device: torch.device, mesh: Mesh = ALONE) -> dict[str, Arm]:
    """The arms that live here in the config's order, all from one initialisation; controls as their kind says."""
    arms = {name: Arm(name, config.arms[name], config, device, mesh.data) for name in mesh.own(list(config.arms))}
    shared = [arm for arm in arms.values() if arm.spec.kind != "independent"]
    for arm in shared[:1]:
        initialise(arm.network, arm.state, config.seed, draw=0)
    for arm in shared[1:]:
        arm.state.copy_from(shared[0].state)
        initialise_head(arm.network, arm.state, config.seed, draw=0)
    for arm in arms.values():
        if arm.spec.kind == "independent":
            assert arm.spec.draw is not None
            initialise(arm.network, arm.state, config.seed, arm.spec.draw)
        if arm.spec.kind == "nudged":
            _nudge(arm, config)
    return arms


def initial_weights(config: Config, names: Iterable[str], device: torch.device) -> dict[str, Tensor]:
    """The flat weights that each of these arms starts with, but for a head, made again from their addresses: (shared,),
    in the run's precision. Arms that start alike have one tensor together.
    """
    network = meta_network(config)
    state = FlatState(network, getattr(torch, config.train.dtype), device)
    starts: dict[tuple[str, int, float | str | None], Tensor] = {}
    chosen = {}
    for name in names:
        arm = config.arms[name]
        independent, nudged = arm.kind == "independent", arm.kind == "nudged"
        key = (arm.kind if independent or nudged else "", arm.draw or 0, arm.scale)
        if key not in starts:
            initialise(network, state, config.seed, draw=key[1] if independent else 0)
            if nudged:
                assert arm.scale is not None
                nudge(state, config.seed, arm.scale, key[1])
            starts[key] = state.weights.clone()
        chosen[name] = starts[key]
    return chosen


def _nudge(arm: Arm, config: Config) -> None:
    assert arm.spec.scale is not None and arm.spec.draw is not None
    before = arm.state.weights.clone()
    nudge(arm.state, config.seed, arm.spec.scale, arm.spec.draw)
    stuck = (arm.state.weights == before) & (before != 0)
    if bool(stuck.any()):
        raise UserError(
            f"arms.{arm.name}.scale = {arm.spec.scale}",
            f"a nudge that {config.train.dtype} can hold",
            'raise it, or use scale = "ulp"',
        )
