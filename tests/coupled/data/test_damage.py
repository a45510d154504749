"""Damage drawn at random: a file is refused, or shows the pixels that it showed before."""

from collections import Counter

import numpy as np
import pytest
from picture_bytes import cut, damages, flip, jpegs, parts_of_jpeg, pngs, zeros

from coupled.data import decode
from coupled.data.unfit import Unfit

# A JPEG has no checksum: a bit of these may say something else and make sense.
UNPROTECTED = {"coded pixels", "tables", "headers", "markers and lengths", "colours"}


def outcome(content, whole):
    """ "refused", "same pixels" or "other pixels"; no other exception, no warning."""
    try:
        pixels = decode.pixels(content)
    except Unfit:
        return "refused"
    return "same pixels" if np.array_equal(pixels, whole) else "other pixels"


def _outcomes(files, seed):
    whole = {name: decode.pixels(content) for name, content in files.items()}
    for name, harm, place, content in damages(files, 2000, seed):
        yield name, harm, place, outcome(content, whole[name])


@pytest.mark.parametrize("seed", [1, 2])
def test_no_damaged_png_shows_other_pixels(seed):
    counts = Counter()
    for name, harm, place, seen in _outcomes(pngs(), seed):
        assert seen != "other pixels", (name, harm.__name__, place)
        counts[harm, seen] += 1
    assert all(counts[harm, "refused"] > 200 and counts[harm, "same pixels"] > 5 for harm in (flip, cut, zeros))


@pytest.mark.parametrize("seed", [1, 2])
def test_of_damaged_jpegs_only_those_with_a_flipped_bit_show_other_pixels(seed):
    files, counts = jpegs(), Counter()
    parts = {name: parts_of_jpeg(content) for name, content in files.items()}
    for name, harm, place, seen in _outcomes(files, seed):
        part = parts[name][place]
        assert seen != "other pixels" or (harm is flip and part in UNPROTECTED), (name, harm.__name__, place, part)
        counts[harm, seen] += 1
    assert counts[cut, "refused"] > 400 and counts[zeros, "refused"] > 400
    assert counts[flip, "refused"] > 100 and counts[flip, "other pixels"] > 100
