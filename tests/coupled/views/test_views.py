import math

import pytest
import torch
from helpers import integers_of
from torchvision.transforms.v2 import functional as tv

from coupled.address import Purpose
from coupled.views import (
    Blur,
    Recipe,
    apply,
    crop,
    draw,
    finish,
    normalise,
    operators,
    plain,
    two_views,
    view_words,
)
from coupled.views import recipe as recipe_named
from coupled.views.operators import _OPERATORS, _of_all, _product, band, crop_resize, recolour, rounds_of
from coupled.views.parameters import BRIGHTNESS, CONTRAST, HUE, SATURATION

pytestmark = pytest.mark.kernels
SIMCLR = recipe_named("simclr-cifar", 32)
STRONG = recipe_named("simclr-imagenet", 224)
MEAN, STD = (0.49, 0.48, 0.45), (0.25, 0.24, 0.26)
ADJUST = {
    BRIGHTNESS: tv.adjust_brightness,
    CONTRAST: tv.adjust_contrast,
    SATURATION: tv.adjust_saturation,
    HUE: tv.adjust_hue,
}
# height, width, side of a view
SIZES = [(28, 28, 24), (32, 32, 32), (30, 47, 32), (64, 64, 64), (23, 23, 31), (96, 60, 20), (190, 250, 224)]


def some_images(n, height=32, width=None):
    generator = torch.Generator().manual_seed(height)
    return torch.randint(0, 256, (n, 3, height, width or height), dtype=torch.uint8, generator=generator)


def some_views(n, size):
    return torch.rand(n, 3, size, size, generator=torch.Generator().manual_seed(size))


def some_of(height, width, recipe=SIMCLR):
    """Images and parameters: fewer of the large ones, which have many pixels each."""
    n = 8 if height > 100 else 60
    return some_images(n, height, width), some_parameters(n, height, width, recipe)


def some_parameters(n, height=32, width=None, recipe=SIMCLR):
    words = view_words(0, Purpose.VIEW, torch.arange(n), 0, 0)
    return draw(recipe, words, height, width or height)


def make(images, parameters, size=24, **given):
    return apply(images, parameters, size=size, mean=MEAN, std=STD, **given)


def same_bytes(a, b):
    return a.shape == b.shape and a.dtype == b.dtype and a.numpy().tobytes() == b.numpy().tobytes()


def tv_crop(image, parameters, i, size):
    box = [int(column[i]) for column in (parameters.top, parameters.left, parameters.height, parameters.width)]
    view = tv.resized_crop(image, *box, [size, size], antialias=True)
    return tv.horizontal_flip(view) if parameters.flip[i] else view


def tv_blur(view, parameters, i):
    kernel, sigma = int(parameters.kernel[i]), float(parameters.sigma[i])
    return tv.gaussian_blur(view, [kernel, kernel], [sigma, sigma]) if parameters.blurred[i] else view


def tv_view(image, parameters, i, size):
    """One whole view by torchvision, cropped in the precision of `image` and without the normalisation."""
    view = tv_crop(image, parameters, i, size).float()
    for operator in parameters.order[i].tolist() if parameters.jittered[i] else []:
        view = ADJUST[operator](view, float(parameters.factors[i, operator]))
    view = tv.rgb_to_grayscale(view, 3) if parameters.grey[i] else view
    return tv_blur(view, parameters, i)


def literal_weights(start, length, pixels, size):
    """The antialiased triangle filter, output by output and pixel by pixel (Pillow's precompute_coeffs)."""
    scale = length / size
    support = max(scale, 1.0)
    matrix = torch.zeros(size, pixels, dtype=torch.float64)
    for j in range(size):
        centre = (j + 0.5) * scale
        first = max(int(centre - support + 0.5), 0)
        last = min(int(centre + support + 0.5), length)
        weights = [max(0.0, 1 - abs((k - centre + 0.5) / support)) for k in range(first, last)]
        for k, weight in zip(range(first, last), weights, strict=True):
            matrix[j, start + k] = weight / sum(weights)
    return matrix


@pytest.mark.parametrize(("pixels", "size"), [(28, 24), (32, 32), (64, 48), (23, 31), (96, 20), (5, 64), (1, 3)])
def test_bands_equal_the_literal_weight_matrix(pixels, size):
    lengths = torch.arange(1, pixels + 1).repeat_interleave(2)
    starts = (pixels - lengths) // torch.tensor([1, 3]).repeat(pixels)
    mirrored = torch.arange(2 * pixels) % 3 == 0
    eye = torch.eye(pixels).expand(2 * pixels, pixels, pixels)
    first, weights = band(starts, lengths, mirrored, pixels, size)
    ours = _product(eye, _of_all(first, len(eye), pixels), weights)
    for matrix, start, length, flip in zip(ours, starts.tolist(), lengths.tolist(), mirrored.tolist(), strict=True):
        literal = literal_weights(start, length, pixels, size)
        # Half a float32 ulp of 1, and float64's rounding of the centre.
        assert (matrix - (literal.flip(0) if flip else literal)).abs().max() < 6.1e-8


@pytest.mark.parametrize(("height", "width", "size"), SIZES)
def test_crop_resize_and_flip_equal_torchvision(height, width, size):
    images, parameters = some_of(height, width)
    ours = crop_resize(images, parameters, size)
    # Against float64: a few roundings of weights and sums. Against float32: torchvision's own rounding of the scale,
    # which moves a centre by up to side·2⁻²⁴ pixels, of a slope of at most 1.
    for dtype, bound in ((torch.float64, 4e-7), (torch.float32, 8e-6 if max(height, width) < 100 else 4e-5)):
        theirs = torch.stack([tv_crop(image.to(dtype) / 255, parameters, i, size) for i, image in enumerate(images)])
        assert (ours - theirs).abs().max() < bound


@pytest.mark.parametrize(("height", "width", "size"), [(28, 28, 24), (30, 47, 32), (60, 96, 20), (5, 7, 31)])
def test_a_view_cut_out_of_its_image_is_the_same_bytes(height, width, size, monkeypatch):
    """Large images are cropped one view at a time, from the crop box alone; it changes the speed only."""
    images, parameters = some_of(height, width)
    whole = crop_resize(images, parameters, size)
    monkeypatch.setattr(operators, "_LARGE", 0)
    assert same_bytes(crop_resize(images, parameters, size), whole)


@pytest.mark.parametrize("size", [32, 64, 224])
@pytest.mark.parametrize(("operator", "bound"), [(BRIGHTNESS, 0), (CONTRAST, 4e-7), (SATURATION, 3e-7), (HUE, 2e-6)])
def test_a_jitter_operator_equals_torchvision(operator, bound, size):
    """Contrast: torchvision's mean rounds more the more pixels there are. Hue is the loosest: torchvision goes through
    hue in turns, where one ulp is worth six times as much.
    """
    views = crop_resize(some_images(24), some_parameters(24), size)
    views[:4] = views[:4].mean(1, keepdim=True).round(decimals=1)  # exact greys, black and white among them
    views[4:8] = views[4:8].round()  # saturated corners
    factors = some_parameters(24, recipe=Recipe(jitter=(0.9, 0.9, 0.9, 0.5), jitter_probability=1)).factors[:, operator]
    theirs = torch.stack([ADJUST[operator](view, float(factor)) for view, factor in zip(views, factors, strict=True)])
    _OPERATORS[operator](views, factors.float()[:, None, None, None])
    assert (views - theirs).abs().max() <= bound


def test_grey_equals_torchvision():
    views = crop_resize(some_images(20), some_parameters(20), 32)
    parameters = some_parameters(20, recipe=Recipe(grey_probability=1.0))
    assert (recolour(views, rounds_of(parameters)) - tv.rgb_to_grayscale(views, 3)).abs().max() < 3e-7


@pytest.mark.parametrize("recipe", [SIMCLR, STRONG])
@pytest.mark.parametrize(("height", "width", "size"), SIZES)
def test_whole_views_equal_torchvision(height, width, size, recipe):
    """From torchvision's float64 crop on, so that what is compared is not the rounding of its scale."""
    images, parameters = some_of(height, width, recipe)
    kernel = min(23, size // 2 * 2 - 1)
    parameters.kernel.fill_(kernel)
    ours = make(images, parameters, size)
    theirs = torch.stack([tv_view(image.double() / 255, parameters, i, size) for i, image in enumerate(images)])
    # The sum of the operators' bounds, divided by the least std.
    assert (ours - tv.normalize(theirs, MEAN, STD)).abs().max() < 3e-6 / min(STD)


def test_normalisation_equals_torchvision():
    views = some_views(5, 32)
    assert (normalise(views, MEAN, STD) - tv.normalize(views, MEAN, STD)).abs().max() < 5e-7


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize(("height", "size"), [(28, 24), (32, 32), (23, 31), (64, 64)])
def test_the_bytes_of_a_view_do_not_depend_on_the_batch(height, size, threads):
    n = 128 if height < 64 else 32
    images, parameters = some_images(n, height), some_parameters(n, height, recipe=STRONG)
    together = make(images, parameters, size)
    torch.set_num_threads(threads)
    generator = torch.Generator().manual_seed(0)
    for some in (1, 1, 2, 3, 17, n):
        rows = torch.randperm(n, generator=generator)[:some]
        assert same_bytes(make(images[rows], parameters[rows], size), together[rows])


def test_the_bytes_of_a_view_do_not_depend_on_the_thread_count():
    images, parameters = some_images(200), some_parameters(200)
    one = make(images, parameters)
    torch.set_num_threads(2)
    assert same_bytes(make(images, parameters), one)
    assert same_bytes(make(images[9:10], parameters[9:10]), one[9:10])


def test_large_views_made_alone_by_two_threads_are_the_same_bytes():
    """One image of 200 px is large enough for torch to split even a single view's operations."""
    images, parameters = some_images(3, 200), some_parameters(3, 200, recipe=STRONG)
    one = make(images, parameters, 224)
    torch.set_num_threads(2)
    for i in range(3):
        assert same_bytes(make(images[i : i + 1], parameters[i : i + 1], 224), one[i : i + 1])


def test_two_views_are_two_single_views():
    images = some_images(10, 28)
    words = view_words(4, Purpose.VIEW, torch.arange(10), 2, torch.tensor([[0], [1]]))
    both = two_views(images, words, SIMCLR, size=24, mean=MEAN, std=STD)
    single = [make(images, draw(SIMCLR, words[view], 28, 28)) for view in (0, 1)]
    assert same_bytes(both, torch.cat(single))
    alone = two_views(images[3:4], words[:, 3:4], SIMCLR, size=24, mean=MEAN, std=STD)
    assert same_bytes(alone, both[[3, 13]])
    assert not torch.equal(*single)


def test_none_gives_the_normalised_image_twice():
    images = some_images(7)
    words = view_words(0, Purpose.VIEW, torch.arange(7), 0, torch.tensor([[0], [1]]))
    first, second = two_views(images, words, Recipe(), size=32, mean=(0, 0, 0), std=(1, 1, 1)).chunk(2)
    assert same_bytes(first, second)
    assert same_bytes(first, images / torch.tensor(255.0))


def test_none_resizes_when_the_sizes_differ():
    images = some_images(4, 28)
    ours = apply(images, some_parameters(4, 28, recipe=Recipe()), size=20, mean=(0, 0, 0), std=(1, 1, 1))
    assert same_bytes(ours, plain(images, 20))
    assert (ours - tv.resize(images.double() / 255, [20, 20], antialias=True)).abs().max() < 4e-7


@pytest.mark.parametrize("recipe", [SIMCLR, STRONG, Recipe(), Recipe(blur=Blur(5, (1.0, 1.0), 1.0))])
def test_finished_crops_are_two_views_byte_for_byte(recipe):
    """Also when images of differing sizes are cropped one at a time, as loader workers do."""
    words = view_words(4, Purpose.VIEW, torch.arange(8), 2, torch.tensor([[0], [1]]))
    images = [some_images(1, height, width) for height, width in [(28, 28), (40, 30), (300, 200), (24, 31)] * 2]
    crops, whole = torch.empty(2, 8, 3, 48, 48), torch.empty(2, 8, 3, 48, 48)
    for i, image in enumerate(images):
        crops[:, i] = crop(image, words[:, i : i + 1], recipe, 48)
        whole[:, i] = two_views(image, words[:, i : i + 1], recipe, size=48, mean=MEAN, std=STD)
    kept = crops.clone()
    assert same_bytes(finish(crops.flatten(0, 1), words, recipe, mean=MEAN, std=STD), whole.flatten(0, 1))
    assert same_bytes(crops, kept)


def test_crops_of_a_batch_finish_as_two_views_of_a_batch():
    images, words = some_images(9, 33), view_words(4, Purpose.VIEW, torch.arange(9), 2, torch.tensor([[0], [1]]))
    form = {"mean": MEAN, "std": STD, "out_dtype": torch.float64}
    finished = finish(crop(images, words, STRONG, 32), words, STRONG, **form)
    assert same_bytes(finished, two_views(images, words, STRONG, size=32, **form))


def test_float64_views_are_the_float32_views():
    images, parameters = some_images(9), some_parameters(9)
    assert same_bytes(make(images, parameters, out_dtype=torch.float64), make(images, parameters).double())


def test_a_mirrored_view_is_the_mirror_image_byte_for_byte():
    images = some_images(6)
    turned = make(images, some_parameters(6, recipe=Recipe(crop_scale=(0.1, 1.0), flip=1.0)))
    plain = make(images, some_parameters(6, recipe=Recipe(crop_scale=(0.1, 1.0))))
    assert same_bytes(turned, plain.flip(3).contiguous())


def test_the_jitter_order_matters_and_is_each_views_own():
    images = some_images(1).expand(24, -1, -1, -1)
    parameters = some_parameters(24, recipe=Recipe(jitter=(0.4, 0.4, 0.4, 0.1), jitter_probability=1.0))
    one_factor = parameters.factors[:1].expand(24, -1)
    same = type(parameters)(**{**vars(parameters), "factors": one_factor})
    views = make(images, same, 32)
    kinds = {tuple(order): view.numpy().tobytes() for order, view in zip(same.order.tolist(), views, strict=True)}
    assert len(set(kinds.values())) == len(kinds) > 10


def test_views_leave_images_and_global_generator_alone():
    images, parameters = some_images(4), some_parameters(4)
    kept, state = images.clone(), torch.get_rng_state()
    make(images, parameters)
    assert torch.equal(images, kept) and torch.equal(torch.get_rng_state(), state)


def test_pixels_outside_the_crop_box_are_not_read():
    images, parameters = some_images(30), some_parameters(30)
    outside = torch.ones(30, 1, 32, 32, dtype=torch.bool)
    for i, (top, left, height, width) in enumerate(integers_of(parameters)[:, :4].tolist()):
        outside[i, :, top : top + height, left : left + width] = False
    assert same_bytes(make(images.masked_fill(outside, 255), parameters), make(images, parameters))


def test_words_and_images_that_do_not_match_are_refused():
    words = view_words(0, Purpose.VIEW, torch.arange(3), 0, torch.tensor([[0], [1]]))
    with pytest.raises(AssertionError, match="for 4 images"):
        two_views(some_images(4), words, SIMCLR, size=32, mean=MEAN, std=STD)
    with pytest.raises(AssertionError, match="uint8"):
        make(some_images(3).float(), some_parameters(3))


def test_a_turn_of_the_hue_is_the_identity_in_thirds():
    """Three thirds of a turn: red → green → blue → red, exactly as the hexagon says."""
    view = torch.tensor([1.0, 0.25, 0.0]).view(1, 3, 1, 1).clone()
    _OPERATORS[HUE](view, torch.full((1, 1, 1, 1), 1 / 3))
    assert view.flatten().tolist() == pytest.approx([0.0, 1.0, 0.25], abs=math.ldexp(1, -21))
