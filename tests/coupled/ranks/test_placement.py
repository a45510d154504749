"""Which rank holds what."""

import pytest
import torch
from helpers import tables, tiny
from hypothesis import given
from hypothesis import strategies as st

from coupled.config import digest, fingerprint, from_tables, resolved
from coupled.errors import UserError
from coupled.ranks import Mesh, Placement, exchange, place
from coupled.ranks import placement as placements


def of(ranks=None, arms=5, batch=24, **train):
    some = {f"a{k}": {"objective": "dcl"} for k in range(arms)}
    return from_tables(tables(arms=some, ranks=ranks or {}, batches={"size": batch}, train=train))


@given(arms=st.integers(1, 9), world=st.integers(1, 9))
def test_arms_are_shared_out_evenly_in_their_order(arms, world):
    placed = place(of(arms=arms, batch=2520), world)
    assert [arm for group in placed.groups for arm in group] == [f"a{k}" for k in range(arms)]
    sizes = [len(group) for group in placed.groups]
    assert placed.world == world and max(sizes) - min(sizes) <= 1 and min(sizes) > 0
    assert not any(world % more == 0 for more in range(len(sizes) + 1, min(world, arms) + 1))


@pytest.mark.parametrize(
    ("ranks", "world", "groups", "data"),
    [
        ({}, 5, 5, 1),
        ({}, 4, 4, 1),
        ({}, 6, 3, 2),
        ({"data": 2}, 4, 2, 2),
        ({"arms": 1}, 3, 1, 3),
        ({"data": 1}, 3, 3, 1),
    ],
)
def test_what_is_not_said_is_arms_first(ranks, world, groups, data):
    placed = place(of(ranks), world)
    assert (len(placed.groups), placed.data) == (groups, data)


def test_a_factor_that_would_split_batches_unevenly_is_passed_over():
    assert place(of(arms=4, batch=10), 6).data == 2  # not 4 arms × 1.5; 3 × 2 before 2 × 3
    assert place(of(arms=2, batch=9), 6).data == 3


@pytest.mark.parametrize(
    ("ranks", "world", "message"),
    [
        ({"data": 1}, 6, r"6 ranks with ranks.data = 1; .* at most 5 for the 5 arms"),
        ({"arms": 2}, 5, r"5 ranks with ranks.arms = 2"),
        ({"arms": 2, "data": 2}, 8, r"8 ranks with ranks.arms = 2 with ranks.data = 2"),
        ({}, 7, r"batches.size = 24 on 7 data ranks; .*use .*8"),
    ],
)
def test_what_cannot_be_says_what_can(ranks, world, message):
    with pytest.raises(UserError, match=message):
        place(of(ranks), world)


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"ranks": {"arms": 6}}, "ranks.arms = 6; at most 5"),
        ({"ranks": {"data": 5}}, "batches.size = 24 on 5 data ranks"),
        ({"ranks": {"data": 2}, "compile": True}, "train.compile with 2 data ranks"),
        ({"ranks": {"data": 0}}, "ranks.data = 0"),
    ],
)
def test_the_config_refuses_them_too(sections, message):
    with pytest.raises(UserError, match=message):
        of(sections.pop("ranks"), **sections)


def test_ranks_are_not_part_of_what_a_run_is():
    one, other = of(), of({"arms": 2, "data": 3, "timeout": 5.0, "check": 7})
    assert digest(one) == digest(other) and fingerprint(one) == fingerprint(other)
    assert "ranks" not in resolved(other)


def test_there_is_room_for_as_many_ranks_as_arms_and_cores_go(monkeypatch):
    monkeypatch.setattr(placements, "cores", lambda: 8)
    assert placements.most_ranks(of()) == 5
    assert placements.most_ranks(of(threads=2)) == 4
    assert placements.most_ranks(of(threads=16)) == 1


def test_the_first_rank_that_holds_an_arm_records_it():
    placement = Placement((("a", "b"), ("c",)), data=3)
    meshes = [Mesh(placement, rank) for rank in range(6)]
    assert [placement.holder(owner) for owner in ("a", "b", "c", "shared")] == [0, 0, 3, 0]
    assert [mesh.holds("c") for mesh in meshes] == [False, False, False, True, False, False]


def test_one_process_is_a_mesh_of_one(tmp_path):
    mesh = Mesh()
    z = torch.randn(6, 2)
    assert exchange.whole(z, mesh.data) is z
    assert mesh.own(list(tiny(tmp_path).arms)) == list(tiny(tmp_path).arms)
    assert mesh.most(3, 0) == (3, 0) and mesh.on_first(lambda: {"x": [1]}) == {"x": [1]}
