"""The ledger's pass: compiled and in operations it is one thing, and that is what its formulas say."""

import itertools

import numpy as np
import pytest
import torch

from coupled.models import ledger_sums
from coupled.models.flat import segments_of
from coupled.models.ledger_passes import Passing, Product, Rates, Vectors, in_operations, ledger_pass
from coupled.models.segments import Segments

CPU = torch.device("cpu")
# One layer larger than a block, one smaller than a lane, one of a single number.
SHAPES = {"large": (150, 130), "small": (7, 3), "one": (1,)}
RATES = Rates(learning_rate=0.1, momentum=0.9, decay=0.01)
EVERY = [Passing(*flags) for flags in itertools.product([False, True], repeat=5) if flags[2] or not any(flags[3:])]


def layout(dtype):
    return segments_of([(name, torch.empty(shape)) for name, shape in SHAPES.items()], dtype)


def vectors_of(dtype, about):
    """Random vectors, each in memory of its own; those that a pass is not about are None."""
    generator, segments = torch.Generator().manual_seed(0), layout(dtype)
    m, g, s = about.momentum, about.gradients, about.split
    needed = [True, m, g, g, True, m, g, about.apart, about.apart, s and m, s and m, s, s, about.moves]
    flats = []
    for here in needed:
        flat = torch.zeros(segments[-1].padded_stop, dtype=dtype)
        for segment in segments:
            flat[segment.start : segment.stop] = torch.randn(segment.stop - segment.start, generator=generator)
        flats.append(flat if here else None)
    return Vectors(*flats)


def literal(vectors, about, dtype):
    """Every product of every layer in float64, one by one."""
    wide = {name: None if flat is None else flat.double().numpy() for name, flat in vectors._asdict().items()}
    zero = np.zeros_like(wide["weights"])
    d = wide["reference"] - wide["weights"]
    v = wide["reference_momentum"] - wide["momentum"] if about.momentum else zero
    a = wide["reference_gradient"] - wide["gradient_of_reference"] if about.gradients else zero
    b = wide["gradient_of_reference"] - wide["gradient"] if about.gradients else zero
    d_a, d_b = (wide[name] if about.split else zero for name in ("from_instability", "from_objective"))
    d_0 = wide["reference_start"] - wide["start"] if about.apart else zero
    d_k = wide["moves"] if about.moves else zero
    rest = d - d_a - d_b - d_0 - d_k if about.split else zero
    pairs = [(d, d), (v, v), (d, v), (a, a), (b, b), (a, d), (b, d), (a, b), (a, v), (b, v)]
    pairs += [
        (d_a, d_a),
        (d_b, d_b),
        (d_a, d_b),
        (d_b, d if about.split else zero),
        (d_0, d_0),
        (d_k, d_k),
        (rest, rest),
    ]
    return np.array([[(x * y)[s.start : s.stop].sum() for s in layout(dtype)] for x, y in pairs])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("about", EVERY)
def test_the_pass_sums_what_it_is_defined_as_both_ways(dtype, about):
    segments, vectors = Segments(layout(dtype), CPU), vectors_of(dtype, about)
    expected, again = literal(vectors, about, dtype), vectors_of(dtype, about)
    compiled, operated = (
        torch.stack(list(take(segments, of, about, RATES))).numpy()
        for take, of in ((ledger_pass, vectors), (in_operations, again))
    )
    shown = np.ones(len(Product), bool)
    shown[Product.REST] = about.split  # of no interest else
    np.testing.assert_allclose(compiled[shown], expected[shown], rtol=1e-11, atol=1e-9)
    np.testing.assert_allclose(operated[shown], expected[shown], rtol=1e-11, atol=1e-9)
    for one, other in zip(vectors, again, strict=True):
        assert (one is None and other is None) or torch.equal(one, other)


@pytest.mark.parametrize("momentum", [False, True])
def test_accumulators_take_in_a_step_and_nothing_else_moves(momentum):
    about = Passing(momentum, gradients=True, split=True, apart=True, moves=True)
    before, after = (vectors_of(torch.float64, about) for _ in range(2))
    ledger_pass(Segments(layout(torch.float64), CPU), after, about, RATES)
    a = before.reference_gradient - before.gradient_of_reference + RATES.decay * (before.reference - before.weights)
    b = before.gradient_of_reference - before.gradient
    if momentum:
        a, b = RATES.momentum * before.sum_of_instability + a, RATES.momentum * before.sum_of_objective + b
        assert torch.allclose(after.sum_of_instability, a, rtol=0, atol=1e-14)
        assert torch.allclose(after.sum_of_objective, b, rtol=0, atol=1e-14)
    for name, step in (("from_instability", a), ("from_objective", b)):
        moved = getattr(before, name) - RATES.learning_rate * step
        assert torch.allclose(getattr(after, name), moved, rtol=0, atol=1e-14)
    for name in set(Vectors._fields) - {"sum_of_instability", "sum_of_objective", "from_instability", "from_objective"}:
        one, other = getattr(before, name), getattr(after, name)
        assert (one is None and other is None) or torch.equal(one, other)


def test_a_state_alone_moves_no_accumulator():
    about = Passing(momentum=True, gradients=False, split=True, apart=False, moves=False)
    before, after = (vectors_of(torch.float32, about) for _ in range(2))
    ledger_pass(Segments(layout(torch.float32), CPU), after, about, RATES)
    assert all(
        (one is None and other is None) or torch.equal(one, other) for one, other in zip(before, after, strict=True)
    )


def test_the_compiled_pass_has_as_many_of_everything_as_its_names():
    assert (len(Product), len(Vectors._fields)) == (ledger_sums.COLUMNS, ledger_sums.VECTORS)
    assert len(Passing._fields) == ledger_sums.FLAGS
