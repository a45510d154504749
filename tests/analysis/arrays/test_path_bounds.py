"""Path bounds: theorems on random smooth problems, literal recursions, and one that fails with momentum."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.arrays import path_bounds

STEPS, SIZE = 40, 6


def problem(seed, spread):
    """Two smooth losses' gradients at w: of random tanh units, the same but for their targets."""
    rng = np.random.default_rng(seed)
    weights, targets = rng.normal(size=(9, SIZE)), rng.normal(size=9)
    others = targets + spread * rng.normal(size=9)

    def gradient(w, wanted):
        out = np.tanh(weights @ w)
        return weights.T @ ((out - wanted) * (1 - out**2)) / len(out)

    return lambda w: gradient(w, targets), lambda w: gradient(w, others), rng.normal(size=SIZE)


def trained(seed, *, spread=0.1, momentum=0.0, decay=0.0, rate=0.3, kicks=0.0, apart=0.0):
    """The path of a reference and an arm under SGD, literally; `apart`: distance at the start."""
    of_reference, of_arm, start = problem(seed, spread)
    rng = np.random.default_rng(seed + 1)
    w, u = start.copy(), start + apart * rng.normal(size=SIZE)
    m, n = np.zeros(SIZE), np.zeros(SIZE)
    rates = rate * 0.5 * (1 + np.cos(np.pi * np.arange(STEPS) / STEPS))
    rows, distance, added = [], [np.linalg.norm(w - u)], [0.0]
    for eta in rates:
        a, b = of_reference(w) - of_reference(u), of_reference(u) - of_arm(u)
        d, v = w - u, m - n
        rows.append([np.linalg.norm(a), np.linalg.norm(b), a @ d, np.linalg.norm(v), d @ v, a @ v])
        m, n = momentum * m + of_reference(w) + decay * w, momentum * n + of_arm(u) + decay * u
        kick = kicks * rng.normal(size=SIZE)
        w, u = w - eta * m, u - eta * n + kick
        distance.append(np.linalg.norm(w - u))
        added.append(np.linalg.norm(kick))
    names = ("instability", "objective", "instability_distance", "buffer", "buffer_distance", "buffer_instability")
    columns = dict(zip(names, np.array(rows).T, strict=True))
    return path_bounds.Path(
        rates=rates, distance=np.array(distance), added=np.array(added), momentum=momentum, decay=decay, **columns
    )


def holds(bound, path):
    # Distances and bounds are sums of some ten rounded terms a step.
    return bool((bound >= path.distance * (1 - 1e-12) - 1e-14).all())


ANY = {
    "seed": st.integers(0, 10_000),
    "spread": st.floats(0, 1),
    "decay": st.floats(0, 0.2),
    "rate": st.floats(1e-3, 1),
    "kicks": st.sampled_from([0.0, 1e-3, 0.1]),
    "apart": st.sampled_from([0.0, 1e-6, 0.3]),
}


@settings(max_examples=60, deadline=None)
@given(**ANY, momentum=st.floats(0, 0.99), scale=st.floats(1e-3, 10))
def test_along_and_joint_hold_with_momentum_decay_and_kicks(scale, **options):
    path = trained(**options)
    assert holds(path_bounds.along(path), path)
    assert holds(path_bounds.joint(path), path)
    assert holds(path_bounds.joint(path, scale), path)


@settings(max_examples=60, deadline=None)
@given(**ANY)
def test_contracted_holds_without_momentum_and_is_no_larger_than_along(**options):
    path = trained(**options)
    bound = path_bounds.contracted(path)
    assert holds(bound, path)
    assert (bound <= path_bounds.along(path) * (1 + 1e-12)).all()


def test_contracted_would_be_false_with_momentum_and_is_refused():
    path = trained(3, momentum=0.9, rate=0.1)
    with pytest.raises(AssertionError, match="false with momentum"):
        path_bounds.contracted(path)
    assert not holds(path_bounds.contracted(replace(path, momentum=0.0)), path)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), spread=st.floats(0, 1), rate=st.floats(1e-3, 1))
def test_the_exponential_form_holds_on_the_path_that_it_was_read_from(seed, spread, rate):
    path = trained(seed, spread=spread, rate=rate)
    assert holds(path_bounds.exponential(path), path)
    assert (path_bounds.exponential(path) >= path_bounds.along(path) * (1 - 1e-12)).all()


def test_joint_is_the_literal_recursion():
    path = trained(5, momentum=0.8, decay=0.05, kicks=0.01)
    of_reference, of_arm, start = problem(5, 0.1)
    s, bound = 0.1 * path.rates[0], [0.0]
    rng = np.random.default_rng(6)
    rng.normal(size=SIZE)
    w, u, m, n = start.copy(), start.copy(), np.zeros(SIZE), np.zeros(SIZE)
    for t, eta in enumerate(path.rates):
        a, b = of_reference(w) - of_reference(u), of_reference(u) - of_arm(u)
        d, v = w - u, m - n
        q = 0.8 * v + a + 0.05 * d
        before = np.sqrt(d @ d + s**2 * (v @ v))
        rho = np.sqrt((d - eta * q) @ (d - eta * q) + s**2 * (q @ q)) / before if before else 0.0
        bound.append(rho * bound[-1] + np.linalg.norm(b) * np.sqrt(eta**2 + s**2) + path.added[t + 1])
        m, n = 0.8 * m + of_reference(w) + 0.05 * w, 0.8 * n + of_arm(u) + 0.05 * u
        w, u = w - eta * m, u - eta * n + 0.01 * rng.normal(size=SIZE)
    np.testing.assert_allclose(path_bounds.joint(path), bound, rtol=1e-9)


def test_with_one_loss_from_one_start_every_bound_is_0():
    path = trained(1, spread=0.0, momentum=0.9)
    for bound in (path_bounds.along(path), path_bounds.joint(path), path_bounds.exponential(path)):
        assert not bound.any()


def test_a_distance_that_no_ledger_explains_breaks_the_bounds():
    path = trained(2)
    stretched = replace(path, distance=path.distance * 100)
    assert not holds(path_bounds.along(path), stretched)
    assert not holds(path_bounds.joint(path), stretched)


def test_the_first_state_above_a_limit():
    assert path_bounds.first_above(np.array([0.0, 1.0, 3.0]), np.array([0.0, 2.0, 2.0])) == 2
    assert path_bounds.first_above(np.array([0.0, 1.0]), np.array([0.0, 2.0])) is None
