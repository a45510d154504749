"""Gradients are added up beside the next arm's forward, one after the other, and are there when the step looks."""

import threading
from dataclasses import dataclass, field

import pytest
import torch
from helpers import tiny

from coupled.arms.audits import Audits
from coupled.driver.assembly import build
from coupled.ranks.mesh import Axis
from coupled.ranks.sums import Sums

WAIT_S = 60


@dataclass
class Doubled(Axis):
    """Two ranks with the same tensors. The first message waits for `free`."""

    size: int = 2
    free: threading.Event = field(default_factory=threading.Event)
    seen: list = field(default_factory=list)

    def exchanged(self, chunks):
        assert self.free.wait(WAIT_S), "nothing went on beside the sum"
        self.seen.append(("exchanged", threading.current_thread()))
        return chunks[:1].expand_as(chunks)

    def gathered(self, tensor):
        self.seen.append(("gathered", threading.current_thread()))
        return torch.stack([tensor, tensor])


def test_what_comes_next_goes_on_beside_a_sum_and_sums_keep_their_order():
    axis = Doubled()
    sums = Sums(axis)
    first, second = torch.arange(4.0), torch.full((4,), 3.0)
    with sums.beside():
        sums.begin(first)
        sums.begin(second)
        assert not axis.seen and first.tolist() == [0, 1, 2, 3]
        axis.free.set()
    # This rank has the first half of each; the other's half is taken to be equal.
    assert first.tolist() == [0, 2, 0, 2] and second.tolist() == [6, 6, 6, 6]
    assert [act for act, _ in axis.seen] == ["exchanged", "gathered"] * 2
    assert len({thread for _, thread in axis.seen} - {threading.main_thread()}) == 1


def test_elsewhere_a_sum_is_there_at_once():
    axis = Doubled()
    axis.free.set()
    flat = torch.ones(2)
    Sums(axis).begin(flat)
    assert flat.tolist() == [2, 2] and {thread for _, thread in axis.seen} == {threading.main_thread()}


def test_one_rank_adds_up_nothing_and_starts_no_thread():
    sums, flat, before = Sums(), torch.ones(2), threading.active_count()
    with sums.beside():
        sums.begin(flat)
    assert flat.tolist() == [1, 1] and threading.active_count() == before


def test_the_error_of_a_sum_is_raised_at_the_end():
    class Broken(Doubled):
        def exchanged(self, chunks):
            raise RuntimeError("the other rank has gone")

    sums = Sums(Broken())
    with pytest.raises(RuntimeError, match="has gone"), sums.beside():
        sums.begin(torch.ones(2))


def test_a_step_s_forward_of_the_next_arm_is_beside_the_sum_of_the_one_before(tmp_path):
    """And where another loss is asked for at an arm's weights, its own sum is there first."""
    parts = build(tiny(tmp_path, arms={"cl": {"objective": "dcl"}, "nscl": {"objective": "nscl"}}))
    arms, batch = parts.arms, parts.source.at(0)
    for arm in arms.values():
        arm.forward_backward(batch)
    alone = {name: arm.state.gradient.clone() for name, arm in arms.items()}
    audits = Audits(parts.config, [lambda step: [("nscl", "cl")]])
    audits.forward_backward(0, arms, batch)
    other = audits.gradient("nscl", "cl").clone()

    axis = Doubled()
    sums, forward = Sums(axis), arms["nscl"].forward
    for arm in arms.values():
        arm._sums = sums

    def freeing(batch):
        axis.free.set()
        return forward(batch)

    arms["nscl"].forward = freeing
    audits = Audits(parts.config, [lambda step: [("nscl", "cl")]], sums)
    audits.forward_backward(0, arms, batch)
    for name, arm in arms.items():
        half = -(-len(alone[name]) // 2)
        expected = torch.cat([alone[name][:half]] * 2)[: len(alone[name])] * 2
        assert torch.equal(arm.state.gradient, expected)
    half = -(-len(other) // 2)
    assert torch.equal(audits.gradient("nscl", "cl"), torch.cat([other[:half]] * 2)[: len(other)] * 2)
