"""The compiled views of CPUs against the operators of any device: the same bytes, whatever is asked of them."""

import itertools
import multiprocessing
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from coupled.address import Purpose
from coupled.views import (
    RECIPES,
    Blur,
    Boxes,
    Colours,
    Recipe,
    apply,
    draw,
    fused,
    operators,
    view_words,
)
from coupled.views import recipe as recipe_named

pytestmark = pytest.mark.kernels
MEAN_AND_STD = torch.tensor([[0.49, 0.48, 0.45], [0.25, 0.24, 0.26]])
MEAN, STD = MEAN_AND_STD.tolist()
EVERYTHING = Recipe((0.05, 1.0), (1 / 8, 8.0), 0.5, (0.9, 0.9, 0.9, 0.5), 0.8, 0.3, Blur(5, (0.1, 2.0), 0.5))
# height, width, side of a view: upscaled, shrunk, odd, single pixels, and large enough to be cut out first
SIZES = [(28, 28, 24), (32, 32, 32), (30, 47, 33), (64, 64, 64), (5, 7, 31), (96, 60, 11), (1, 9, 3), (190, 250, 96)]


def some_images(n, height, width):
    """A third noise, a third black and white, a third black but for a few pixels: sums that a rounding shows in."""
    noise = torch.randint(0, 256, (n, 3, height, width), generator=torch.Generator().manual_seed(height))
    noise[1::3] = noise[1::3] // 128 * 255
    noise[2::3] = noise[2::3].where(noise[2::3] > 230, 0)
    return noise.to(torch.uint8)


def some_crops(n, size):
    """Noise, exact greys, and saturated corners."""
    crops = torch.rand(n, 3, size, size, generator=torch.Generator().manual_seed(size))
    crops[1::3] = crops[1::3, :1]
    crops[2::3] = crops[2::3].round()
    return crops


def some_parameters(n, height, width, recipe=EVERYTHING):
    return draw(recipe, view_words(1, Purpose.VIEW, torch.arange(n), 0, 0), height, width)


def some_colours(n, **changed):
    drawn = vars(some_parameters(n, 32, 32))
    return Colours(**{name: changed.get(name, drawn[name]) for name in Colours.__dataclass_fields__})


def finished(crops, colours):
    return operators.finish(crops, colours, torch.tensor([MEAN, STD]))


def same_bytes(a, b):
    return a.shape == b.shape and a.dtype == b.dtype and a.numpy().tobytes() == b.numpy().tobytes()


def digest():
    images, parameters = some_images(12, 40, 40), some_parameters(12, 40, 40)
    return hash(apply(images, parameters, size=32, mean=MEAN, std=STD).numpy().tobytes())


@pytest.mark.parametrize("recipe", [*RECIPES, "everything"])
@pytest.mark.parametrize(("height", "width", "size"), SIZES)
def test_whole_views_have_the_bytes_of_the_operators(height, width, size, recipe):
    chosen = EVERYTHING if recipe == "everything" else recipe_named(recipe, 224 if size > 90 else 32)
    images, parameters = some_images(30, height, width), some_parameters(60, height, width, chosen)
    parameters.kernel.clamp_(max=2 * ((size - 1) // 2) + 1)
    ours = apply(images, parameters, size=size, mean=MEAN, std=STD)
    assert same_bytes(ours, finished(operators.crop_resize(images, parameters, size), parameters))


@given(size=st.integers(1, 40), length=st.integers(1, 130), cut=st.booleans(), data=st.data())
def test_any_crop_box_has_the_bytes_of_the_operators(size, length, cut, data):
    starts = torch.tensor(data.draw(st.lists(st.integers(0, 20), min_size=6, max_size=6)))
    lengths, flips = torch.full((6,), length), torch.arange(6) % 2 == 1
    images = some_images(3, 150, 150)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(operators, "_LARGE", 0 if cut else 1 << 20)
        boxes = Boxes(starts, starts.flip(0), lengths, lengths.flip(0), flips)
        assert same_bytes(fused.crop_resize(images, boxes, size), operators.crop_resize(images, boxes, size))


@pytest.mark.parametrize("cut", [False, True])
def test_a_weight_that_is_but_a_rounding_is_kept_where_the_operators_keep_it(cut, monkeypatch):
    """122 px to 6: centres lie on the edge of a triangle, and whether their weight is 0 or 1e-17 is the window's doing.

    Image k is black but for column 6k + i of row i, and rows are neither shrunk nor blended: each weight is a pixel.
    """
    monkeypatch.setattr(operators, "_LARGE", 0 if cut else 1 << 20)
    images = (torch.eye(150)[:, :, None].expand(-1, -1, 3).view(25, 6, 150, 3).permute(0, 3, 1, 2) * 255).byte()
    boxes = Boxes(*(torch.full((25,), value) for value in (0, 3, 6, 122)), torch.zeros(25, dtype=torch.bool))
    ours = fused.crop_resize(images, boxes, 6)
    assert same_bytes(ours, operators.crop_resize(images, boxes, 6)) and (ours[ours > 0] < 1e-15).any() == cut


def test_an_image_of_any_strides_has_the_same_bytes():
    images, parameters = some_images(4, 30, 40), some_parameters(8, 30, 40)
    strided = images.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)
    assert not strided.is_contiguous()
    assert same_bytes(fused.crop_resize(strided, parameters, 24), fused.crop_resize(images, parameters, 24))


@pytest.mark.parametrize("size", [1, 2, 7, 24, 33])
def test_every_order_of_the_jitter_has_the_bytes_of_the_operators(size):
    orders = torch.tensor(list(itertools.permutations(range(4)))).repeat(3, 1)
    every = torch.ones(72, dtype=torch.bool)
    colours = some_colours(72, order=orders, jittered=every, blurred=~every)
    crops = some_crops(72, size)
    assert same_bytes(fused.finish(crops, colours, MEAN_AND_STD), finished(crops, colours))


@pytest.mark.parametrize("factors", [(0.0, 0.0, 0.0, -0.5), (1.0, 1.0, 1.0, 0.0), (1.9, 1.9, 1.9, 0.5)])
def test_the_ends_of_the_factors_have_the_bytes_of_the_operators(factors):
    colours = some_colours(48, factors=torch.tensor([factors], dtype=torch.float64).repeat(48, 1))
    crops = some_crops(48, 29)
    assert same_bytes(fused.finish(crops, colours, MEAN_AND_STD), finished(crops, colours))


@given(size=st.integers(1, 70), sigma=st.floats(0.05, 9), share=st.floats(0, 1))
def test_any_blur_has_the_bytes_of_the_operators(size, sigma, share):
    """The widest kernel that can be mirrored among them."""
    kernel = 2 * int(share * (size - 1)) + 1
    colours = some_colours(9, kernel=torch.full((9,), kernel), sigma=torch.full((9,), sigma, dtype=torch.float64))
    colours.blurred[:3] = True
    crops = some_crops(9, size)
    assert same_bytes(fused.finish(crops, colours, MEAN_AND_STD), finished(crops, colours))


def test_the_mean_of_a_large_view_is_that_of_the_operators():
    """Tens of thousands of terms, summed in blocks of any size but by halves: 223² leaves one over at every other."""
    colours = some_colours(3, order=torch.tensor([[1, 0, 2, 3]] * 3), jittered=torch.ones(3, dtype=torch.bool))
    for size in (223, 224):
        crops = some_crops(3, size)
        assert same_bytes(fused.finish(crops, colours, MEAN_AND_STD), finished(crops, colours))


def test_no_views_are_no_views():
    ours = apply(some_images(0, 9, 9), some_parameters(1, 9, 9)[:0], size=8, mean=MEAN, std=STD)
    assert ours.shape == (0, 3, 8, 8)


@pytest.mark.parametrize("threads", [2, 3, 16])
def test_threads_that_share_the_views_change_no_byte(threads, monkeypatch):
    images, parameters = some_images(7, 40, 40), some_parameters(14, 40, 40)
    one, shares = apply(images, parameters, size=32, mean=MEAN, std=STD), []
    torch.set_num_threads(threads)
    monkeypatch.setattr(fused, "_WORTH", 1)
    assert same_bytes(apply(images, parameters, size=32, mean=MEAN, std=STD), one)
    fused._share(lambda start, stop: shares.append((start, stop)), one)
    assert sorted(shares)[0][0] == 0 and sorted(shares)[-1][1] == 14 and len(shares) == min(threads, 14)


def test_a_forked_process_makes_the_same_views(monkeypatch):
    """After its parent has made views with threads; loader workers are such processes, with one thread each."""
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)  # not torch's own, which no fork survives
    monkeypatch.setattr(fused, "_WORTH", 1)
    expected, context = digest(), multiprocessing.get_context("fork")
    queue = context.SimpleQueue()
    child = context.Process(target=lambda: queue.put(digest()))
    child.start()
    child.join(60)
    assert child.exitcode == 0 and queue.get() == expected


@pytest.mark.parametrize("change", ["top", "left", "height", "width"])
def test_a_crop_box_outside_its_image_is_refused(change):
    parameters = some_parameters(2, 30, 40)
    for value in (-1, 41):
        getattr(parameters, change)[1] = value
        with pytest.raises(AssertionError, match="a crop box"):
            fused.crop_resize(some_images(2, 30, 40), parameters, 8)


def test_crops_and_colours_that_do_not_match_are_refused():
    with pytest.raises(AssertionError, match="3 rows of colours for 2 views"):
        fused.finish(some_crops(2, 8), some_colours(3), MEAN_AND_STD)
    with pytest.raises(AssertionError, match="crops are float32"):
        fused.finish(some_crops(3, 8).double(), some_colours(3), MEAN_AND_STD)


def test_commands_that_make_no_view_do_not_load_numba():
    code = "import sys, coupled.commands, coupled.views as v; assert 'numba' not in sys.modules; v.load_kernels()"
    subprocess.run([sys.executable, "-c", code + "; assert 'numba' in sys.modules"], check=True)


def test_code_that_can_be_kept_nowhere_is_compiled_all_the_same():
    """numba finds no place for the code of a function that has no file, as for one whose directories are read-only."""
    from coupled.compiling import kernel

    names = {}
    exec("def double(row):\n    for i in range(len(row)):\n        row[i] *= 2", names)
    row = np.arange(3, dtype=np.float32)
    kernel("void(float32[::1])")(names["double"])(row)
    assert row.tolist() == [0, 2, 4]
