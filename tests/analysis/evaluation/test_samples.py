"""Evaluated samples, their views and batches: integers, the same everywhere and for every run."""

import pytest
import torch

from analysis.evaluation import samples
from coupled.errors import UserError


def test_golden_ids_views_and_batches():
    assert samples.chosen_ids("train", 100, 8).tolist() == [3, 16, 21, 23, 43, 60, 85, 93]
    assert samples.chosen_ids("test", 100, 8).tolist() == [10, 11, 24, 32, 47, 69, 76, 82]
    words = samples.view_words("test", torch.tensor([3, 7]))
    assert words.shape == (2, 2, 32) and words[:, :, 0].tolist() == [[1041302219, 623312617], [3983501262, 2768174144]]
    assert samples.batches("train", 9, 4).tolist() == [[5, 7, 8, 0], [1, 2, 3, 6]]


def test_more_samples_contain_fewer():
    few, many = (set(samples.chosen_ids("test", 1000, size).tolist()) for size in (50, 60))
    assert few < many


def test_a_smaller_split_is_taken_whole():
    for size in (10, 11, None):
        assert samples.chosen_ids("test", 10, size).tolist() == list(range(10))


def test_views_of_train_and_test_differ():
    ids = torch.arange(4)
    assert not torch.equal(samples.view_words("train", ids), samples.view_words("test", ids))


def test_a_sample_is_in_one_batch_at_most():
    batches = samples.batches("test", 103, 10)
    assert batches.shape == (10, 10) and len(set(batches.flatten().tolist())) == 100


@pytest.mark.parametrize("size", [1, 0, 10])
def test_batches_that_cannot_be_are_refused(size):
    with pytest.raises(UserError, match="from 2 to the 9 samples of test"):
        samples.batches("test", 9, size)


def test_too_few_samples_are_refused():
    with pytest.raises(UserError, match="at least 4"):
        samples.chosen_ids("test", 100, 3)
