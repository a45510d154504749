"""What stops all arms before the damage."""

import torch

from coupled.driver import guard


def test_a_digest_of_bits_sees_a_flip_and_an_exchange():
    x = torch.tensor([1.0, 2.0, 3.0])
    same = guard._fold(x)
    assert guard._fold(x.clone()) == same
    for other in (torch.tensor([1.0, 3.0, 2.0]), torch.nextafter(x, x + 1), torch.tensor([1.0, 2.0, -3.0])):
        assert guard._fold(other) != same
    assert guard._fold(torch.tensor([0.0])) != guard._fold(torch.tensor([-0.0]))
