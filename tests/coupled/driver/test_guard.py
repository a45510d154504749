"""What stops all arms before the damage."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from coupled.arms.squares import Squares
from coupled.driver import guard
from coupled.models.flat import FlatState
from coupled.models.segments import Segments


def arm_of(dtype, value, name):
    """An arm whose gradient is 1, but for one element of one parameter."""
    with torch.device("meta"):
        network = nn.ModuleDict({"encoder": nn.BatchNorm1d(30), "head": nn.Linear(30, 3)})
    state = FlatState(network, dtype, torch.device("cpu"))
    for segment in state.weight_segments:
        segment.view(state.gradient).fill_(1)
        if segment.name == name:
            segment.view(state.gradient).view(-1)[-1] = value
    squares = Squares(state, Segments(state.weight_segments, state.weights.device))
    return SimpleNamespace(loss=torch.tensor(1.0), state=state, squares=squares)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", ["encoder.weight", "encoder.bias", "head.weight", "head.bias"])
def test_one_number_that_is_not_finite_is_seen_and_no_number_is_too_large(dtype, name):
    largest = torch.finfo(dtype).max
    for value in (torch.nan, torch.inf, -torch.inf, 1.0, largest, -largest):
        bad = guard._not_finite({"arm": arm_of(dtype, value, name)})
        assert bad == {"arm": (False, not abs(value) <= largest)}


def test_a_digest_of_bits_sees_a_flip_and_an_exchange():
    x = torch.tensor([1.0, 2.0, 3.0])
    same = guard._fold(x)
    assert guard._fold(x.clone()) == same
    for other in (torch.tensor([1.0, 3.0, 2.0]), torch.nextafter(x, x + 1), torch.tensor([1.0, 2.0, -3.0])):
        assert guard._fold(other) != same
    assert guard._fold(torch.tensor([0.0])) != guard._fold(torch.tensor([-0.0]))
