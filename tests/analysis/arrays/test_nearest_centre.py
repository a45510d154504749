"""The nearest-centre classifier equals a literal loop, ties included."""

import pytest
import torch

from analysis.arrays.nearest_centre import centres, hits, nearest


def literal(f, index, centres, *, ties):
    """The counts of `hits`, sample by sample; exact where all numbers are small integers."""
    K, C, _ = centres.shape
    among_all, against = torch.zeros(K, C, dtype=torch.int64), torch.zeros(K, C, C, dtype=torch.int64)
    for k in range(K):
        for x, i in zip(f.tolist(), index.tolist(), strict=True):
            apart = [sum((a - b) ** 2 for a, b in zip(x, c, strict=True)) for c in centres[k].tolist()]
            own = [
                j == i or apart[i] < apart[j] or (ties == "first" and apart[i] == apart[j] and i < j) for j in range(C)
            ]
            among_all[k, i] += all(own)
            against[k, i] += torch.tensor(own)
    return among_all, against


@pytest.mark.parametrize("ties", ["first", "errors"])
@pytest.mark.parametrize("C", [1, 2, 5])
def test_hits_equal_a_literal_loop_also_where_distances_are_equal(ties, C):
    torch.manual_seed(C)
    f, index = torch.randint(-2, 3, (150, 3)).float(), torch.randint(0, C, (150,))
    means = torch.randint(-2, 3, (4, C, 3)).double()
    for ours, theirs in zip(hits(f, index, means, ties=ties), literal(f, index, means, ties=ties), strict=True):
        assert torch.equal(ours, theirs)


def test_blocks_of_rows_change_nothing(monkeypatch):
    torch.manual_seed(0)
    f, index, means = torch.randint(-2, 3, (50, 3)).float(), torch.randint(0, 3, (50,)), torch.randn(2, 3, 3).double()
    whole = hits(f, index, means, ties="first")
    monkeypatch.setattr("analysis.arrays.nearest_centre._NUMBERS", 1)
    assert all(map(torch.equal, whole, hits(f, index, means, ties="first")))


def test_centres_that_differ_by_rounding_alone_are_one():
    f, index = torch.randn(60, 8) + 1000, torch.arange(60) % 2
    one = f.double().mean(0)
    apart = torch.stack([one, one * (1 + 2**-52)])[None]
    assert hits(f, index, apart, ties="errors").among_all.tolist() == [[0, 0]]
    assert hits(f, index, apart, ties="first").among_all.tolist() == [[30, 0]]


def test_a_centre_is_the_mean_of_its_shots():
    f = torch.arange(12.0).view(6, 2)
    assert centres(f, torch.tensor([[0, 1], [3, 5]])).tolist() == [[1.0, 2.0], [8.0, 9.0]]


def test_the_nearest_centre_is_the_first_of_equally_near_ones():
    torch.manual_seed(3)
    f, means = torch.randint(-2, 3, (200, 2)).float(), torch.randint(-2, 3, (4, 2)).double()
    apart = [[sum((a - b) ** 2 for a, b in zip(x, c, strict=True)) for c in means.tolist()] for x in f.tolist()]
    assert nearest(f, means).tolist() == [row.index(min(row)) for row in apart]
