"""Shots are functions of class and draw alone: integers, the same everywhere, for every arm, step and run."""

import pytest
import torch

from analysis.evaluation import shots

LABELS = torch.arange(60) % 3


def test_golden_shots_and_pairs():
    assert shots.Shots(LABELS, 0).first(3).tolist() == [[33, 12, 54], [37, 28, 46], [47, 2, 50]]
    assert shots.with_replacement(LABELS, 1, 4, "test").tolist() == [[15, 39, 39, 42], [49, 4, 55, 52], [35, 8, 35, 11]]
    assert list(shots.class_pairs(4)) == [(0, 3), (1, 3), (1, 2), (0, 2), (0, 1), (2, 3)]


def test_shots_are_of_their_class_and_differ_from_each_other():
    drawn = shots.Shots(LABELS, 5).first(20)
    assert torch.equal(LABELS[drawn], torch.arange(3)[:, None].expand(3, 20))
    assert all(len(set(own)) == 20 for own in drawn.tolist())


def test_more_shots_contain_fewer_with_and_without_replacement():
    draw = shots.Shots(LABELS, 2)
    assert torch.equal(draw.first(7)[:, :3], draw.first(3))
    many, few = (shots.with_replacement(LABELS, 2, m, "train") for m in (9, 4))
    assert torch.equal(many[:, :4], few) and torch.equal(LABELS[many], torch.arange(3)[:, None].expand(3, 9))


def test_draws_and_splits_differ():
    assert not torch.equal(shots.Shots(LABELS, 0).first(5), shots.Shots(LABELS, 1).first(5))
    drawn = [shots.with_replacement(LABELS, 0, 8, split) for split in ("train", "test")]
    assert not torch.equal(*drawn)


def test_as_many_shots_as_the_smallest_class_has():
    draw = shots.Shots(torch.tensor([0, 0, 0, 7, 7]), 0)
    assert draw.most == 2 and draw.classes.tolist() == [0, 7]
    with pytest.raises(AssertionError):
        draw.first(3)


def test_pairs_of_classes_are_all_or_a_hundred_and_each_draw_has_one():
    assert shots.chosen_pairs(14) == [(i, j) for i in range(14) for j in range(i + 1, 14)]
    assert len(set(shots.chosen_pairs(15))) == 100
    assert len({shots.pair_of_draw(4, draw) for draw in range(6)}) == 6
    assert shots.pair_of_draw(4, 6) == shots.pair_of_draw(4, 0)
