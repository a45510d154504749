import pytest
import torch
from helpers import tiny
from torch import nn
from torchvision.models.vision_transformer import VisionTransformer

from coupled.address import Purpose, name_word, normal
from coupled.arms.initial import build_arms
from coupled.arms.network import build_network
from coupled.models import evaluating
from coupled.models.flat import FlatState
from coupled.models.init import initialise, initialise_head

pytestmark = [pytest.mark.kernels, pytest.mark.threads]
CPU = torch.device("cpu")


def network(config, dtype=torch.float32, draw=0, classes=None):
    with torch.device("meta"):
        made = build_network(config, classes)
    state = FlatState(made, dtype, CPU)
    initialise(made, state, config.seed, draw)
    return made, state


def test_parameters_are_views_of_the_flat_vectors(tmp_path):
    made, state = network(tiny(tmp_path))
    state.weights.fill_(2.0)
    assert all((p == 2).all() for p in made.parameters())
    assert sum(s.stop - s.start for s in state.weight_segments) == sum(p.numel() for p in made.parameters())
    assert all(p.data_ptr() % 64 == 0 for p in made.parameters())


def test_backward_writes_into_the_flat_gradient(tmp_path):
    made, state = network(tiny(tmp_path))
    h, z = made(torch.ones(4, 3, 12, 12) * torch.arange(4).view(4, 1, 1, 1))
    (z[0, 0] + h.sum()).backward()
    for segment, parameter in zip(state.weight_segments, made.parameters(), strict=True):
        assert torch.equal(segment.view(state.gradient), parameter.grad)
    assert state.gradient.abs().sum() > 0


def test_initial_weights_depend_on_name_and_seed_alone(tmp_path):
    _, narrow = network(tiny(tmp_path))
    _, other_head = network(tiny(tmp_path, model={"width": 4, "projection_hidden": 16, "projection_dim": 32}))
    stem = "encoder.stem.weight"
    assert torch.equal(narrow.named_weights()[stem], other_head.named_weights()[stem])
    _, other_seed = network(tiny(tmp_path, seed=1))
    assert not torch.equal(narrow.named_weights()[stem], other_seed.named_weights()[stem])


def test_float32_and_float64_start_at_the_same_weights(tmp_path):
    _, single = network(tiny(tmp_path))
    _, double = network(tiny(tmp_path), torch.float64)
    for name, weight in double.named_weights().items():
        assert torch.equal(weight.float(), single.named_weights()[name])


def test_initial_variances_are_those_of_the_rules(tmp_path):
    _, state = network(
        tiny(tmp_path, model={"width": 64, "projection_hidden": 256, "projection_dim": 64}), torch.float64
    )
    weights = state.named_weights()
    for name, variance in (("encoder.stages.2.conv1.weight", 2 / (256 * 9)), ("projector.linear1.weight", 1 / 512)):
        n = weights[name].numel()
        # Four standard errors of a variance of n normals.
        assert abs(weights[name].square().mean() / variance - 1) < 4 * (2 / n) ** 0.5


def test_resnets_start_from_torchvisions_distributions(tmp_path):
    """He et al. 2015, fan-out, for every convolution; 1 and 0 for batch-norms."""
    made, _ = network(tiny(tmp_path, model={"encoder": "resnet50", "stem": "imagenet"}))
    for name, weight in made.encoder.named_parameters():
        if weight.ndim == 1:
            assert torch.equal(weight, torch.full_like(weight, name.endswith("weight")))
        else:
            expected = (2 / (weight.shape[0] * weight.shape[2] * weight.shape[3])) ** 0.5
            # The relative standard error of a standard deviation of n normals is 1/√(2n).
            assert abs(weight.std() / expected - 1) < 4.5 / (2 * weight.numel()) ** 0.5, name


def test_the_vit_starts_from_torchvisions_distributions(tmp_path):
    torch.manual_seed(0)
    theirs = dict(VisionTransformer(12, 4, 2, 3, 96, 384).double().named_parameters())
    made, _ = network(tiny(tmp_path, model={"encoder": "vit", "width": 96, "depth": 2, "heads": 3}), torch.float64)
    for name, ours in made.encoder.named_parameters():
        expected = theirs[name]
        if not expected.std() > 0:
            assert torch.equal(ours, expected), name
            continue
        # The ratio of two standard deviations of n normals each has a standard error of 1/√n; uniform ones have less.
        assert abs(ours.std() / expected.std() - 1) < 4.5 / ours.numel() ** 0.5, name
        # The largest of n > 90 values tells uniform ones (√3 σ) from normal ones (beyond 2 σ).
        is_uniform = [values.abs().max() < 1.8 * values.std() for values in (ours, expected)]
        assert is_uniform[0] == is_uniform[1], name


def test_the_head_is_last_and_draws_from_its_own_purpose(tmp_path):
    config = tiny(tmp_path, seed=9)
    plain, without = network(config, draw=2)
    made, state = network(config, draw=2, classes=5)
    assert plain.head is None
    names = [name for name, _ in made.named_parameters()]
    assert names == [name for name, _ in plain.named_parameters()] + ["head.weight", "head.bias"]
    drawn = normal(9, Purpose.HEAD, 5 * 8, a=name_word("head.weight"), b=2).view(5, 8)
    # Float64 rounded once, from a division here and a multiplication there.
    assert torch.allclose(state.named_weights()["head.weight"], (drawn / 8**0.5).float(), rtol=2e-7, atol=0)
    assert not state.named_weights()["head.bias"].any()
    assert torch.equal(state.weights[: state.shared], without.weights)


def test_initialise_head_fills_the_head_alone(tmp_path):
    config = tiny(tmp_path)
    made, state = network(config, classes=5)
    expected = state.weights.clone()
    state.weights.fill_(7.0)
    initialise_head(made, state, config.seed, draw=0)
    assert (state.weights[: state.shared] == 7).all()
    for segment in state.weight_segments[-2:]:
        assert segment.name.startswith("head.")
        assert torch.equal(segment.view(state.weights), segment.view(expected))


def test_a_layer_without_a_rule_is_named(tmp_path):
    made, state = network(tiny(tmp_path))
    made.projector.linear1 = nn.Bilinear(2, 2, 8)
    with pytest.raises(AssertionError, match=r"projector.linear1.weight: .*'Bilinear', 'weight'"):
        initialise(made, state, 0, 0)


def test_h_and_z_have_their_shapes_and_z_is_normalised(tmp_path):
    made, _ = network(tiny(tmp_path))
    h, z = made(torch.randn(5, 3, 12, 12, generator=torch.Generator().manual_seed(0)))
    assert h.shape == (5, 32)
    assert z.shape == (5, 8)
    # Two float32 roundings of a sum of eight squares.
    assert (z.norm(dim=1) - 1).abs().max() < 1e-6


def test_stage_features_come_only_when_asked_and_end_in_h(tmp_path):
    made, _ = network(tiny(tmp_path))
    images = torch.randn(5, 3, 12, 12, generator=torch.Generator().manual_seed(0))
    h, stages = made.encoder(images, stages=True)
    assert [s.shape[1] for s in stages] == [4, 8, 16, 32]
    assert torch.equal(stages[-1], h)
    assert made.encoder(images)[1] == []


def test_evaluating_restores_the_mode_even_after_an_error(tmp_path):
    made, _ = network(tiny(tmp_path))
    with pytest.raises(ZeroDivisionError), evaluating(made):
        assert not made.training
        assert not torch.is_grad_enabled()
        raise ZeroDivisionError
    assert made.training


def test_arms_share_the_start_but_no_storage(tmp_path):
    arms = build_arms(tiny(tmp_path), CPU)
    first = arms["cl"].state
    for name in ("nscl", "twin"):
        assert torch.equal(arms[name].state.weights, first.weights)
        assert torch.equal(arms[name].state.buffers, first.buffers)
    storages = [t.untyped_storage().data_ptr() for a in arms.values() for t in (a.state.weights, a.state.buffers)]
    assert len(set(storages)) == len(storages)
    assert not torch.equal(arms["independent"].state.weights, first.weights)


@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_a_ulp_nudge_moves_every_weight_to_a_neighbouring_float(tmp_path, precision):
    arms = build_arms(tiny(tmp_path, train={"precision": precision}), CPU)
    ups = []
    for name, weight in arms["nudged"].state.named_weights().items():
        start = arms["cl"].state.named_weights()[name]
        up, down = (torch.nextafter(start, torch.full_like(start, end)) for end in (torch.inf, -torch.inf))
        assert bool(((weight == up) | (weight == down)).all())
        ups.append((weight == up).flatten())
    share = torch.cat(ups).double()
    assert abs(share.mean() - 0.5) < 2 / len(share) ** 0.5
    assert torch.equal(arms["nudged"].state.buffers, arms["cl"].state.buffers)


def test_a_scaled_nudge_multiplies_by_one_plus_or_minus_s(tmp_path):
    two = {
        "cl": {"objective": "dcl"},
        "n": {"kind": "nudged", "scale": 1e-3},
        "m": {"kind": "nudged", "scale": 1e-3, "draw": 2},
    }
    arms = build_arms(tiny(tmp_path, train={"precision": "float64"}, arms=two), CPU)
    start = arms["cl"].state.named_weights()["encoder.stem.weight"]
    ratio = arms["n"].state.named_weights()["encoder.stem.weight"] / start
    # The ratio of two float64 numbers within a rounding or two of 1 ± s.
    assert bool((((ratio - 1).abs() - 1e-3).abs() < 1e-15).all())
    assert not torch.equal(arms["n"].state.weights, arms["m"].state.weights)


def test_the_optimiser_step_is_torchs_sgd_on_named_parameters(tmp_path):
    # Products with powers of two are exact, so that a kernel may fuse them with a sum or not: whole vectors and the
    # ends of short ones need not go through the same instructions.
    config = tiny(tmp_path, train={"precision": "float64"}, optimiser={"weight_decay": 2**-6, "momentum": 0.5})
    arm = build_arms(config, CPU)["cl"]
    copies = [p.detach().clone().requires_grad_() for p in arm.network.parameters()]
    reference = torch.optim.SGD(copies, lr=0.125, momentum=0.5, weight_decay=2**-6)
    for step in range(3):
        for copy, parameter in zip(copies, arm.network.parameters(), strict=True):
            parameter.grad.fill_(0.1 * step + 0.01)
            copy.grad = parameter.grad.clone()
        arm.update(0.125)
        reference.step()
    assert all(torch.equal(c, p) for c, p in zip(copies, arm.network.parameters(), strict=True))


def test_a_scaled_nudge_in_float32_is_as_large_upwards_as_downwards(tmp_path):
    arms = {"cl": {"objective": "dcl"}, "n": {"kind": "nudged", "scale": 1e-6}}
    built = build_arms(tiny(tmp_path, arms=arms, model={"width": 32}), CPU)
    start, moved = (built[name].state.named_weights()["encoder.stages.3.conv2.weight"].double() for name in ("cl", "n"))
    relative = moved / start - 1
    # A float32 weight moves by whole ulps, 6e-8 to 1.2e-7 of it: means over 600 000 weights are exact to 1e-9.
    for part in (relative[relative > 0], -relative[relative < 0]):
        assert abs(part.mean() - 1e-6) < 1e-9
