"""Arms at their start: one initialisation for all, and what each kind of control makes of it."""

from collections.abc import Iterable

import torch
from torch import Tensor

from coupled.arms.arm import Arm
from coupled.arms.network import meta_network
from coupled.config import Config
from coupled.config.resolved import Independent, Nudged
from coupled.errors import UserError
from coupled.models.flat import FlatState
from coupled.models.init import initialise, initialise_head, nudge
from coupled.ranks.mesh import ALONE, Mesh


def build_arms(config: Config, device: torch.device, mesh: Mesh = ALONE) -> dict[str, Arm]:
    """The arms that live here in the config's order, all from one initialisation; controls as their kind says:
    docs/theory.md (73).
    """
    arms = {name: Arm(name, config.arms[name], config, device, mesh.data) for name in mesh.own(list(config.arms))}
    shared = [arm for arm in arms.values() if arm.spec.kind != "independent"]
    for arm in shared[:1]:
        initialise(arm.network, arm.state, config.seed, draw=0)
    for arm in shared[1:]:
        arm.state.copy_from(shared[0].state)
        initialise_head(arm.network, arm.state, config.seed, draw=0)
    for arm in arms.values():
        if isinstance(arm.spec, Independent):
            initialise(arm.network, arm.state, config.seed, arm.spec.draw)
        if isinstance(arm.spec, Nudged):
            _nudge(arm, arm.spec, config)
    return arms


def initial_weights(config: Config, names: Iterable[str], device: torch.device) -> dict[str, Tensor]:
    """The flat weights that each of these arms starts with, but for a head, made again from their addresses: (shared,),
    in the run's precision. Arms that start alike have one tensor together.
    """
    network = meta_network(config)
    state = FlatState(network, getattr(torch, config.train.dtype), device)
    starts: dict[tuple[int, tuple[float | str, int] | None], Tensor] = {}
    chosen = {}
    for name in names:
        arm = config.arms[name]
        draw = arm.draw if isinstance(arm, Independent) else 0
        moved = (arm.scale, arm.draw) if isinstance(arm, Nudged) else None
        key = (draw, moved)
        if key not in starts:
            initialise(network, state, config.seed, draw=draw)
            if moved is not None:
                nudge(state, config.seed, *moved)
            starts[key] = state.weights.clone()
        chosen[name] = starts[key]
    return chosen


def _nudge(arm: Arm, spec: Nudged, config: Config) -> None:
    before = arm.state.weights.clone()
    nudge(arm.state, config.seed, spec.scale, spec.draw)
    stuck = (arm.state.weights == before) & (before != 0)
    if bool(stuck.any()):
        raise UserError(
            f"arms.{arm.name}.scale = {spec.scale}",
            f"a nudge that {config.train.dtype} can hold",
            'raise it, or use scale = "ulp"',
        )
