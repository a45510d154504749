"""What a ledger takes: backwards, memory, bytes of checkpoints and between ranks."""

from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass

import torch

from coupled.config import Config
from coupled.config.ledger import contrasted, has_momentum, is_moved, ledger_arms, records_ledger, split_arms
from coupled.config.traits import traits_of
from coupled.models import Network
from coupled.models.flat import segments_of
from coupled.recording.schedule import due


@dataclass(frozen=True)
class LedgerCost:
    """`audits`: steps with gradients; `backwards`: how many more such a step has, by the arm at whose weights. In flat
    vectors like the weights of an arm: `held`, all the time, by arm; `saved` in a checkpoint, by arm; `travelling`, of
    a reference at a step that is looked at. `starts`: by arm that begins apart from its reference, where both began:
    a rank holds each once, as a vector.
    """

    audits: int
    backwards: Mapping[str, int]
    held: Mapping[str, int]
    saved: Mapping[str, int]
    travelling: int
    starts: Mapping[str, tuple[Hashable, Hashable]]

    def held_by(self, arms: Iterable[str]) -> int:
        """What a rank with these arms holds, all the time, in flat vectors."""
        arms = list(arms)
        starts = {start for arm in arms for start in self.starts.get(arm, ())}
        return sum(self.held[arm] for arm in arms) + len(starts)


def ledger_cost(config: Config) -> LedgerCost:
    """The cost of a config's ledger; nothing where it records none."""
    none = dict.fromkeys(config.arms, 0)
    if not records_ledger(config):
        return LedgerCost(0, none, none, none, 0, {})
    backwards, held, saved = dict(none), dict(none), dict(none)
    for at in _audited(config):
        backwards[at] += 1
        held[at] += 1
    references, starts = ledger_arms(config), {}
    for name in split_arms(config):
        moves = any(is_moved(config, each) for each in (name, references[name]))
        saved[name] = 2 + 2 * has_momentum(config) + moves
        held[name] += saved[name]
        own, other = (traits_of(config.arms, each).beginning for each in (name, references[name]))
        starts |= {name: (own, other)} if own != other else {}
    audits = sum(1 for _ in due(config, "ledger", "batch"))
    return LedgerCost(audits, backwards, held, saved, 2 + has_momentum(config), starts)


def vector_bytes(config: Config, network: Network) -> int:
    """Bytes of one flat vector of a network, padding included."""
    dtype = getattr(torch, config.train.dtype)
    return dtype.itemsize * segments_of(list(network.named_parameters()), dtype)[-1].padded_stop


def _audited(config: Config) -> list[str]:
    """The arms at whose weights a loss is taken that is not their own, once for each."""
    wanted = [*ledger_arms(config).items(), *((at, of) for of, at in contrasted(config).items())]
    terms = {name: traits_of(config.arms, name).terms for name in config.arms}
    others = dict.fromkeys((at, terms[of]) for at, of in wanted if terms[at] != terms[of])
    return [at for at, _ in others]
