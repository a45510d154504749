import pytest
import torch

from coupled.errors import UserError
from coupled.inputs.order import Balanced, Uniform

LABELS = torch.arange(100) % 7


def streams():
    return [Uniform(3, 100, 16), Balanced(3, LABELS, 7, 16)]


@pytest.mark.parametrize("stream", streams(), ids=["uniform", "balanced"])
def test_any_step_can_be_asked_for_alone_and_in_any_order(stream):
    forward = [stream.at(step)[0].tolist() for step in range(30)]
    fresh = streams()[isinstance(stream, Balanced)]
    assert [fresh.at(step)[0].tolist() for step in reversed(range(30))] == forward[::-1]


@pytest.mark.parametrize("stream", streams(), ids=["uniform", "balanced"])
def test_no_view_address_repeats_and_no_batch_holds_a_sample_twice(stream):
    seen = set()
    for step in range(60):
        ids, visits = stream.at(step)
        assert len(ids) == len(set(ids.tolist())) == 16
        seen |= set(zip(ids.tolist(), visits.tolist(), strict=True))
    assert len(seen) == 60 * 16


def test_a_uniform_epoch_is_a_permutation_without_its_tail():
    stream = Uniform(0, 100, 16)
    epoch = torch.cat([stream.at(step)[0] for step in range(6)])
    assert stream.steps_per_epoch == 6
    assert len(set(epoch.tolist())) == 96
    assert stream.at(5)[1].tolist() == [0] * 16
    assert stream.at(6)[1].tolist() == [1] * 16
    assert stream.at(0)[0].tolist() != stream.at(6)[0].tolist()


def test_a_balanced_batch_has_equal_shares_and_its_rest_is_fair_in_every_block():
    stream, drawn = Balanced(3, LABELS, 7, 16), torch.zeros(7, dtype=torch.int64)
    for step in range(70):
        counts = LABELS[stream.at(step)[0]].bincount(minlength=7)
        assert counts.min() >= 2
        assert counts.max() <= 3
        drawn += counts
        if step % 7 == 6:
            assert drawn.tolist() == [16 * (step + 1) // 7] * 7


@pytest.mark.parametrize(("batch_size", "classes", "n"), [(16, 7, 100), (8, 2, 88), (5, 12, 60), (9, 4, 37)])
def test_every_class_cycles_through_all_its_samples_without_a_gap(batch_size, classes, n):
    labels = torch.arange(n) % classes
    stream, seen = Balanced(3, labels, classes, batch_size), [[] for _ in range(classes)]
    for step in range(300):
        ids, visits = stream.at(step)
        assert len(set(ids.tolist())) == batch_size
        for i, visit in zip(ids.tolist(), visits.tolist(), strict=True):
            seen[labels[i]].append((visit, i))
    for c, drawn in enumerate(seen):
        members = torch.nonzero(labels == c).flatten().tolist()
        for cycle in range(drawn[-1][0]):
            assert sorted(i for visit, i in drawn if visit == cycle) == members


def test_a_balanced_batch_smaller_than_the_class_count_takes_distinct_classes():
    ids, _ = Balanced(1, LABELS, 7, 4).at(5)
    assert len(set(LABELS[ids].tolist())) == 4


def test_a_class_too_small_for_its_share_is_one_line():
    with pytest.raises(UserError, match="class 1 has 7"):
        Balanced(0, torch.tensor([0] * 20 + [1] * 7), 2, 8)


def test_golden_order():
    """Integers: equal on every machine. A change here changes what every config trains on."""
    assert Uniform(0, 1000, 8).at(3)[0].tolist() == [115, 84, 685, 604, 972, 965, 706, 63]
    assert Balanced(0, LABELS, 7, 8).at(3)[0].tolist() == [70, 43, 51, 80, 39, 47, 69, 55]
