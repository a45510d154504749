"""A rank that leaves the others: it says why, whatever a launcher sends it meanwhile."""

import signal
from types import SimpleNamespace

import pytest
import torch.distributed as dist

from coupled.errors import RunStopped
from coupled.ranks import joining
from coupled.ranks.faults import RankLost


@pytest.fixture
def handlers(monkeypatch):
    """How SIGTERM is handled each time this rank tells the others something."""
    seen = []

    class Store(dist.HashStore):
        def set(self, key, value):
            seen.append((key, signal.getsignal(signal.SIGTERM)))
            super().set(key, value)

    store = Store()
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr(joining, "is_rank", lambda: True)
    monkeypatch.setattr(joining, "place", lambda config, world: None)
    monkeypatch.setattr(joining, "rendezvous", lambda url, timeout: iter([(store, 0, 2)]))
    monkeypatch.setattr(joining, "PrefixStore", lambda prefix, store: store)
    monkeypatch.setattr(joining, "_mesh", lambda *parts: "mesh")
    before = signal.getsignal(signal.SIGTERM)
    yield seen
    signal.signal(signal.SIGTERM, before)


@pytest.mark.parametrize("error", [RunStopped("the disk is full"), RankLost("rank 1 died")])
def test_a_rank_with_something_to_print_is_deaf_to_sigterm_before_any_other_hears_of_it(error, handlers):
    config = SimpleNamespace(ranks=SimpleNamespace(timeout=1))
    with pytest.raises(type(error)), joining.joined(config):
        raise error
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_IGN
    told = dict(handlers)
    assert told["pid/0"] != signal.SIG_IGN
    assert told.get("ended/0", signal.SIG_IGN) == signal.SIG_IGN
