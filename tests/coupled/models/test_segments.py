"""Sums over the layers of flat vectors, in both ways that they are taken, against sums that are rounded once."""

import math
from itertools import chain

import pytest
import torch
from helpers import Operations

from coupled.models import layer_sums, segments
from coupled.models.flat import Segment
from coupled.models.segments import Segments, Sum, Vectors

CPU = torch.device("cpu")
# Elements of layers: less than a row of lanes, whole rows, rows and a part, more than two blocks.
SIZES = (1, 3, 16, 250, 256, 300, 1024, 5000, 2 * segments.BLOCK + 700)
TERMS = {
    Sum.SQUARES: lambda w, a, w_0, a_0: w * w,
    Sum.DISTANCES: lambda w, a, w_0, a_0: (w - a) ** 2,
    Sum.RADIAL: lambda w, a, w_0, a_0: (w - a) * (w + a),
    Sum.OPPOSITE: lambda w, a, w_0, a_0: (w + a) ** 2,
    Sum.MOVED: lambda w, a, w_0, a_0: (w - w_0) ** 2,
    Sum.ALONG: lambda w, a, w_0, a_0: (w - w_0) * (a - a_0),
}
# float32 vectors by the compiled pass and by operations, float64 ones by operations.
WAYS = [(torch.float32, True), (torch.float32, False), (torch.float64, False)]


def layout(dtype, sizes=SIZES):
    step = 64 // dtype.itemsize
    stops = [0]
    for size in sizes:
        stops.append(stops[-1] + -(-size // step) * step)
    return [
        Segment(str(i), (size,), start, start + size, stop)
        for i, (size, start, stop) in enumerate(zip(sizes, stops, stops[1:], strict=False))
    ]


def drawn(layers, dtype, count=4):
    """Vectors that are close to one another, longer than their layers, with padding."""
    generator, size = torch.Generator().manual_seed(0), layers[-1].padded_stop
    flats = torch.zeros(count, size + 32, dtype=torch.float64)
    common = torch.randn(size, generator=generator, dtype=torch.float64)
    for layer in layers:
        shape = (count, layer.stop - layer.start)
        nearby = 0.1 * torch.randn(shape, generator=generator, dtype=torch.float64)
        flats[:, layer.start : layer.stop] = common[layer.start : layer.stop] + nearby
    return Vectors(*flats.to(dtype))


def bits(tensor):
    return tensor.numpy().tobytes()


@pytest.mark.parametrize(("dtype", "compiled"), WAYS)
def test_every_sum_is_its_formula_element_by_element(monkeypatch, dtype, compiled):
    monkeypatch.setattr(segments, "is_compiled", lambda flat: compiled)
    layers = layout(dtype)
    vectors = drawn(layers, dtype)
    sums = Segments(layers, CPU).sums(vectors, Sum)
    for i, layer in enumerate(layers):
        own = [flat[layer.start : layer.stop].double() for flat in vectors]
        for kind, term in TERMS.items():
            terms = term(*own).tolist()
            # Each is rounded as it is added, and no sum is added to more often than there are elements; on both sides
            # the factors and their product were rounded alike.
            bound = len(terms) * 2.0**-53 * math.fsum(map(abs, terms))
            assert abs(sums[kind][i].item() - math.fsum(terms)) <= bound, (layer, kind)


def test_compiled_sums_have_all_digits_but_the_last():
    layers = layout(torch.float32, (200_000,))
    vectors = drawn(layers, torch.float32)
    sums = Segments(layers, CPU).sums(vectors, Sum)
    for kind, term in TERMS.items():
        terms = term(*(flat[:200_000].double() for flat in vectors)).tolist()
        # 64 additions to a lane, 8 of lanes, 13 of blocks: 1e-14 if all were rounded alike.
        assert abs(sums[kind].item() - math.fsum(terms)) <= 1e-15 * math.fsum(map(abs, terms)), kind


# Those of streams alone and together: every set is compiled by itself.
SETS = [{Sum.SQUARES}, {Sum.DISTANCES}, {Sum.SQUARES, Sum.DISTANCES}, {Sum.MOVED, Sum.ALONG}, {Sum.SQUARES, Sum.MOVED}]


@pytest.mark.parametrize("wanted", SETS)
@pytest.mark.parametrize(("dtype", "compiled"), WAYS)
def test_a_sum_does_not_depend_on_what_else_is_taken(monkeypatch, dtype, compiled, wanted):
    monkeypatch.setattr(segments, "is_compiled", lambda flat: compiled)
    layers = layout(dtype)
    vectors, of, copy = drawn(layers, dtype), Segments(layers, CPU), torch.empty(layers[-1].padded_stop, dtype=dtype)
    alone, every = of.sums(vectors, wanted), of.sums(vectors, Sum, copy)
    assert {kind: bits(row) for kind, row in alone.items()} == {kind: bits(every[kind]) for kind in wanted}
    assert bits(copy) == bits(vectors.own[: len(copy)])


@pytest.mark.parametrize("threads", [2, 3, 16])
def test_a_sum_does_not_depend_on_threads(monkeypatch, threads):
    monkeypatch.setattr(layer_sums, "_WORTH", 2000)
    layers = layout(torch.float32)
    vectors, copy = drawn(layers, torch.float32), torch.zeros(layers[-1].padded_stop)
    one = Segments(layers, CPU).sums(vectors, Sum)
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    several = Segments(layers, CPU).sums(vectors, Sum, copy)
    assert list(map(bits, several.values())) == list(map(bits, one.values()))
    assert bits(copy) == bits(vectors.own[: len(copy)])


@pytest.mark.parametrize(("dtype", "compiled"), WAYS)
def test_what_is_equal_is_at_distance_0_and_what_is_opposite_has_no_total(monkeypatch, dtype, compiled):
    monkeypatch.setattr(segments, "is_compiled", lambda flat: compiled)
    layers = layout(dtype)
    w, of = drawn(layers, dtype, 1).own, Segments(layers, CPU)
    equal, opposite = of.sums(Vectors(w, w.clone(), w, w), Sum), of.sums(Vectors(w, -w), [Sum.RADIAL, Sum.OPPOSITE])
    zero = [equal[kind] for kind in (Sum.DISTANCES, Sum.RADIAL, Sum.MOVED, Sum.ALONG)]
    assert not any(row.any() for row in chain(zero, opposite.values()))
    assert bits(of.squares(w)) == bits(equal[Sum.SQUARES])


def test_a_sum_needs_its_vectors():
    layers = layout(torch.float32)
    with pytest.raises(AssertionError, match="missing"):
        Segments(layers, CPU).sums(Vectors(drawn(layers, torch.float32).own), [Sum.DISTANCES])


def test_values_are_spread_over_layers_and_their_padding():
    layers = layout(torch.float32)
    spread = Segments(layers, CPU).spread(torch.arange(len(layers)))
    assert all(bool((spread[s.start : s.padded_stop] == i).all()) for i, s in enumerate(layers))
    assert spread.shape == (layers[-1].padded_stop,)


def test_all_sums_of_a_step_are_few_operations_on_a_gpu_none_of_which_waits(monkeypatch):
    monkeypatch.setattr(segments, "is_compiled", lambda flat: False)
    layers = layout(torch.float32)
    vectors, of, copy = drawn(layers, torch.float32), Segments(layers, CPU), torch.empty(layers[-1].padded_stop)
    for _ in range(2):  # what all steps share is made by the first
        with Operations() as seen:
            of.sums(vectors, Sum, copy)
            of.distances(vectors.own, copy).sqrt()
    launches = [name for name in seen.names if name.split(".")[1] not in ("slice", "view", "unbind", "detach")]
    assert len(launches) <= 30, launches
    assert not [name for name in launches if "_local_scalar" in name or "nonzero" in name or "lift" in name]
