"""Sums that are known of a state, and those that are not."""

import torch
from torch import nn

from coupled.arms.squares import Squares
from coupled.models.batchnorm import BatchNorm
from coupled.models.flat import FlatState
from coupled.models.segments import Segments


def state_of_a_layer():
    with torch.device("meta"):
        network = nn.Sequential(nn.Linear(3, 2), BatchNorm(2))
    return FlatState(network, torch.float64, torch.device("cpu"))


def test_anew_the_weights_are_summed_again_and_the_gradient_s_sum_is_kept():
    """Or a CUDA graph of an update would have none of their sum in it, which was known when it was captured."""
    state = state_of_a_layer()
    state.weights[:6], state.gradient[:6] = 1, 2
    squares = Squares(state, Segments(state.weight_segments, state.weights.device))
    assert squares.weights[0] == 6 and squares.gradient[0] == 24
    state.weights[:6] = 3
    anew = squares.anew()
    assert anew.weights[0] == 54 and anew.gradient is squares.gradient
    state.weights[:6] = 4
    assert squares.anew().weights[0] == 96


def test_anew_a_sum_of_the_gradient_that_nobody_has_read_is_not_taken():
    state = state_of_a_layer()
    squares = Squares(state, Segments(state.weight_segments, state.weights.device)).anew()
    assert "gradient" not in vars(squares)
