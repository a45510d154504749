"""Batch-norm by torch's CUDA kernels: what is ours of it, with literal stand-ins for the kernels on a CPU.

The kernels themselves are checked on a GPU (`tests/device`).
"""

from copy import deepcopy

import pytest
import torch
from helpers import Operations

from coupled.models.batchnorm import BatchNorm, absorb
from coupled.models.norm import fused

EPS = 1e-5


def wide(values, x):
    return values.view(1, -1, *[1] * (x.ndim - 2))


def stats(x, eps):
    axes = [axis for axis in range(x.ndim) if axis != 1]
    return x.mean(axes), (x.var(axes, unbiased=False) + eps).rsqrt()


def elemt(x, weight, bias, mean, inverse_std, _eps):
    y = (x - wide(mean, x)) * wide(inverse_std * weight, x)
    return y if bias is None else y + wide(bias, x)


def backward_reduce(g, x, mean, inverse_std, _weight, *_asked):
    axes = [axis for axis in range(x.ndim) if axis != 1]
    total, dot = g.sum(axes), (g * (x - wide(mean, x))).sum(axes)
    return total, dot, dot * inverse_std, total


def backward_elemt(g, x, mean, inverse_std, weight, total, dot, count):
    n = count.sum()
    centred = (x - wide(mean, x)) * wide(inverse_std.square() * dot / n, x)
    return (g - wide(total / n, x) - centred) * wide(inverse_std * weight, x)


@pytest.fixture
def kernels(monkeypatch):
    """The kernels' names stand for their definitions, and every tensor is for them."""
    given = {"stats": stats, "elemt": elemt, "backward_reduce": backward_reduce, "backward_elemt": backward_elemt}
    for name, function in given.items():
        monkeypatch.setattr(torch, f"batch_norm_{name}", function)
    monkeypatch.setattr(fused, "takes", lambda x: True)


def norm_of(channels, **options):
    norm = BatchNorm(channels, **options).double()
    with torch.no_grad():
        for tensor in (*norm.parameters(), *norm.buffers()):
            tensor.copy_(torch.rand(channels, dtype=torch.float64) + 0.5)
    return norm


def stepped(norm, x, g):
    """Output, gradients and running statistics after two training forwards and a backward."""
    x = x.clone().requires_grad_()
    norm.train()(x * 2)
    y = norm(x)
    y.backward(g)
    absorb([norm])
    gradients = [parameter.grad for parameter in norm.parameters()]
    return [y.detach(), x.grad, *gradients, norm.running_mean, norm.running_var, norm.eval()(x).detach()]


@pytest.mark.parametrize("shape", [(6, 3, 4, 5), (7, 3), (2, 1, 1, 1)])
@pytest.mark.parametrize("bias", [True, False])
def test_outputs_gradients_and_running_statistics_are_those_of_the_passes_on_a_cpu(shape, bias, request):
    torch.manual_seed(0)
    norm, x, g = norm_of(shape[1], bias=bias), torch.randn(*shape).double(), torch.randn(*shape).double()
    theirs = stepped(deepcopy(norm), x, g)
    request.getfixturevalue("kernels")
    for one, other in zip(stepped(norm, x, g), theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)


class Halves:
    """Two ranks, of which the other one holds what this one does not, in `other`."""

    size = 2

    def __init__(self, other):
        self.other = iter(other)

    def gathered(self, tensor):
        return torch.stack((tensor, next(self.other)))


def test_a_part_of_a_batch_is_normalised_by_the_statistics_of_the_whole(kernels):
    torch.manual_seed(0)
    norm, x, g = norm_of(3), torch.randn(8, 3, 2, 2).double(), torch.randn(8, 3, 2, 2).double()
    whole, part = deepcopy(norm), norm
    y, dx, *_, mean, variance, _ = stepped(whole, x, g)
    means, inverses = stats(x[4:], 0.0)
    forward = [torch.stack((2 * means, 4 * inverses.pow(-2))), torch.stack((means, inverses.pow(-2)))]
    mean_of_all, inverse_of_all = stats(x, EPS)
    sums = backward_reduce(g[4:], x[4:], mean_of_all, inverse_of_all, None)[:2]
    part.across = Halves([*forward, torch.stack(sums)])
    own_y, own_dx, *_, own_mean, own_variance, _ = stepped(part, x[:4], g[:4])
    pairs = ((own_y, y[:4]), (own_dx, dx[:4]), (own_mean, mean), (own_variance, variance))
    for one, other in pairs:
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-11)


class Launches(Operations):
    """Operations that would start a kernel: all but views."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func.is_view:
            return func(*args, **kwargs or {})
        return super().__torch_dispatch__(func, types, args, kwargs)


def test_running_statistics_of_all_layers_take_a_dozen_launches_in_all(kernels):
    norms = [norm_of(channels) for channels in (3, 5, 8) * 10]
    for norm in norms:
        norm.train()(torch.randn(4, len(norm.weight)).double())
    with Launches() as launches:
        absorb(norms)
    assert len(launches.names) <= 12, launches.names


def test_a_constant_channel_has_variance_0(kernels):
    norm = norm_of(2)
    norm.running_var.fill_(1.0)
    norm.train()(torch.ones(8, 2).double())
    absorb([norm])
    assert torch.allclose(norm.running_var, torch.full((2,), 0.9, dtype=torch.float64), rtol=1e-15, atol=1e-15)
