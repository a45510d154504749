import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from coupled import address
from coupled.address import Purpose, name_word, normal, permutation, philox, uniform, words

pytestmark = pytest.mark.kernels
ONES = 0xFFFFFFFF


def literal_philox(counter, key):
    """Philox4x32-10 in Python integers, word by word."""
    c, k = list(counter), list(key)
    for _ in range(10):
        p0, p1 = c[0] * 0xD2511F53, c[2] * 0xCD9E8D57
        c = [(p1 >> 32) ^ c[1] ^ k[0], p1 & ONES, (p0 >> 32) ^ c[3] ^ k[1], p0 & ONES]
        k = [(k[0] + 0x9E3779B9) & ONES, (k[1] + 0xBB67AE85) & ONES]
    return c


@pytest.mark.parametrize(
    ("counter", "key", "answer"),
    [
        ((0, 0, 0, 0), (0, 0), "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
        ((ONES,) * 4, (ONES, ONES), "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    ],
)
def test_philox_gives_the_published_known_answers(counter, key, answer):
    drawn = philox(torch.tensor(counter), key)
    assert " ".join(f"{w:08x}" for w in drawn.tolist()) == answer


@given(st.lists(st.integers(0, ONES), min_size=6, max_size=6))
def test_philox_equals_the_literal_one(values):
    assert philox(torch.tensor(values[:4]), (values[4], values[5])).tolist() == literal_philox(values[:4], values[4:])


def test_address_packing_is_what_the_format_page_says():
    seed, a, b, c = (7 << 32) | 5, 11, 13, 17
    expected = literal_philox((0, a, b, (Purpose.VIEW << 24) | c), (5, 7)) + literal_philox(
        (1, a, b, (Purpose.VIEW << 24) | c), (5, 7)
    )
    assert words(seed, Purpose.VIEW, 6, a=a, b=b, c=c).tolist() == expected[:6]


def test_golden_words():
    """These integers define every run: if this fails, old runs can no longer be replayed."""
    assert words(0, Purpose.VIEW, 4, a=3, b=1, c=1).tolist() == [2282107035, 1055850469, 191085384, 1343199620]
    assert permutation(0, Purpose.ORDER, 8, a=2).tolist() == [2, 6, 0, 5, 3, 1, 7, 4]
    assert name_word("encoder.stem.weight") == 616825744


def test_words_do_not_depend_on_which_addresses_are_drawn_together():
    together = words(9, Purpose.VIEW, 5, a=torch.arange(10), b=4)
    alone = torch.stack([words(9, Purpose.VIEW, 5, a=i, b=4) for i in range(10)])
    assert torch.equal(together, alone)
    assert torch.equal(words(9, Purpose.VIEW, 9, a=3)[:5], words(9, Purpose.VIEW, 5, a=3))


def test_words_from_a_later_block_on_are_the_words_there():
    whole = words(9, Purpose.VIEW, 23, a=torch.arange(3), c=1)
    assert torch.equal(words(9, Purpose.VIEW, 15, a=torch.arange(3), c=1, first=8), whole[:, 8:])
    with pytest.raises(AssertionError, match="inside a block"):
        words(9, Purpose.VIEW, 4, first=6)


def test_normal_values_do_not_depend_on_the_chunks_they_are_made_in(monkeypatch):
    whole = normal(2, Purpose.INIT, 1000, a=5, b=1)
    monkeypatch.setattr(address, "_CHUNK", 64)
    assert torch.equal(normal(2, Purpose.INIT, 1000, a=5, b=1), whole)
    pair = words(2, Purpose.INIT, 2000, a=5, b=1).view(1000, 2).tolist()
    literal = [(high * 2**20 + (low >> 12) + 0.5) / 2**52 for high, low in pair]
    # Φ undoes the inverse normal: a few roundings of numbers below 1.
    back = 0.5 * (1 + torch.erf(whole / math.sqrt(2)))
    assert (back - torch.tensor(literal, dtype=torch.float64)).abs().max() < 1e-15


def test_neighbouring_seeds_and_fields_share_no_words():
    """The trap of `seed + index`: (seed 0, item 5) must not equal (seed 5, item 0)."""
    drawn = [words(s, p, 4, a=a).tolist() for s in range(6) for p in (Purpose.VIEW, Purpose.ORDER) for a in range(6)]
    flat = [w for block in drawn for w in block]
    assert len(set(flat)) == len(flat)


def test_permutation_sorts_unsigned_keys():
    block = words(3, Purpose.ORDER, 4 * 50).view(50, 4).tolist()
    literal = sorted(range(50), key=lambda i: (block[i][0] << 32) | block[i][1])
    assert permutation(3, Purpose.ORDER, 50).tolist() == literal


def test_uniform_stays_inside_the_open_interval():
    ends = uniform(torch.tensor([0, ONES]))
    assert 0 < ends[0] < ends[1] < 1


def test_normal_has_the_moments_of_a_standard_normal():
    draws = normal(1, Purpose.INIT, 200_000, a=5)
    n = len(draws)
    # Four standard errors of the mean, variance and fourth moment of a standard normal.
    assert abs(draws.mean()) < 4 / math.sqrt(n)
    assert abs(draws.var() - 1) < 4 * math.sqrt(2 / n)
    assert abs((draws**4).mean() - 3) < 4 * math.sqrt(96 / n)
