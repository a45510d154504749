"""The sums behind CKA and RSA: what they are, that they add, and that they never hold a float64 copy of the input."""

from dataclasses import fields
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from coupled.errors import UserError
from coupled.theory import moments
from coupled.theory.alignment import cka_of, rsa_of
from coupled.theory.moments import Moments

pytestmark = [pytest.mark.kernels, pytest.mark.threads]


def pair(seed, n=12, d=3, e=4, batch=()):
    generator = torch.Generator().manual_seed(seed)
    return (torch.randn(*batch, n, width, generator=generator, dtype=torch.float64) + 1 for width in (d, e))


def shifts(d=3, e=4):
    return torch.linspace(0.5, 1, d).double(), torch.linspace(1, 2, e).double()


def assert_close(a, b, tolerance=1e-12):
    for field in fields(Moments):
        one, other = (torch.as_tensor(getattr(m, field.name)).double() for m in (a, b))
        assert torch.allclose(one, other, rtol=tolerance, atol=tolerance), field.name


@pytest.mark.parametrize("unit", [False, True])
def test_every_sum_is_the_literal_one(unit):
    x, y = pair(0)
    sums = Moments.of(x, y, *shifts(), unit=unit)
    literal = dict.fromkeys(("xy", "xx", "yy", "x", "y", "q", "u", "qu", "qq", "uu", "qx", "qy", "ux", "uy"), 0.0)
    for a, b in zip(x, y, strict=True):
        a, b = ((t / t.norm() if unit else t) - shift for t, shift in zip((a, b), shifts(), strict=True))
        q, u = a @ a, b @ b
        outer = {"xy": torch.outer(a, b), "xx": torch.outer(a, a), "yy": torch.outer(b, b)}
        plain = {"x": a, "y": b, "q": q, "u": u, "qu": q * u, "qq": q * q, "uu": u * u}
        for name, term in (outer | plain | {"qx": q * a, "qy": q * b, "ux": u * a, "uy": u * b}).items():
            literal[name] = literal[name] + term
    assert sums.n == 12
    for name, value in literal.items():
        assert torch.allclose(getattr(sums, name), value, rtol=0, atol=1e-12), name


@given(seed=st.integers(0, 10**6), cuts=st.sets(st.integers(0, 12), max_size=4), unit=st.booleans())
def test_moments_add_over_shards_in_any_split_and_order(seed, cuts, unit):
    x, y = pair(seed)
    edges = [0, *sorted(cuts), 12]
    rows = [slice(a, b) for a, b in pairwise(edges)]
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed)).tolist()
    parts = [Moments.of(x[rows[i]], y[rows[i]], *shifts(), unit=unit) for i in order]
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    assert_close(total, Moments.of(x, y, *shifts(), unit=unit))


def test_samples_can_be_taken_out_again():
    x, y = pair(1)
    rest = Moments.of(x, y, *shifts()) - Moments.of(x[:5], y[:5], *shifts())
    assert_close(rest, Moments.of(x[5:], y[5:], *shifts()))


def test_moments_about_other_shifts_are_refused():
    x, y = pair(2)
    one = Moments.of(x, y, *shifts())
    for change in ((1, 0), (0, 1)):
        other = Moments.of(x, y, *(s + c for s, c in zip(shifts(), change, strict=True)))
        with pytest.raises(UserError, match="equal shifts"):
            one + other
        with pytest.raises(UserError, match="equal shifts"):
            one - other


def test_shifts_that_are_not_a_number_are_equal_where_both_are():
    # One bad step of a batch must not refuse the sums of the others.
    x, y = pair(9, batch=(3,))
    clean = Moments.about_mean(x, y)
    clean = clean - Moments.of(x[:, :5], y[:, :5], clean.shift_x, clean.shift_y)
    x[1, 2, 0] = torch.nan
    total = Moments.about_mean(x, y)
    rest = total - Moments.of(x[:, :5], y[:, :5], total.shift_x, total.shift_y)
    assert torch.equal(rest.xy[[0, 2]], clean.xy[[0, 2]]) and rest.xy[1].isnan().any()
    with pytest.raises(UserError, match="equal shifts"):
        total + clean


def test_moments_of_unit_rows_do_not_add_to_others():
    x, y = pair(3)
    with pytest.raises(UserError, match="same kind"):
        Moments.of(x, y, *shifts()) + Moments.of(x, y, *shifts(), unit=True)


@pytest.mark.parametrize("unit", [False, True])
def test_cka_and_rsa_do_not_depend_on_the_shift(unit):
    x, y = pair(4)
    function = rsa_of if unit else cka_of
    values = [function(Moments.of(x, y, a, b, unit=unit)).value.item() for a, b in (shifts(), (x.mean(0), y.mean(0)))]
    assert values[0] == pytest.approx(values[1], abs=1e-12)


def test_few_samples_have_no_alignment():
    x, y = pair(5, n=3)
    assert cka_of(Moments.about_mean(x, y)).value.isnan() and cka_of(Moments.about_mean(x[:2], y[:2])).value.isnan()
    assert not cka_of(Moments.about_mean(x, y), debiased=False).value.isnan()
    assert rsa_of(Moments.about_mean(x[:2], y[:2], unit=True)).value.isnan()


@pytest.mark.parametrize("unit", [False, True])
def test_samples_in_many_features_are_the_same_in_few(unit):
    x, _ = pair(8, n=6, d=40)
    narrowed = moments.narrow(x, unit=unit)
    kept = x if unit else x - x.mean(0)
    assert narrowed.shape == (6, 6) and torch.allclose(narrowed @ narrowed.T, kept @ kept.T, rtol=0, atol=1e-12)
    few = x[:, :6]
    assert moments.narrow(few, unit=unit) is few


def test_rows_go_through_in_pieces_and_the_pieces_do_not_show(monkeypatch):
    x, y = pair(6, n=200, batch=(2,))
    whole = Moments.about_mean(x.float(), y.float())
    held, rows = [], moments._rows
    monkeypatch.setattr(moments, "_CHUNK_NUMBERS", 2 * 7 * 64)
    monkeypatch.setattr(moments, "_rows", lambda t, unit: held.append(t.shape[-2]) or rows(t, unit))
    assert_close(Moments.about_mean(x.float(), y.float()), whole)
    assert max(held) < 200 and sum(held) == 4 * 200


def test_a_zero_row_has_similarity_zero_with_every_other():
    x, y = pair(7)
    x[3] = 0
    a, b = (torch.nn.functional.normalize(t, dim=-1) for t in (x, y))
    upper = torch.ones(12, 12).triu(1).bool()
    literal = torch.corrcoef(torch.stack([(a @ a.T)[upper], (b @ b.T)[upper]]))[0, 1]
    assert rsa_of(Moments.about_mean(x, y, unit=True)).value == pytest.approx(literal.item(), abs=1e-12)
