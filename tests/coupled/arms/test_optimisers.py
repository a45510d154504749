"""Optimisers on flat vectors against per-tensor oracles. Gradients are random: no network has to run."""

from dataclasses import replace

import pytest
import torch
from helpers import Operations
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from coupled.arms.optimisers import Optimiser, clipped, state_names, state_tensors
from coupled.config.resolved import AdamW, Lars, Sgd
from coupled.models.flat import FlatState

pytestmark = [pytest.mark.kernels, pytest.mark.threads]
CPU = torch.device("cpu")
DTYPES = [torch.float32, torch.float64]
SPECS = {
    "sgd": Sgd(name="sgd", momentum=0.9, weight_decay=0.01),
    "lars": Lars(name="lars", momentum=0.9, weight_decay=0.1, trust=0.05),
    "adamw": AdamW(name="adamw", weight_decay=0.1, beta1=0.9, beta2=0.99, epsilon=1e-8),
}


def spec(name, **changes):
    return replace(SPECS[name], **changes)


def random_fill(state, flat, seed):
    """Normals in every segment; the padding is left."""
    generator = torch.Generator().manual_seed(seed)
    for segment in state.weight_segments:
        segment.view(flat).copy_(torch.randn(segment.shape, generator=generator, dtype=torch.float64))


def made(dtype=torch.float32, blocks=1):
    """A state with weights drawn; no segment fills its last 64 bytes, so that all have padding."""
    with torch.device("meta"):
        layers = [layer for _ in range(blocks) for layer in (nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5))]
        network = nn.Sequential(*layers, nn.Linear(7, 3))
    state = FlatState(network, dtype, CPU)
    random_fill(state, state.weights, 0)
    return state


def run(optimiser, state, steps, rate=0.1, start=0):
    for step in range(start, start + steps):
        random_fill(state, state.gradient, 1 + step)
        optimiser.step(rate)


def bits(*tensors):
    return b"".join(t.detach().numpy().tobytes() for t in tensors)


def clip(gradient, most):
    return clipped(gradient, gradient.double().norm(), most)


def layer(state, flat, name):
    return {s.name: s for s in state.weight_segments}[name].view(flat)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("momentum", "decay"), [(0.9, 0.01), (0.9, 0.0), (0.0, 0.01)])
def test_sgd_has_the_bytes_of_torchs_sgd_on_the_flat_vector(dtype, momentum, decay):
    state = made(dtype)
    copy = state.weights.clone().requires_grad_()
    reference = torch.optim.SGD([copy], lr=9.0, momentum=momentum, weight_decay=decay, foreach=False)
    optimiser = Optimiser(spec("sgd", momentum=momentum, weight_decay=decay), state)
    for step in range(10):
        run(optimiser, state, 1, rate := 0.3 / (step + 1), start=step)
        copy.grad, reference.param_groups[0]["lr"] = state.gradient.clone(), rate
        reference.step()
        assert bits(state.weights) == bits(copy)
    kept = {k: v for k, v in reference.state[copy].items() if v is not None}
    assert {k: bits(v) for k, v in optimiser.tensors().items()} == {k: bits(v) for k, v in kept.items()}


def literal_lars(spec, weights, momenta, gradients, rate):
    """You et al. 2017, one tensor after the other, of norms above 0."""
    for w, v, g in zip(weights, momenta, gradients, strict=True):
        if w.dim() >= 2:
            ratio = spec.trust * w.norm() / (g.norm() + spec.weight_decay * w.norm())
            g = ratio * (g + spec.weight_decay * w)
        v.copy_(spec.momentum * v + g)
        w.copy_(w - rate * v)


def views(state, flat):
    return [segment.view(flat) for segment in state.weight_segments]


@pytest.mark.parametrize("dtype", DTYPES)
def test_lars_is_its_formula_tensor_by_tensor(dtype):
    state = made(dtype)
    optimiser = Optimiser(SPECS["lars"], state)
    weights = [w.double().clone() for w in views(state, state.weights)]
    momenta = [torch.zeros_like(w) for w in weights]
    for step in range(10):
        run(optimiser, state, 1, start=step)
        literal_lars(SPECS["lars"], weights, momenta, [g.double() for g in views(state, state.gradient)], 0.1)
    # Ten steps; a weight below 4 is rounded by eps at most, its velocity before that by less.
    for own, oracle in zip(views(state, state.weights), weights, strict=True):
        assert (own - oracle).abs().max() <= 10 * 2 * torch.finfo(dtype).eps


def adamw_in_two_groups(spec, parameters):
    groups = [{"params": [p for p in parameters if p.dim() >= 2], "weight_decay": spec.weight_decay}]
    groups.append({"params": [p for p in parameters if p.dim() < 2], "weight_decay": 0.0})
    return torch.optim.AdamW(groups, lr=0.1, betas=(spec.beta1, spec.beta2), eps=spec.epsilon)


@pytest.mark.parametrize("dtype", DTYPES)
def test_adamw_is_torchs_with_decay_in_the_group_of_matrices_alone(dtype):
    state = made(dtype)
    copies = [w.clone().requires_grad_() for w in views(state, state.weights)]
    optimiser, reference = Optimiser(SPECS["adamw"], state), adamw_in_two_groups(SPECS["adamw"], copies)
    for step in range(10):
        run(optimiser, state, 1, start=step)
        for copy, gradient in zip(copies, views(state, state.gradient), strict=True):
            copy.grad = gradient.clone()
        reference.step()
    # The same operations on tensors of other lengths: two roundings a step at most, of weights below 4.
    for own, oracle in zip(views(state, state.weights), copies, strict=True):
        assert (own - oracle).abs().max() <= 10 * 2 * torch.finfo(dtype).eps


@pytest.mark.parametrize("dtype", DTYPES)
def test_adamw_without_decay_has_the_bytes_of_torchs_on_the_flat_vector(dtype):
    state, own = made(dtype), spec("adamw", weight_decay=0.0)
    copy = state.weights.clone().requires_grad_()
    reference = torch.optim.AdamW([copy], 0.1, (own.beta1, own.beta2), own.epsilon, 0.0, foreach=False)
    optimiser = Optimiser(own, state)
    for step in range(10):
        run(optimiser, state, 1, start=step)
        copy.grad = state.gradient.clone()
        reference.step()
    assert bits(state.weights) == bits(copy)
    assert all(bits(tensor) == bits(reference.state[copy][name]) for name, tensor in optimiser.tensors().items())


def test_lars_decays_without_adapting_a_layer_of_zero_gradient():
    state, own = made(torch.float64), spec("lars", momentum=0.0)
    start = layer(state, state.weights, "0.weight").clone()
    Optimiser(own, state).step(0.5)
    assert torch.equal(layer(state, state.weights, "0.weight"), start - 0.5 * (own.weight_decay * start))
    assert bool(torch.isfinite(state.weights).all())


def test_lars_moves_zero_weights_by_the_gradient():
    state = made(torch.float64)
    state.weights.zero_()
    run(Optimiser(SPECS["lars"], state), state, 1, rate=0.5)
    assert torch.equal(state.weights, -0.5 * state.gradient)
    assert layer(state, state.weights, "0.weight").abs().min() > 0


def test_lars_moves_biases_and_norms_by_the_plain_gradient():
    state = made(torch.float64)
    start = state.weights.clone()
    run(Optimiser(spec("lars", momentum=0.0), state), state, 1, rate=0.5)
    plain = start - 0.5 * state.gradient
    same = [s.name for s in state.weight_segments if torch.equal(s.view(state.weights), s.view(plain))]
    assert same == ["0.bias", "1.weight", "1.bias", "2.bias"]


@given(power=st.integers(-140, 60))
def test_an_undecayed_lars_step_does_not_see_the_length_of_a_layers_gradient(power):
    ends = []
    for scale in (1.0, 2.0**power):
        state = made(torch.float64)
        random_fill(state, state.gradient, 1)
        layer(state, state.gradient, "2.weight").mul_(scale)
        Optimiser(spec("lars", weight_decay=0.0), state).step(0.5)
        ends.append(bits(state.weights))
    assert ends[0] == ends[1]


@pytest.mark.parametrize("size", [2.0**-149, 2.0**-120, 2.0**100])
def test_a_lars_step_is_no_longer_than_the_trust_by_any_float32_gradient(size):
    state = made()
    start = layer(state, state.weights, "2.weight").double()
    layer(state, state.gradient, "2.weight").fill_(size)
    Optimiser(spec("lars", weight_decay=0.0), state).step(1.0)
    moved = (layer(state, state.weights, "2.weight").double() - start).norm()
    # Weights of order 1, rounded once to float32, against a step of 0.05 of their norm.
    assert moved <= 0.05 * start.norm() * (1 + 1e-5)
    assert bool(torch.isfinite(state.weights).all())


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_gradient_above_the_threshold_is_clipped_as_torch_does(dtype):
    state = made(dtype)
    random_fill(state, state.gradient, 1)
    copies = [torch.zeros_like(g, requires_grad=True) for g in views(state, state.gradient)]
    for copy, gradient in zip(copies, views(state, state.gradient), strict=True):
        copy.grad = gradient.clone()
    nn.utils.clip_grad_norm_(copies, 0.7)
    count = sum(copy.numel() for copy in copies)
    for own, copy in zip(views(state, clip(state.gradient, 0.7)), copies, strict=True):
        # torch's norm is in the gradients' precision: n squares and their sum, n roundings of eps/2 at most, of which
        # the root halves the effect; a few more for the factor and the product.
        assert torch.allclose(own, copy.grad, rtol=(count / 4 + 5) * torch.finfo(dtype).eps, atol=0)


@given(seed=st.integers(0, 1000), most=st.floats(1e-3, 1e3))
def test_a_clipped_norm_is_at_most_the_threshold_and_shorter_gradients_keep_their_bits(seed, most):
    gradient = torch.randn(50, generator=torch.Generator().manual_seed(seed))
    norm, after = gradient.double().norm(), clip(gradient, most)
    if norm + 1e-6 <= most:
        assert bits(after) == bits(gradient)
    else:
        # The factor and each element are rounded once.
        assert after.double().norm() <= most * (1 + 2e-7)
        assert torch.allclose(after, gradient * (most / norm), rtol=1e-5 + 1e-6 / norm.item())


@pytest.mark.parametrize("name", SPECS)
def test_a_clipping_step_is_a_step_by_the_clipped_gradient_and_leaves_the_gradient(name):
    one, other = made(), made()
    random_fill(one, one.gradient, 1)
    before = bits(one.gradient)
    other.gradient.copy_(clip(one.gradient, 0.7))
    Optimiser(spec(name, clip_norm=0.7), one).step(0.1)
    Optimiser(SPECS[name], other).step(0.1)
    assert bits(one.weights) == bits(other.weights)
    assert bits(one.gradient) == before != bits(other.gradient)


@pytest.mark.parametrize("name", SPECS)
@pytest.mark.parametrize("at", range(4))
def test_a_loaded_optimiser_continues_bit_for_bit(name, at):
    whole, cut, later = made(), made(), made()
    run(first := Optimiser(SPECS[name], whole), whole, 4)
    run(saved := Optimiser(SPECS[name], cut), cut, at)
    later.copy_from(cut)
    run(again := Optimiser(SPECS[name], later), later, 1, start=9)
    later.copy_from(cut)
    again.load(saved.tensors(), at)
    run(again, later, 4 - at, start=at)
    assert bits(whole.weights, *first.tensors().values()) == bits(later.weights, *again.tensors().values())


def test_a_loaded_state_shares_no_storage():
    one, other = made(), made()
    run(first := Optimiser(SPECS["adamw"], one), one, 1)
    (second := Optimiser(SPECS["adamw"], other)).load(first.tensors(), 1)
    before = bits(*first.tensors().values())
    run(second, other, 1)
    assert bits(*first.tensors().values()) == before


@pytest.mark.parametrize("names", [{"exp_avg"}, {"momentum_buffer", "exp_avg"}, set()])
def test_the_state_of_another_optimiser_is_not_loaded(names):
    state = made()
    with pytest.raises(AssertionError):
        Optimiser(SPECS["sgd"], state).load(dict.fromkeys(names, state.weights), 1)


@pytest.mark.parametrize("name", SPECS)
def test_padding_stays_zero_and_every_weight_moves(name):
    state = made()
    start = state.weights.clone()
    run(optimiser := Optimiser(spec(name, clip_norm=5.0), state), state, 5)
    for flat in (state.weights, *optimiser.tensors().values()):
        padding = [flat[s.stop : s.padded_stop] for s in state.weight_segments]
        assert all(len(p) and bits(p) == bytes(4 * len(p)) for p in padding)
    assert all(bool((s.view(state.weights) != s.view(start)).all()) for s in state.weight_segments)


@pytest.mark.parametrize("name", SPECS)
def test_twins_stay_equal_to_the_bit(name):
    twins = [made(), made()]
    optimisers = [Optimiser(spec(name, clip_norm=5.0), state) for state in twins]
    for optimiser, state in zip(optimisers, twins, strict=True):
        run(optimiser, state, 5)
    one, other = (bits(s.weights, *o.tensors().values()) for s, o in zip(twins, optimisers, strict=True))
    assert one == other


@pytest.mark.parametrize(
    ("name", "momentum", "copies"),
    [("sgd", 0.9, 1), ("sgd", 0.0, 0), ("lars", 0.9, 1), ("lars", 0.0, 0), ("adamw", None, 2)],
)
def test_an_optimiser_keeps_as_many_vectors_as_it_says(name, momentum, copies):
    state = made()
    optimiser = Optimiser(spec(name, momentum=momentum), state)
    assert optimiser.tensors() == {}
    run(optimiser, state, 2)
    assert tuple(optimiser.tensors()) == state_names(name, momentum)
    assert [t.shape for t in optimiser.tensors().values()] == [state.weights.shape] * copies
    assert state_tensors(name, momentum) == copies


def operations_of_a_step(name, blocks):
    state = made(blocks=blocks)
    run(optimiser := Optimiser(spec(name, clip_norm=1.0), state), state, 1)
    with Operations() as seen:
        optimiser.step(0.1)
    return seen.names


@pytest.mark.parametrize("name", SPECS)
def test_a_step_runs_the_same_operations_for_more_layers_and_never_waits_for_a_gpu(name):
    names = operations_of_a_step(name, 1)
    assert names == operations_of_a_step(name, 4)
    # Reads of a value, shapes that depend on values, numbers that become tensors. AdamW reads its count on the host.
    waiting = [
        n for n in names if any(w in n for w in ("_local_scalar", "nonzero", "masked_select", "where", "index.T"))
    ]
    assert waiting == (["aten._local_scalar_dense.default"] if name == "adamw" else [])
