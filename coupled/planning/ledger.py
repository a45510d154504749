"""What a ledger takes: backwards, memory, bytes of checkpoints and between ranks."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from coupled.config import Config
from coupled.config.ledger import contrasted, has_momentum, is_moved, ledger_arms, records_ledger, split_arms
from coupled.config.traits import traits_of
from coupled.recording.schedule import due


@dataclass(frozen=True)
class LedgerCost:
    """`audits`: steps with gradients; `backwards`: how many more such a step has, by the arm at whose weights. In flat
    vectors like the weights of an arm: `held`, all the time, by arm; `saved` in a checkpoint; `travelling`, of a
    reference at a step that is looked at.
    """

    audits: int
    backwards: Mapping[str, int]
    held: Mapping[str, int]
    saved: int
    travelling: int


def ledger_cost(config: Config) -> LedgerCost:
    """The cost of a config's ledger; nothing where it records none."""
    none = dict.fromkeys(config.arms, 0)
    if not records_ledger(config):
        return LedgerCost(0, none, none, 0, 0)
    backwards, held = dict(none), dict(none)
    for at in _audited(config):
        backwards[at] += 1
        held[at] += 1
    references, split = ledger_arms(config), split_arms(config)
    accumulators = 0
    for name in split:
        moves = any(is_moved(config, each) for each in (name, references[name]))
        own = 2 + 2 * has_momentum(config) + moves
        accumulators += own
        held[name] += own + 2 * _begin_apart(config, name, references[name])
    audits = sum(1 for _ in due(config, "ledger", "batch"))
    return LedgerCost(audits, backwards, held, accumulators, 2 + has_momentum(config))


def vector_bytes(config: Config, parameters: int) -> int:
    """Bytes of one flat vector."""
    return getattr(torch, config.train.dtype).itemsize * parameters


def _audited(config: Config) -> list[str]:
    """The arms at whose weights a loss is taken that is not their own, once for each."""
    wanted = [*ledger_arms(config).items(), *((at, of) for of, at in contrasted(config).items())]
    terms = {name: traits_of(config.arms, name).terms for name in config.arms}
    others = dict.fromkeys((at, terms[of]) for at, of in wanted if terms[at] != terms[of])
    return [at for at, _ in others]


def _begin_apart(config: Config, name: str, reference: str) -> bool:
    own, other = (traits_of(config.arms, each) for each in (name, reference))
    return not (own.starts_shared and other.starts_shared) and own != other
