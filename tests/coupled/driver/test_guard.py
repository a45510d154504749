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
        loss, gradient = (bool(flag) for flag in guard._finite(arm_of(dtype, value, name)))
        assert (loss, gradient) == (True, abs(value) <= largest)
