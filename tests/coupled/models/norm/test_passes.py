"""Each pass against its definition, by kernels and by torch's operations; what kernels do not depend on."""

import pytest
import torch

from coupled.models.norm import compiled
from coupled.models.norm.compiled import CompiledPasses
from coupled.models.norm.operations import OperationPasses
from coupled.models.norm.passes import passes

pytestmark = [pytest.mark.kernels, pytest.mark.threads]
LAYOUTS = [torch.contiguous_format, torch.channels_last]
EPS = 1e-5
# Fewer rows than a job has, one sample, one channel, one pixel; channels that no vector is full of; rows longer than a
# tile, in which channels begin anywhere; more channels than a tile has columns; samples that jobs cannot share equally.
SHAPES = [
    *((3, 2, 5, 7), (1, 3, 9, 11), (18, 1, 3, 3), (33, 13, 1, 1), (19, 3, 31, 23), (5, 1030, 1, 2), (71, 24, 9, 9)),
    *((1, 1), (37, 5), (130, 1500), (200, 96)),
]


def inputs(shape, layout, dtype=torch.float64, offset=3.0):
    """x, a gradient, weight and bias."""
    generator = torch.Generator().manual_seed(sum(shape))
    x, gradient = (torch.randn(shape, generator=generator, dtype=torch.float64) for _ in range(2))
    weight, bias = torch.randn(2, shape[1], generator=generator, dtype=torch.float64)
    if len(shape) == 4:
        x, gradient = x.contiguous(memory_format=layout), gradient.contiguous(memory_format=layout)
    return [t.to(dtype) for t in (x + offset, gradient, weight, bias)]


def outcomes(made, x, gradient, weight, bias):
    """What all four passes give, one made of the other: moments, y, products, dx."""
    n = x.numel() // x.shape[1]
    moments = made.moments()
    products = made.products(gradient, moments, EPS)
    dx = made.differentiate(gradient, moments, weight, EPS, products, n)
    return [moments, made.normalise(moments, weight, bias, EPS), products, dx]


def literal(x, gradient, weight, bias):
    """The definitions, in float64."""
    x, gradient, weight, bias = (t.double() for t in (x, gradient, weight, bias))
    axes, view = [0, *range(2, x.ndim)], (1, -1) + (1,) * (x.ndim - 2)
    mean = x.mean(axes)
    variance = ((x - mean.view(view)) ** 2).mean(axes)
    inverse_std = (1 / (variance + EPS).sqrt()).view(view)
    normed = (x - mean.view(view)) * inverse_std
    products = torch.stack((gradient.sum(axes), (gradient * normed).sum(axes)))
    grad_mean, dot_mean = (sums.view(view) / (x.numel() // x.shape[1]) for sums in products)
    dx = weight.view(view) * inverse_std * (gradient - grad_mean - normed * dot_mean)
    return [torch.stack((mean, variance)), weight.view(view) * normed + bias.view(view), products, dx]


def distance(got, exact, scale=0.0):
    """Relative to the larger of the exact norm and `scale` a number."""
    return float((got.double() - exact).norm() / max(float(exact.norm()), scale * exact.numel() ** 0.5))


@pytest.mark.parametrize("kind", [CompiledPasses, OperationPasses])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("shape", SHAPES)
def test_passes_are_their_definitions_in_float64(shape, layout, kind):
    tensors = inputs(shape, layout)
    for got, exact in zip(outcomes(kind(tensors[0]), *tensors), literal(*tensors), strict=True):
        assert distance(got, exact, scale=1.0) < 1e-12


@pytest.mark.parametrize("kind", [CompiledPasses, OperationPasses])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("offset", [0.0, 1e4])
@pytest.mark.parametrize("shape", [shape for shape in SHAPES if shape != (1, 1)])  # whose gradient is 0, by cancelling
def test_passes_are_within_roundings_of_their_definitions_in_float32(shape, offset, layout, kind):
    tensors = inputs(shape, layout, torch.float32, offset)
    # Roundings of 2⁻²⁴ each: up to 32 numbers are added, with errors of either sign; y is rounded thrice with a scale
    # and an offset that are, dx five times with three. Measured, over all shapes: 1, 1, 2 and 1.3 times 2⁻²⁴.
    limits = [32**0.5, 5, 32**0.5, 8]
    for got, exact, limit in zip(outcomes(kind(tensors[0]), *tensors), literal(*tensors), limits, strict=True):
        assert distance(got, exact, scale=1.0) < limit * 2**-24


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("shape", SHAPES)
def test_the_number_of_threads_changes_no_bit(shape, layout, dtype, monkeypatch):
    monkeypatch.setattr(compiled, "_WORTH", 1)
    tensors, all_bits = inputs(shape, layout, dtype), []
    for threads in (1, 2, 5):
        monkeypatch.setattr(torch, "get_num_threads", lambda threads=threads: threads)
        all_bits.append([t.numpy().tobytes() for t in outcomes(CompiledPasses(tensors[0]), *tensors)])
    assert all_bits[0] == all_bits[1] == all_bits[2]


@pytest.mark.parametrize("kind", [CompiledPasses, OperationPasses])
def test_the_bits_are_those_of_a_dense_copy(kind):
    x, *others = inputs((20, 6, 5, 4), torch.contiguous_format, torch.float32)
    sparse = torch.zeros(20, 12, 5, 4)[:, ::2].copy_(x)
    assert not sparse.is_contiguous()
    for got, exact in zip(outcomes(kind(sparse), sparse, *others), outcomes(kind(x), x, *others), strict=True):
        assert torch.equal(got, exact)


def test_kernels_are_for_a_cpu():
    assert isinstance(passes(torch.empty(2, 3)), CompiledPasses)
    assert isinstance(passes(torch.empty(2, 3, device="meta")), OperationPasses)
