import pytest
import torch
from torch import nn

from coupled.models.batchnorm import BatchNorm


def filled(channels, dtype=torch.float64):
    norm = BatchNorm(channels).to(dtype)
    with torch.no_grad():
        norm.weight.uniform_(0.5, 2, generator=torch.Generator().manual_seed(0))
        norm.bias.uniform_(-1, 1, generator=torch.Generator().manual_seed(1))
        norm.running_mean.zero_()
        norm.running_var.fill_(1)
    return norm


def torch_twin(norm, ndim):
    twin = (nn.BatchNorm1d if ndim == 2 else nn.BatchNorm2d)(len(norm.weight)).to(norm.weight.dtype)
    twin.load_state_dict(norm.state_dict(), strict=False)
    return twin


@pytest.mark.parametrize("shape", [(16, 5), (6, 5, 4, 3), (1, 5, 2, 2)])
def test_batchnorm_equals_torchs_in_float64(shape):
    x = torch.randn(shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64) * 3 + 7
    weight = torch.randn(shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    norm = filled(5)
    outcomes = []
    for module in (norm, torch_twin(norm, len(shape))):
        inputs = x.clone().requires_grad_()
        y = module(inputs)
        (y * weight).sum().backward()
        if isinstance(module, BatchNorm):
            module.absorb()
        evaluated = module.eval()(x)
        gradients = [inputs.grad, module.weight.grad, module.bias.grad]
        outcomes.append([y, *gradients, module.running_mean, module.running_var, evaluated])
    for ours, theirs in zip(*outcomes, strict=True):
        assert torch.allclose(ours, theirs, rtol=1e-11, atol=1e-11)


def test_gradient_is_the_numerical_one():
    norm = filled(3)
    x = torch.randn(4, 3, 2, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(4)).requires_grad_()
    assert torch.autograd.gradcheck(norm, (x,))


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("offset", [0.0, 2.0, 50.0])
def test_statistics_are_within_1e_6_of_float64_in_either_layout(layout, offset):
    x = torch.randn(256, 16, 24, 24, generator=torch.Generator().manual_seed(5)) + offset
    x = x.contiguous(memory_format=layout)
    norm = BatchNorm(16)
    with torch.no_grad():
        norm.weight.fill_(1), norm.bias.zero_(), norm.running_mean.zero_(), norm.running_var.fill_(1)
    norm.momentum = 1.0
    norm(x)
    norm.absorb()
    exact = x.double()
    mean, variance = exact.mean((0, 2, 3)), exact.var((0, 2, 3))
    # Relative to the size of the numbers: the running mean is stored in float32 itself.
    assert ((norm.running_mean - mean).abs() / (1 + mean.abs())).max() < 1e-6
    assert ((norm.running_var - variance) / variance).abs().max() < 1e-6


def test_a_training_forward_moves_nothing_until_absorbed():
    norm = filled(5)
    x = torch.randn(16, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(6))
    norm(x)
    assert norm.running_mean.abs().sum() == 0
    norm.absorb()
    moved = norm.running_mean.clone()
    norm.absorb()
    assert torch.equal(norm.running_mean, moved)
    assert moved.abs().sum() > 0


def test_a_batchnorm_without_shift_has_none():
    norm = BatchNorm(3, bias=False)
    assert norm.bias is None
    assert [name for name, _ in norm.named_parameters()] == ["weight"]
