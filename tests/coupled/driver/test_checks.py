"""What stops all arms where they cannot go on alike."""

import torch

from coupled.driver import checks


def test_a_digest_of_bits_sees_a_flip_and_an_exchange():
    x = torch.tensor([1.0, 2.0, 3.0])
    same = checks._fold(x)
    assert checks._fold(x.clone()) == same
    for other in (torch.tensor([1.0, 3.0, 2.0]), torch.nextafter(x, x + 1), torch.tensor([1.0, 2.0, -3.0])):
        assert checks._fold(other) != same
    assert checks._fold(torch.tensor([0.0])) != checks._fold(torch.tensor([-0.0]))
