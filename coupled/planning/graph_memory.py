"""What CUDA graphs hold of a GPU beside what a step takes without them."""

from dataclasses import dataclass
from typing import Final

import torch

from coupled.arms.optimisers import state_tensors
from coupled.config import Config
from coupled.config.ledger import records_ledger
from coupled.config.traits import traits_of
from coupled.graphs import forbidden_by
from coupled.objectives.registry import is_function_of_sigma
from coupled.terminal.sizes import shown_bytes

# What cuBLAS keeps for a stream by :4096:8, in the thread of the steps and in autograd's.
_WORKSPACES: Final = 2 << 25


@dataclass(frozen=True)
class GraphMemory:
    """Bytes in one process. `update`: where an update keeps what it may put back, and a scaled gradient; `aside`: of
    passes that are no graphs, for audits; `beside`: of each arm but one, where arms run side by side.
    """

    update: int = 0
    aside: int = 0
    beside: int = 0

    def held(self, arms: int) -> int:
        return self.update + self.aside + self.beside * (arms - 1)

    def in_words(self, arms: int) -> str:
        parts = {
            "for updates": self.update,
            "while an audit takes its turn": self.aside,
            "for arms side by side": self.beside * (arms - 1),
        }
        shown = [f"{shown_bytes(size)} {what}" for what, size in parts.items() if size]
        return f"held by CUDA graphs: {', '.join(shown)}"


def graph_memory(config: Config, data_ranks: int, *, parameters: int, buffers: int, turn: int) -> GraphMemory:
    """`parameters`, `buffers`: elements of an arm; `turn`: bytes of all that it needs in its turn."""
    if forbidden_by(config, config.train.device, data_ranks):
        return GraphMemory()
    real, optimiser = getattr(torch, config.train.dtype).itemsize, config.optimiser
    scaled = optimiser.name == "lars" or optimiser.clip_norm is not None
    vectors = 1 + state_tensors(optimiser.name, optimiser.momentum) + scaled
    # Arms with as many weights share theirs: a classifier has more than others.
    lengths = len({None if is_function_of_sigma(arm.objective) else arm.labelling for arm in config.arms.values()})
    return GraphMemory(
        update=lengths * real * (vectors * parameters + buffers),
        aside=turn if _passes_aside(config) else 0,
        beside=turn + _WORKSPACES if config.train.side_by_side else 0,
    )


def _passes_aside(config: Config) -> bool:
    """Are some passes of a run no graphs, beside those that are?"""
    traits = [traits_of(config.arms, name) for name in config.arms]
    kicked = any(of.kicks for of in traits)
    return kicked or records_ledger(config) or any(nudge.direction == "batch" for of in traits for nudge in of.nudges)
