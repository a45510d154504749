"""The papers' probes are Adam on a linear layer, step for step."""

import pytest
import torch

from analysis.arrays.adam_probe import RECIPES, adam_probe
from analysis.arrays.linear_probe import gradient
from coupled.address import Purpose, permutation
from coupled.errors import UserError


def samples(n, classes):
    torch.manual_seed(classes)
    index = torch.arange(n) % classes
    return torch.randn(n, 6) + torch.randn(classes, 6)[index], index


def literal(f, index, classes, *, rate, batch, epochs):
    """Adam as its paper writes it (Kingma and Ba 2015, Algorithm 1), on gradients by autograd."""
    weights = torch.zeros(classes, f.shape[1], dtype=torch.float64, requires_grad=True)
    mean = square = torch.zeros_like(weights)
    t = 0
    for epoch in range(epochs):
        order = permutation(0, Purpose.PROBE_ORDER, len(f), a=epoch) if batch < len(f) else torch.arange(len(f))
        for rows in order.split(batch):
            t += 1
            loss = torch.nn.functional.cross_entropy(f[rows].double() @ weights.T, index[rows])
            (slope,) = torch.autograd.grad(loss, weights)
            mean, square = 0.9 * mean + 0.1 * slope, 0.999 * square + 0.001 * slope**2
            step = rate * (mean / (1 - 0.9**t)) / ((square / (1 - 0.999**t)).sqrt() + 1e-8)
            weights = (weights - step).detach().requires_grad_()
    return weights.detach(), t


@pytest.mark.parametrize("classes", [2, 3])
def test_the_second_papers_probe_is_300_steps_of_all_shots(classes):
    f, index = samples(40, classes)
    fitted = adam_probe(f, index, classes, "p2")
    weights, steps = literal(f, index, classes, rate=3e-3, batch=40, epochs=300)
    assert fitted.iterations == steps == 300
    torch.testing.assert_close(fitted.weights, weights, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize(("classes", "epochs"), [(2, 501), (3, 200)])
def test_the_first_papers_probe_is_epochs_of_minibatches_by_address(classes, epochs):
    f, index = samples(300, classes)
    fitted = adam_probe(f, index, classes, "p1")
    weights, steps = literal(f, index, classes, rate=3e-4, batch=256, epochs=epochs)
    assert fitted.iterations == steps == 2 * epochs
    torch.testing.assert_close(fitted.weights, weights, rtol=1e-8, atol=1e-10)


def test_how_far_from_an_optimum_it_was_left_is_the_gradient_without_a_ridge():
    f, index = samples(60, 3)
    fitted = adam_probe(f, index, 3, "p2")
    norms = [gradient(w, f, index, 0.0).norm() for w in (fitted.weights, torch.zeros_like(fitted.weights))]
    assert fitted.gradient == float(norms[0] / norms[1]) and not fitted.converged


def test_features_that_say_nothing_leave_the_weights_at_0():
    fitted = adam_probe(torch.zeros(6, 2), torch.arange(6) % 3, 3, "p2")
    assert fitted.gradient == 0.0 and not fitted.weights.any()


def test_each_paper_has_its_features():
    assert {name: recipe.column for name, recipe in RECIPES.items()} == {"p1": "z", "p2": "h"}


def test_one_class_is_one_line():
    with pytest.raises(UserError, match="the linear probe of 1 class"):
        adam_probe(torch.randn(4, 2), torch.zeros(4, dtype=torch.int64), 1, "p1")
