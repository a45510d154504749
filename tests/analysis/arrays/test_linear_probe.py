"""The linear probe is at the optimum of its stated objective, whatever the features; two classes too."""

import math
import sys
import warnings

import pytest
import torch

from analysis.arrays.linear_probe import RIDGE, SMALLEST, Fitted, gradient, linear_probe, predicted
from analysis.extra import alone
from coupled.errors import UserError


def literal(weights, f, index):
    """Objective and gradient of docs/theory.md (87), sample by sample."""
    n, total, slope = len(f), 0.0, torch.zeros_like(weights)
    squared_size = sum(float(row @ row) for row in f.double()) / n
    for row, own in zip(f.double(), index.tolist(), strict=True):
        scores = [float(w @ row) for w in weights]
        top = max(scores)
        shares = [math.exp(s - top) for s in scores]
        total -= scores[own] - top - math.log(sum(shares))
        for c, share in enumerate(shares):
            slope[c] += (share / sum(shares) - (c == own)) * row / n
    ridge = RIDGE / n * squared_size
    return total / n + ridge / 2 * float(weights.square().sum()), slope + ridge * weights


def samples(n, d, classes, *, apart=1.0, seed=0):
    """Features (n, d) about classes' centres, and their classes: all of them, in turn."""
    torch.manual_seed(seed)
    index = torch.arange(n) % classes
    return torch.randn(n, d) + apart * torch.randn(classes, d)[index], index


def ratio(fitted, f, index):
    norms = [literal(w, f, index)[1].norm() for w in (fitted.weights, torch.zeros_like(fitted.weights))]
    return float(norms[0] / norms[1])


@pytest.mark.parametrize("apart", [0.0, 1.0, 10.0])
@pytest.mark.parametrize(
    ("n", "d", "classes"), [(3, 1, 2), (2, 40, 2), (10, 64, 10), (50, 20, 50), (90, 3, 2), (90, 8, 3), (150, 40, 50)]
)
def test_the_gradient_by_a_literal_loop_is_next_to_nothing_and_is_what_is_returned(n, d, classes, apart):
    f, index = samples(n, d, classes, apart=apart)
    fitted = linear_probe(f, index, classes)
    assert fitted.converged and ratio(fitted, f, index) <= SMALLEST
    # Both are off by the rounding of sums, relative to the gradient at 0.
    assert ratio(fitted, f, index) == pytest.approx(fitted.gradient, rel=1e-6, abs=1e-11)


def shapes():
    f, index = samples(120, 30, 4)
    line, d = f[:, :1].double(), f.shape[1]
    ones = torch.ones(d, dtype=torch.float64)
    one_class = torch.where(torch.arange(120) < 4, torch.arange(120), 0)
    return {
        "on a line": (line * ones, index),
        "near a line": (line * ones + 1e-6 * f, index),
        "a class dominates": (f, one_class),
        "far from 0": (f.double() + 1e4, index),
        "columns of all sizes": (f.double() * 10 ** torch.linspace(-6, 6, d, dtype=torch.float64), index),
        "heavy tails": (f.double() / torch.rand(120, 1, dtype=torch.float64) ** 4, index),
        "half of them 0": (f * (torch.arange(120) >= 60)[:, None], index),
        "each sample in two classes": (f[torch.arange(120) // 2], index),
        "separable": (torch.randn(4, d)[index] + 1e-3 * f, index),
    }


@pytest.mark.parametrize("kind", list(shapes()))
def test_every_fit_of_odd_features_is_at_its_optimum(kind):
    f, index = shapes()[kind]
    fitted = linear_probe(f, index, 4)
    assert ratio(fitted, f, index) <= SMALLEST and fitted.converged


@pytest.mark.parametrize(("n", "d", "classes"), [(60, 5, 2), (60, 5, 4), (12, 30, 4)])
def test_another_optimiser_comes_no_lower_than_strong_convexity_allows(n, d, classes):
    f, index = samples(n, d, classes)
    fitted, other = linear_probe(f, index, classes), torch.zeros(classes, d, dtype=torch.float64, requires_grad=True)
    solver = torch.optim.LBFGS([other], max_iter=2000, tolerance_grad=1e-9, line_search_fn="strong_wolfe")
    squared_size, rows = f.double().square().sum(1).mean(), f.double()

    def objective():
        solver.zero_grad()
        value = torch.nn.functional.cross_entropy(rows @ other.T, index)
        value = value + RIDGE / (2 * n) * squared_size * other.square().sum()
        value.backward()
        return value

    solver.step(objective)
    ours, slope = literal(fitted.weights, f, index)
    theirs, other_slope = literal(other.detach(), f, index)
    # An objective of curvature c at least lies within ‖gradient‖²/2c of its minimum, and W within ‖gradient‖/c of it.
    curvature = float(RIDGE / n * squared_size)
    assert ours - theirs <= float(slope.norm()) ** 2 / (2 * curvature) + 1e-12
    assert theirs - ours <= float(other_slope.norm()) ** 2 / (2 * curvature) + 1e-12
    assert (fitted.weights - other.detach()).norm() <= (slope.norm() + other_slope.norm()) / curvature


def test_two_classes_have_opposite_weights():
    f, index = samples(80, 6, 2)
    weights = linear_probe(f, index, 2).weights
    assert weights.shape == (2, 6) and torch.equal(weights[0], -weights[1])


@pytest.mark.parametrize("classes", [2, 5])
@pytest.mark.parametrize("size", [1e-300, 1e-20, 2.0**-70, 1e20, 1e300])
def test_predictions_do_not_depend_on_the_size_of_the_features(size, classes):
    f, index = samples(100, 8, classes)
    f = f.double()
    here, there = linear_probe(f, index, classes), linear_probe(f * size, index, classes)
    assert there.converged and torch.equal(predicted(here, f), predicted(there, f * size))
    torch.testing.assert_close(there.weights * size, here.weights, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("f", [torch.zeros(6, 3), torch.ones(6, 3), torch.full((6, 3), 0.1)])
def test_features_that_say_nothing_give_weights_of_0_and_the_first_class(f):
    fitted = linear_probe(f, torch.arange(6) % 3, 3)
    assert fitted.converged and not fitted.weights.any()
    assert predicted(fitted, torch.randn(4, 3)).tolist() == [0, 0, 0, 0]


def test_of_equal_scores_the_first_class_is_predicted():
    fitted = Fitted(torch.tensor([[0.0, 1.0], [1.0, 0.0], [1.0, 0.0]]).double(), 0.0, 1)
    assert predicted(fitted, torch.tensor([[1.0, 1.0], [2.0, 1.0], [1.0, 2.0]])).tolist() == [0, 1, 0]


def test_a_fit_from_another_one_is_at_the_same_optimum():
    f, index = samples(300, 10, 3)
    few = linear_probe(f[:150], index[:150], 3)
    warm, cold = linear_probe(f, index, 3, start=few), linear_probe(f, index, 3)
    assert warm.converged and warm.iterations < cold.iterations
    again = linear_probe(f, index, 3, start=warm)
    assert again.iterations == 0 and torch.equal(again.weights.round(decimals=9), warm.weights.round(decimals=9))


def test_a_fit_that_falls_short_says_so_and_does_not_warn(monkeypatch):
    monkeypatch.setattr("analysis.arrays.linear_probe._ITERATIONS", 1)
    monkeypatch.setattr("analysis.arrays.linear_probe._TRIES", 1)
    f, index = samples(100, 20, 5)
    fitted = linear_probe(f, index, 5)
    assert not fitted.converged and ratio(fitted, f, index) == pytest.approx(fitted.gradient, rel=1e-6)


def test_a_fit_goes_on_where_the_last_one_stopped(monkeypatch):
    f, index = samples(100, 20, 5)
    needed = linear_probe(f, index, 5).iterations
    monkeypatch.setattr("analysis.arrays.linear_probe._ITERATIONS", -(-needed // 3))
    assert linear_probe(f, index, 5).converged


def test_blocks_of_rows_change_nothing(monkeypatch):
    f, index = samples(50, 7, 3)
    weights = torch.randn(3, 7).double()
    fitted = Fitted(weights, 0.0, 0)
    whole, classes = gradient(weights, f, index, 0.1), predicted(fitted, f)
    monkeypatch.setattr("analysis.arrays.linear_probe._NUMBERS", 1)
    torch.testing.assert_close(gradient(weights, f, index, 0.1), whole)
    assert torch.equal(predicted(fitted, f), classes)


def test_one_shot_of_each_of_many_classes_does_not_warn():
    f, index = samples(60, 20, 60)
    assert linear_probe(f, index, 60).converged


def test_one_class_and_numbers_that_are_none_are_one_line_each():
    f, index = samples(10, 3, 2)
    with pytest.raises(UserError, match="the linear probe of 1 class; at least two are needed"):
        linear_probe(f, torch.zeros(10, dtype=torch.int64), 1)
    f[3, 1] = torch.nan
    with pytest.raises(UserError, match="the linear probe: features that are not finite"):
        linear_probe(f, index, 2)


def test_missing_scikit_learn_is_one_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.linear_model", None)
    with pytest.raises(UserError, match=r"the linear probe needs scikit-learn; .*pip install 'coupled\[evaluation\]'"):
        linear_probe(*samples(10, 3, 2), 2)


def test_what_is_set_inside_is_undone_when_the_last_one_leaves():
    before = list(warnings.filters)
    with alone("this"):
        with alone("this"):
            assert list(warnings.filters) != before
        assert list(warnings.filters) != before
    assert list(warnings.filters) == before
