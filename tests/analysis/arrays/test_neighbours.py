"""Nearest neighbours and their votes equal literal loops, ties included, however they are searched."""

import math
import sys

import pytest
import torch
from sklearn.neighbors import KNeighborsClassifier

from analysis.arrays import neighbours
from analysis.arrays.neighbours import Neighbours, votes
from coupled.errors import UserError
from coupled.theory import rounding


def literal(queries, candidates, shots, k):
    """The k nearest shots of every query: cosines by loops; those next to each other that are equal, by position."""
    equal, nearest = rounding.of_cosines(queries.shape[1]), []
    for x in queries.double().tolist():
        cosines = []
        for position in sorted(shots.flatten().tolist()):
            y = candidates[position].double().tolist()
            lengths = math.hypot(*x) * math.hypot(*y)
            cosines.append((sum(a * b for a, b in zip(x, y, strict=True)) / lengths if lengths else 0.0, position))
        group, ordered = 0, []
        cosines.sort(key=lambda entry: -entry[0])
        for before, entry in zip([cosines[0], *cosines], cosines, strict=False):
            group += before[0] - entry[0] > equal
            ordered.append((group, entry[1]))
        nearest.append([position for _, position in sorted(ordered)[:k]])
    return nearest


def integers(n, d, *, seed, least=-1):
    torch.manual_seed(seed)
    return torch.randint(least, 2, (n, d)).float()


@pytest.mark.parametrize("d", [1, 2, 4, 16])
@pytest.mark.parametrize("share", [0.1, 0.5, 1.0])
def test_neighbours_equal_a_literal_loop_where_most_are_tied(d, share):
    candidates = integers(60, d, seed=d)  # rows of −1, 0 and 1: duplicates, rows of 0, cosines such as 1/√2 and 1/3
    queries = torch.cat([candidates[:20], integers(20, d, seed=d + 50)])
    shots = torch.randperm(60)[: int(60 * share)]
    search = Neighbours(queries, candidates)
    for k in (1, 2, 5, 6):
        assert search.nearest(shots, k).tolist() == literal(queries, candidates, shots, k)


def test_neighbours_equal_a_literal_loop_where_none_are_tied():
    torch.manual_seed(0)
    candidates, shots = torch.randn(100, 5), torch.randperm(100).view(5, 20)[:, :18]
    queries = torch.cat([candidates[::7], torch.randn(20, 5)])
    nearest = Neighbours(queries, candidates).nearest(shots, 10)
    assert nearest.tolist() == literal(queries, candidates, shots, 10)


def of_draws(search, orders, ends, k):
    """All blocks of queries together: (D, E, queries, k)."""
    return torch.cat([nearest for _, nearest in search.of_draws(orders, ends, k)], 2)


@pytest.mark.parametrize("block", [1, 1 << 21])
@pytest.mark.parametrize("d", [1, 2, 4, 16])
def test_neighbours_of_draws_equal_a_literal_loop_where_most_are_tied(d, block, monkeypatch):
    monkeypatch.setattr(neighbours, "_NUMBERS", block)
    candidates = integers(60, d, seed=d)
    queries = torch.cat([candidates[:15], integers(15, d, seed=d + 50)])
    orders, ends = torch.stack([torch.randperm(60)[:50] for _ in range(3)]), [1, 4, 20, 50]
    nearest = of_draws(Neighbours(queries, candidates), orders, ends, 5)
    for draw, order in enumerate(orders):
        for end, m in enumerate(ends):
            expected = literal(queries, candidates, order[:m], min(5, m))
            assert nearest[draw, end, :, : min(5, m)].tolist() == expected
            assert (nearest[draw, end, :, m:] == -1).all()


def test_neighbours_of_draws_are_those_of_each_draw_alone():
    torch.manual_seed(4)
    queries, candidates = torch.randn(50, 6), torch.randn(200, 6)
    orders, ends = torch.stack([torch.randperm(200)[:150] for _ in range(4)]), [20, 21, 150]
    search = Neighbours(queries, candidates)
    nearest = of_draws(search, orders, ends, 20)
    for draw, order in enumerate(orders):
        for end, m in enumerate(ends):
            assert torch.equal(nearest[draw, end], search.nearest(order[:m], 20))


@pytest.mark.parametrize("row", [0.0, 1.0, 0.1])
def test_of_equal_rows_the_first_shots_are_the_nearest(row):
    candidates, shots = torch.full((50, 3), row), torch.arange(49, 0, -3)
    nearest = Neighbours(candidates, candidates).nearest(shots, 4)
    assert nearest.tolist() == [[1, 4, 7, 10]] * 50


def test_a_row_of_zeros_is_at_right_angles_to_all():
    candidates = torch.tensor([[-1.0, 0.0], [0.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
    nearest = Neighbours(torch.tensor([[1.0, 0.0], [0.0, 0.0]]), candidates).nearest(torch.arange(4), 4)
    assert nearest.tolist() == [[3, 1, 2, 0], [0, 1, 2, 3]]


def test_a_chain_of_equal_cosines_is_one_group_only_while_each_link_is_a_shot():
    step = rounding.of_cosines(2) * 0.75
    cosines = torch.tensor([0.5 - 3 * step, 0.5 - 2 * step, 0.5 - step, 0.5, 0.9], dtype=torch.float64)
    first = lambda columns, k: neighbours._first(cosines[None, columns], k, rounding.of_cosines(2)).tolist()[0]  # noqa: E731
    assert first([0, 1, 2, 3, 4], 3) == [4, 0, 1]
    assert first([0, 1, 3, 4], 3) == [3, 2, 0]
    assert first([0, 3, 4], 3) == [2, 1, 0]


def test_some_of_the_queries_have_the_neighbours_that_they_have_among_all():
    torch.manual_seed(1)
    queries, candidates, rows = torch.randn(30, 3), torch.randn(40, 3), torch.tensor([4, 2, 29])
    search = Neighbours(queries, candidates)
    for shots in (torch.arange(40), torch.arange(0, 40, 9)):
        assert torch.equal(search.nearest(shots, 3, rows=rows), search.nearest(shots, 3)[rows])


def test_queries_far_from_all_shots_find_them():
    """Their nearest candidates hold no shots, or too few: half of the candidates are shots, and on the other side."""
    torch.manual_seed(3)
    side = torch.tensor([1.0, -1.0]).repeat_interleave(40)
    candidates = torch.stack([side, 0.3 * torch.randn(80)], 1)
    queries, shots = candidates[::3], torch.cat([torch.arange(38), torch.tensor([55, 60])])
    nearest = Neighbours(queries, candidates).nearest(shots, 2)
    assert nearest.tolist() == literal(queries, candidates, shots, 2)


def test_ties_of_some_queries_are_seen_among_theirs():
    candidates = torch.cat([torch.randn(20, 2), torch.ones(20, 2)])
    queries, rows = torch.cat([torch.randn(10, 2), torch.ones(10, 2)]), torch.arange(19, 9, -1)
    search = Neighbours(queries, candidates)
    assert search.nearest(torch.arange(39, -1, -1), 3, rows=rows).tolist() == [[20, 21, 22]] * 10


@pytest.mark.parametrize("size", [1e-30, 1e30])
def test_neighbours_do_not_depend_on_the_size_of_a_row(size):
    torch.manual_seed(2)
    queries, candidates = torch.randn(20, 4), torch.randn(30, 4)
    here = Neighbours(queries, candidates).nearest(torch.arange(30), 5)
    assert torch.equal(here, Neighbours(queries * size, candidates / size).nearest(torch.arange(30), 5))


def test_blocks_of_rows_change_nothing(monkeypatch):
    candidates = integers(30, 3, seed=0)
    whole = Neighbours(candidates, candidates).nearest(torch.arange(30), 4)
    index = torch.arange(30) % 4
    classes = votes(whole, index, 4)
    monkeypatch.setattr(neighbours, "_NUMBERS", 1)
    assert torch.equal(whole, Neighbours(candidates, candidates).nearest(torch.arange(30), 4))
    assert torch.equal(classes, votes(whole, index, 4))


def test_votes_of_the_first_few_are_those_of_these_alone():
    torch.manual_seed(0)
    index, nearest = torch.randint(0, 5, (40,)), torch.stack([torch.randperm(40)[:9] for _ in range(60)]).view(3, 20, 9)
    of_ks = votes(nearest, index, 5, [2, 5, 9])
    for k, of_k in zip([2, 5, 9], of_ks, strict=True):
        assert torch.equal(of_k, votes(nearest[..., :k], index, 5)) and of_k.shape == (3, 20)
    assert votes(torch.tensor([[7, -1, -1]]), index, 5, [1, 3])[:, 0].tolist() == [int(index[7])] * 2


@pytest.mark.parametrize("k", [1, 4, 7])
def test_votes_equal_a_literal_count_and_the_first_of_tied_classes_wins(k):
    torch.manual_seed(k)
    index, nearest = torch.randint(0, 5, (40,)), torch.stack([torch.randperm(40)[:k] for _ in range(200)])
    expected = []
    for row in nearest.tolist():
        counts = [sum(int(index[position]) == c for position in row) for c in range(5)]
        expected.append(counts.index(max(counts)))
    assert votes(nearest, index, 5).tolist() == expected


@pytest.mark.parametrize("k", [5, 10, 20])
def test_without_ties_the_classes_are_those_of_scikit_learn(k):
    torch.manual_seed(0)
    candidates, index = torch.randn(300, 8).double(), torch.arange(300) % 3
    queries, shots = torch.randn(200, 8).double(), torch.randperm(300)[:200].sort().values
    nearest = Neighbours(queries, candidates).nearest(shots, 20)
    theirs = KNeighborsClassifier(k, metric="cosine", algorithm="brute").fit(candidates[shots], index[shots])
    assert votes(nearest[:, :k], index, 3).tolist() == theirs.predict(queries).tolist()


def test_numbers_that_are_none_and_missing_scikit_learn_are_one_line_each(monkeypatch):
    f = torch.randn(5, 2)
    with pytest.raises(UserError, match="kNN: features that are not finite; no cosine is defined on them"):
        Neighbours(f, f / 0)
    monkeypatch.setitem(sys.modules, "sklearn.neighbors", None)
    with pytest.raises(UserError, match=r"kNN needs scikit-learn; .*; pip install 'coupled\[evaluation\]'"):
        Neighbours(f, f)
