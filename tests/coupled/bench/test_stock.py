"""Stock networks do what arms do: the yardstick measures the same. In float64 a difference is one of rounding."""

from dataclasses import replace

import pytest
import torch
from helpers import tiny

import coupled
from coupled.bench.clock import Clock
from coupled.bench.stock import Stock
from coupled.bench.yardsticks import LAYOUTS, faster_stock
from coupled.driver.assembly import build
from coupled.models.batchnorm import BatchNorm
from coupled.objectives import registry
from coupled.objectives.masks import pair_masks
from coupled.theory.learning_rate import peak

pytestmark = pytest.mark.kernels

FLOAT64 = {"precision": "float64"}
MODELS = {
    "resnet-small": {"width": 8},
    "resnet18": {"encoder": "resnet18", "width": 8},
    "resnet50": {"encoder": "resnet50", "width": 8},
    "vit": {"encoder": "vit", "width": 8, "patch": 4, "depth": 2, "heads": 2},
}
OBJECTIVES = {
    "dcl": {"objective": "dcl"},
    "nt_xent": {"objective": "nt_xent", "temperature": 0.1},
    "nscl": {"objective": "nscl"},
    "nscl with the positive": {"objective": "nscl", "positive_in_denominator": True},
    **{f"homotopy {lam}": {"objective": "homotopy", "lam": lam} for lam in (0, 0.3, 1)},
    "homotopy with the positive": {"objective": "homotopy", "lam": 0.3, "positive_in_denominator": True},
    "scl": {"objective": "scl"},
    "ce": {"objective": "ce", "labelling": "shape"},
    "nudged": {"kind": "nudged", "scale": 0.1},
    "independent": {"kind": "independent"},
    "placebo": {"kind": "placebo", "of": "nscl"},
    "anti": {"kind": "anti", "of": "nscl"},
}
OPTIMISERS = {
    "sgd": {"weight_decay": 0.01, "clip_norm": 0.1},
    "adamw": {"name": "adamw", "learning_rate": 1e-3, "weight_decay": 0.1},
}
# Sums of some thousand terms of order 1, in another order, through fifty layers; a wrong term differs by 1e-3.
CLOSE = {"rtol": 1e-9, "atol": 1e-11}


def built(folder, **sections):
    arms = {name.replace(" ", "_").replace(".", ""): spec for name, spec in OBJECTIVES.items()}
    return build(tiny(folder, **{"arms": arms, "train": FLOAT64, "model": MODELS["resnet-small"], **sections}))


def stock_of(parts, layout="contiguous"):
    return Stock(parts.config, parts.device, LAYOUTS[layout])


def networks(stock):
    return [learner.network for learner in stock._learners]


def losses(parts, batch):
    for arm in parts.arms.values():
        arm.forward_backward(batch)
    return torch.stack([arm.loss for arm in parts.arms.values()])


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
def test_a_stock_network_evaluates_to_what_ours_does_and_has_none_of_our_norms(model, layout, tmp_path):
    parts = built(tmp_path, model=model, arms={"cl": OBJECTIVES["dcl"], "ce": OBJECTIVES["ce"]})
    images = parts.panels.images["panel"]
    for arm, network in zip(parts.arms.values(), networks(stock_of(parts, layout)), strict=True):
        assert not any(isinstance(module, BatchNorm) for module in network.modules())
        with torch.no_grad():
            theirs = network.eval()(images)
        for ours, other in zip(arm.embed(images), theirs, strict=True):
            torch.testing.assert_close(ours, other, **CLOSE)


@pytest.mark.parametrize("views_forward", ["joint", "separate"])
def test_a_stock_loss_is_ours_for_every_objective(views_forward, tmp_path):
    parts = built(tmp_path, train={**FLOAT64, "views_forward": views_forward})
    batch = parts.source.at(0)
    theirs = torch.stack(stock_of(parts).losses(batch)).detach()
    torch.testing.assert_close(losses(parts, batch), theirs, **CLOSE)
    assert {spec["objective"] for spec in OBJECTIVES.values() if "objective" in spec} == set(registry.OBJECTIVES)


def test_a_stock_loss_of_one_class_skips_the_anchors_that_ours_skips(tmp_path):
    parts = built(tmp_path)
    batch, stock = parts.source.at(0), stock_of(parts)
    alike = pair_masks(torch.zeros_like(batch.ids))
    batch = replace(batch, pairs=dict.fromkeys(batch.pairs, alike))
    torch.testing.assert_close(losses(parts, batch), torch.stack(stock.losses(batch)).detach(), **CLOSE)
    stock.step(batch)
    assert all(parameter.isfinite().all() for network in networks(stock) for parameter in network.parameters())


def test_an_objective_of_a_users_own_has_its_own_loss(tmp_path):
    coupled.register_objective("squares")(lambda sigma, labels, tau: sigma.square().mean(1) / tau)
    try:
        parts = built(tmp_path, arms={"cl": {"objective": "dcl"}, "own": {"objective": "squares"}})
        batch = parts.source.at(0)
        torch.testing.assert_close(losses(parts, batch), torch.stack(stock_of(parts).losses(batch)).detach(), **CLOSE)
    finally:
        registry.forget("squares")


@pytest.mark.parametrize("optimiser", OPTIMISERS.values(), ids=OPTIMISERS)
def test_a_stock_step_moves_weights_and_statistics_as_ours_does(optimiser, tmp_path):
    parts = built(tmp_path, optimiser=optimiser, arms={"cl": OBJECTIVES["dcl"], "ce": OBJECTIVES["ce"]})
    batch, stock, config = parts.source.at(0), stock_of(parts), parts.config
    for _ in range(2):
        losses(parts, batch)
        for arm in parts.arms.values():
            arm.update(peak(config.optimiser, config.batches.size))
        stock.step(batch)
    for arm, network in zip(parts.arms.values(), networks(stock), strict=True):
        theirs = network.state_dict()
        for name, ours in arm.network.state_dict().items():
            torch.testing.assert_close(ours, theirs[name], rtol=1e-6, atol=1e-9)


def test_stock_draws_nothing_and_leaves_the_choice_of_kernels_as_it_was(tmp_path):
    parts = built(tmp_path, arms={"cl": OBJECTIVES["dcl"]})
    before, batch = torch.random.get_rng_state(), parts.source.at(0)
    stock = stock_of(parts)
    stock.step(batch)
    stock.forward_eval(batch.pixels)
    assert torch.equal(before, torch.random.get_rng_state())
    assert torch.are_deterministic_algorithms_enabled()
    assert all(network.training for network in networks(stock))


def test_narrow_networks_are_tried_in_the_one_layout_that_torch_takes(tmp_path):
    parts = built(tmp_path, model={"width": 4}, arms={"cl": OBJECTIVES["dcl"]})
    assert faster_stock(parts.config, parts.device, parts.source.at(0), Clock(parts.device))[1] == "contiguous"
