import pytest
import torch
from torch import nn

from coupled.models import batchnorm
from coupled.models.batchnorm import BatchNorm
from coupled.models.norm.compiled import CompiledPasses
from coupled.models.norm.operations import OperationPasses

pytestmark = [pytest.mark.kernels, pytest.mark.threads]
LAYOUTS = [torch.contiguous_format, torch.channels_last]


@pytest.fixture(params=[CompiledPasses, OperationPasses])
def _each_way(request, monkeypatch):
    """Once by compiled kernels, once by torch's operations, which other devices and the compiler take."""
    monkeypatch.setattr(batchnorm, "passes", request.param)


def normal(*shape, seed, dtype=torch.float64):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def filled(channels, dtype=torch.float64, **options):
    norm = BatchNorm(channels, **options).to(dtype)
    with torch.no_grad():
        norm.weight.uniform_(0.5, 2, generator=torch.Generator().manual_seed(0))
        if norm.bias is not None:
            norm.bias.uniform_(-1, 1, generator=torch.Generator().manual_seed(1))
        norm.running_mean.zero_()
        norm.running_var.fill_(1)
    return norm


def torch_twin(norm, ndim):
    twin = (nn.BatchNorm1d if ndim == 2 else nn.BatchNorm2d)(len(norm.weight)).to(norm.weight.dtype)
    twin.load_state_dict(norm.state_dict(), strict=False)
    return twin


def literal(norm, x):
    """The definition, in float64 and in this order, on the numbers that `x` holds."""
    x, axes = x.detach().double().requires_grad_(), [0, *range(2, x.ndim)]
    mean = x.mean(axes, keepdim=True)
    variance = ((x - mean) ** 2).mean(axes, keepdim=True)
    weight, bias = (p.detach().double().view(mean.shape) for p in (norm.weight, norm.bias))
    return x, weight * (x - mean) / (variance + norm.eps).sqrt() + bias


def error(got, exact):
    got, exact = got.detach().double(), exact.detach()
    return float((got - exact).norm() / exact.norm())


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("shape", [(16, 5), (6, 5, 4, 3), (1, 5, 2, 2), (17, 5, 1, 1), (70, 5, 9, 31)])
@pytest.mark.usefixtures("_each_way")
def test_batchnorm_equals_torchs_in_float64(shape, layout):
    x = normal(*shape, seed=2) * 3 + 7
    x = x.contiguous(memory_format=layout) if x.ndim == 4 else x
    weight = normal(*shape, seed=3)
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


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("layout", [*LAYOUTS, None])
@pytest.mark.usefixtures("_each_way")
def test_gradient_is_the_numerical_one(layout, bias):
    norm = filled(3, bias=bias)
    x = normal(10, 3, 2, 2, seed=4) + 3
    x = (x[:, :, 0, 0] if layout is None else x.contiguous(memory_format=layout)).requires_grad_()
    parameters = dict(norm.named_parameters())

    def call(x, *values):
        return torch.func.functional_call(norm, dict(zip(parameters, values, strict=True)), (x,))

    assert torch.autograd.gradcheck(call, (x, *parameters.values()))


# bfloat16 has no two numbers within σ = 1 of each other at 1e4.
@pytest.mark.parametrize(("dtype", "offset"), [*[(torch.float32, o) for o in (0, 2, 50, 1e4)], (torch.bfloat16, 2)])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.usefixtures("_each_way")
def test_statistics_are_within_1e_6_of_float64_in_either_layout(layout, offset, dtype):
    x = (normal(256, 16, 24, 24, seed=5, dtype=torch.float32) + offset).to(dtype)
    norm = filled(16, torch.float32, momentum=1.0)
    norm(x.contiguous(memory_format=layout))
    norm.absorb()
    exact = x.double()
    mean, variance = exact.mean((0, 2, 3)), exact.var((0, 2, 3))
    # Relative to the size of the numbers: the running mean is stored in float32 itself.
    assert norm.running_mean.dtype == norm.running_var.dtype == torch.float32
    assert ((norm.running_mean - mean).abs() / (1 + mean.abs())).max() < 1e-6
    assert ((norm.running_var - variance) / variance).abs().max() < 1e-6


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("offset", [0.0, 1.0, 1e3, 1e4])
@pytest.mark.usefixtures("_each_way")
def test_output_and_gradient_are_within_roundings_of_the_definition_however_far_the_mean(layout, offset):
    norm = filled(8, torch.float32)
    x = (normal(64, 8, 6, 6, seed=6, dtype=torch.float32) + offset).contiguous(memory_format=layout).requires_grad_()
    gradient = (normal(64, 8, 6, 6, seed=7, dtype=torch.float32) + 1).contiguous(memory_format=layout)
    y = norm(x)
    y.backward(gradient)
    exact_x, exact = literal(norm, x)
    exact.backward(gradient.double())
    # Rounding a float32 is 2⁻²⁴/√3 = 3.4e-8 at most in the root mean square. Three roundings an element of y (centred,
    # product, sum), six of the gradient, and some of each channel's numbers: about √4 and √8 times that, whoever
    # rounds. Measured: 6e-8 and 8e-8 (torch's own: 1e-3 at offset 1e4).
    assert error(y, exact) < 1e-7
    assert error(x.grad, exact_x.grad) < 2e-7


@pytest.mark.usefixtures("_each_way")
def test_rows_that_make_the_shift_may_be_the_outliers():
    x = normal(64, 4, 3, 3, seed=8, dtype=torch.float32)
    x[::8] += 1e5
    norm = filled(4, torch.float32)
    # The shift is √7·σ off the mean, and sums of 64 such numbers are rounded 63 times, by 2⁻²⁴ of the sum so far at
    # most. Measured: 1e-7. A shift that stayed in the output would be an error of 1.
    assert error(norm(x), literal(norm, x)[1]) < 7**0.5 * 64 * 2**-24


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("value", [0.0, 1.0, 3.3e3, 3.3e6, 1e20])
@pytest.mark.usefixtures("_each_way")
def test_a_constant_channel_gives_the_shift_and_finite_gradients(value, layout):
    norm = filled(3, torch.float32)
    x = torch.full((21, 3, 5, 5), value).contiguous(memory_format=layout).requires_grad_()
    y = norm(x)
    y.square().sum().backward()
    norm.absorb()
    if value < 1e4:  # At 1e20 one unit in the last place of the mean is 1e13.
        assert torch.allclose(y, norm.bias.view(1, 3, 1, 1).expand_as(y), atol=1e-6)
    assert all(bool(torch.isfinite(t).all()) for t in (y, x.grad, norm.weight.grad, norm.running_var))
    assert (norm.running_var >= 0).all()


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.usefixtures("_each_way")
def test_a_bfloat16_input_gives_the_float32_result_rounded_once(layout):
    x = (normal(32, 6, 5, 5, seed=9, dtype=torch.float32) + 2).bfloat16().contiguous(memory_format=layout)
    gradient = normal(32, 6, 5, 5, seed=10, dtype=torch.float32).bfloat16().contiguous(memory_format=layout)
    outcomes = []
    for dtype in (torch.bfloat16, torch.float32):
        norm = filled(6, torch.float32)
        inputs = x.to(dtype, copy=True).requires_grad_()
        with torch.autocast("cpu", torch.bfloat16):
            y = norm(inputs)
        y.backward(gradient.to(dtype))
        evaluated = norm.eval()(inputs)
        assert y.dtype == evaluated.dtype == inputs.grad.dtype == dtype
        outcomes.append([y, evaluated, inputs.grad, norm.weight.grad, norm.bias.grad, *norm._seen[0]])
    for narrow, wide in zip(*outcomes, strict=True):
        assert torch.equal(narrow, wide.to(narrow.dtype))


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.usefixtures("_each_way")
def test_output_and_gradient_keep_the_layout_of_the_input(layout, training):
    norm = filled(4, torch.float32).train(training)
    x = normal(8, 4, 3, 5, seed=11, dtype=torch.float32).contiguous(memory_format=layout).requires_grad_()
    y = norm(x)
    y.sum().backward()
    assert y.is_contiguous(memory_format=layout)
    assert x.grad.is_contiguous(memory_format=layout)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.usefixtures("_each_way")
def test_the_layout_of_the_arriving_gradient_changes_no_bit(layout):
    x = normal(8, 4, 3, 5, seed=12, dtype=torch.float32).contiguous(memory_format=layout)
    values = normal(8, 4, 1, 1, seed=13, dtype=torch.float32).expand(8, 4, 3, 5)
    grads = []
    for gradient in (values, *(values.contiguous(memory_format=other) for other in LAYOUTS)):
        inputs = x.clone().requires_grad_()
        filled(4, torch.float32)(inputs).backward(gradient)
        grads.append(inputs.grad)
    assert torch.equal(grads[0], grads[1])
    assert torch.equal(grads[0], grads[2])


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.usefixtures("_each_way")
def test_the_output_may_be_changed_in_place(layout):
    x = normal(8, 4, 3, 3, seed=14).contiguous(memory_format=layout)
    grads = []
    for relu in (torch.relu, torch.relu_):
        inputs = x.clone().requires_grad_()
        relu(filled(4)(inputs)).square().sum().backward()
        grads.append(inputs.grad)
    assert torch.equal(*grads)


@pytest.mark.parametrize("threads", [1, 2])
def test_the_same_input_gives_the_same_bits(threads):
    torch.set_num_threads(threads)
    x = normal(64, 8, 24, 24, seed=15, dtype=torch.float32).contiguous(memory_format=torch.channels_last)
    outcomes = []
    for _ in range(3):
        norm, inputs = filled(8, torch.float32), x.clone().requires_grad_()
        y = norm(inputs)
        y.square().sum().backward()
        outcomes.append([y, inputs.grad, norm.weight.grad, *norm._seen[0]])
    assert all(torch.equal(a, b) for other in outcomes[1:] for a, b in zip(outcomes[0], other, strict=True))


def test_a_training_forward_moves_nothing_until_absorbed():
    norm = filled(5)
    norm(normal(16, 5, seed=16))
    assert norm.running_mean.abs().sum() == 0
    norm.absorb()
    moved = norm.running_mean.clone()
    norm.absorb()
    assert torch.equal(norm.running_mean, moved)
    assert moved.abs().sum() > 0


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("offset", [0.0, 1e4])
def test_evaluation_is_within_roundings_of_the_definition_however_far_the_mean(layout, offset):
    norm = filled(8, torch.float32).eval()
    x = (normal(64, 8, 6, 6, seed=17, dtype=torch.float32) + offset).contiguous(memory_format=layout)
    with torch.no_grad():
        norm.running_mean.fill_(offset)
        y = norm(x)
    mean, variance, weight, bias = (t.double().view(1, -1, 1, 1) for t in (*norm.buffers(), *norm.parameters()))
    # Three roundings, as in training. Measured: 5e-8 (torch's own, whose offset is bias − mean·scale: 2e-4 at 1e4).
    assert error(y, (x.double() - mean) / (variance + norm.eps).sqrt() * weight + bias) < 1e-7


@pytest.mark.parametrize("layout", LAYOUTS)
def test_evaluation_with_gradients_gives_the_bits_of_evaluation_without(layout):
    norm = filled(7, torch.float32).eval()
    x = normal(5, 7, 4, 3, seed=18, dtype=torch.float32).contiguous(memory_format=layout)
    with torch.no_grad():
        y = norm(x)
    assert torch.equal(norm(x), y)


@pytest.mark.usefixtures("_each_way")
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("value", [float("inf"), float("nan")])
def test_a_number_that_is_not_finite_makes_its_channel_nan_and_no_other(layout, value):
    x = normal(20, 3, 4, 4, seed=19, dtype=torch.float32).contiguous(memory_format=layout)
    x[13, 1, 2, 3] = value
    x.requires_grad_()
    norm = filled(3, torch.float32)
    y = norm(x)
    y.square().sum().backward()
    assert norm._seen[0][1].isnan().tolist() == [False, True, False]
    for outcome in (y, x.grad):
        assert outcome[:, 1].isnan().all()
        assert outcome[:, [0, 2]].isfinite().all()


def test_a_batch_of_no_elements_has_no_statistics():
    with pytest.raises(AssertionError, match="no elements"):
        filled(3)(torch.empty(0, 3, 2, 2, dtype=torch.float64))
    with torch.no_grad():
        assert filled(3).eval()(torch.empty(0, 3, 2, 2, dtype=torch.float64)).shape == (0, 3, 2, 2)


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["aot_eager"])
def test_torchs_compiler_takes_the_operations(backend):
    outcomes = []
    for compiled in (False, True):
        norm, x = filled(5), normal(12, 5, 4, 3, seed=20).requires_grad_()
        y = (torch.compile(norm, backend=backend, fullgraph=True) if compiled else norm)(x)
        y.square().sum().backward()
        norm.absorb()
        outcomes.append([y, x.grad, norm.weight.grad, norm.bias.grad, norm.running_mean, norm.running_var])
    for got, exact in zip(*outcomes, strict=True):
        assert torch.allclose(got, exact, rtol=1e-11, atol=1e-11)


class Halves:
    """Two ranks in one process: the other half's tensors are known beforehand."""

    size = 2

    def __init__(self):
        self.others = []

    def gathered(self, tensor):
        return torch.stack((tensor, self.others.pop(0)))


def test_a_batch_in_two_parts_is_normalised_as_a_whole():
    x, gradient = normal(12, 5, 4, 3, seed=21) * 3 + 7, normal(12, 5, 4, 3, seed=22)
    inputs, norm, part, across = x.clone().requires_grad_(), filled(5), filled(5), Halves()
    y = norm(inputs)
    y.backward(gradient)
    mean, variance = x.mean((0, 2, 3)), x.var((0, 2, 3), correction=0)
    other = CompiledPasses(x[6:])
    across.others = [other.moments(), other.products(gradient[6:], torch.stack((mean, variance)), norm.eps)]
    part.across, own = across, x[:6].clone().requires_grad_()
    own_y = part(own)
    own_y.backward(gradient[:6])
    for got, exact in ((own_y, y[:6]), (own.grad, inputs.grad[:6]), *zip(part._seen[0], norm._seen[0], strict=True)):
        assert torch.allclose(got, exact, rtol=1e-11, atol=1e-11)


def test_a_batchnorm_without_shift_has_none():
    norm = BatchNorm(3, bias=False)
    assert norm.bias is None
    assert [name for name, _ in norm.named_parameters()] == ["weight"]
