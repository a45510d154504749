import dataclasses
import itertools
import math

import pytest
import torch
from helpers import integers_of

from coupled.address import Purpose, uniform
from coupled.errors import UserError
from coupled.views import (
    RECIPES,
    WORDS_PER_VIEW,
    Blur,
    Recipe,
    draw,
    draw_boxes,
    draw_colours,
    recipe,
    view_words,
)
from coupled.views.parameters import exp_series

pytestmark = pytest.mark.kernels
SIMCLR = recipe("simclr-cifar", 32)
MANY = 40_000
SMALL = Recipe((0.08, 1.0), (3 / 4, 4 / 3), 0.5, (0.4, 0.4, 0.4, 0.1), 0.8, 0.2)
# What each name means at a size, written out.
LITERAL = {
    ("paper-v2", 32): SMALL,
    ("paper-v2", 64): SMALL,
    ("paper-v2", 127): SMALL,
    ("paper-v2", 128): Recipe(
        (0.08, 1.0), (3 / 4, 4 / 3), 0.5, (0.8, 0.8, 0.8, 0.2), 1.0, 0.2, Blur(3, (1.5, 1.5), 0.1)
    ),
    ("paper-v2", 224): Recipe(
        (0.08, 1.0), (3 / 4, 4 / 3), 0.5, (0.8, 0.8, 0.8, 0.2), 1.0, 0.2, Blur(3, (1.5, 1.5), 0.1)
    ),
    ("simclr-cifar", 32): SMALL,
    ("simclr-cifar", 224): SMALL,
    ("simclr-imagenet", 96): Recipe(
        (0.08, 1.0), (3 / 4, 4 / 3), 0.5, (0.8, 0.8, 0.8, 0.2), 0.8, 0.2, Blur(9, (0.1, 2.0), 0.5)
    ),
    ("simclr-imagenet", 224): Recipe(
        (0.08, 1.0), (3 / 4, 4 / 3), 0.5, (0.8, 0.8, 0.8, 0.2), 0.8, 0.2, Blur(23, (0.1, 2.0), 0.5)
    ),
    ("none", 32): Recipe(None, (3 / 4, 4 / 3), 0.0, (0.0, 0.0, 0.0, 0.0), 0.0, 0.0, None),
}


def some_words(n):
    return view_words(0, Purpose.VIEW, torch.arange(n), 3, 0)


@pytest.fixture(scope="module")
def many():
    blurred = dataclasses.replace(SIMCLR, blur=Blur(3, (0.1, 2.0), 0.5))
    return draw(blurred, some_words(MANY), 32, 32)


def literal_box(recipe, u, height, width):
    """torchvision's RandomResizedCrop.make_params, fed from one view's words."""
    for k in range(10):
        low, high = recipe.crop_scale
        area = height * width * (low + u[12 + 2 * k] * (high - low))
        logs = [math.log(end) for end in recipe.ratio]
        ratio = math.exp(logs[0] + u[13 + 2 * k] * (logs[1] - logs[0]))
        w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < w <= width and 0 < h <= height:
            return [int(u[8] * (height - h + 1)), int(u[9] * (width - w + 1)), h, w]
    h, w = height, width
    if width / height < recipe.ratio[0]:
        h = round(w / recipe.ratio[0])
    elif width / height > recipe.ratio[1]:
        w = round(h * recipe.ratio[1])
    return [(height - h) // 2, (width - w) // 2, h, w]


@pytest.mark.parametrize(("height", "width"), [(32, 32), (28, 40), (9, 64), (64, 9)])
def test_crop_boxes_equal_the_literal_rule(height, width):
    words = some_words(500)
    boxes = integers_of(draw(SIMCLR, words, height, width))[:, :4].tolist()
    assert boxes == [literal_box(SIMCLR, u, height, width) for u in uniform(words).tolist()]


def test_an_impossible_crop_falls_back_to_the_centre():
    square = Recipe(crop_scale=(1.0, 1.0), ratio=(1.0, 1.0))
    assert integers_of(draw(square, some_words(4), 10, 25))[:, :4].tolist() == [[0, 7, 10, 10]] * 4
    assert integers_of(draw(square, some_words(4), 25, 10))[:, :4].tolist() == [[7, 0, 10, 10]] * 4


def test_crops_stay_inside_the_image(many):
    assert min(many.top.min(), many.left.min()) >= 0
    assert min(many.height.min(), many.width.min()) >= 1
    assert (many.top + many.height).max() == (many.left + many.width).max() == 32


def test_crop_areas_and_ratios_stay_in_their_ranges(many):
    h, w = many.height.double(), many.width.double()
    # Each side was rounded by at most half a pixel.
    assert ((h + 0.5) * (w + 0.5)).min() >= 0.08 * 32 * 32
    fallback = (h == 32) & (w == 32)
    assert ((w - 0.5) / (h + 0.5))[~fallback].max() <= 4 / 3
    assert ((w + 0.5) / (h - 0.5))[~fallback].min() >= 3 / 4


def test_crop_places_are_uniform(many):
    for start, length in ((many.top, many.height), (many.left, many.width)):
        places = 33 - length[length < 32]
        share = (start[length < 32] + 0.5) / places
        # At most the variance of a uniform variable: 1/12.
        assert abs(share.mean() - 0.5) < 4 * math.sqrt(1 / 12 / len(share))


@pytest.mark.parametrize(("name", "size"), LITERAL)
def test_recipes_are_what_their_names_mean(name, size):
    assert recipe(name, size) == LITERAL[name, size]


def test_every_recipe_has_a_meaning_and_is_tested():
    assert {name for name, _ in LITERAL} == set(RECIPES) and all(RECIPES.values())


def test_an_unknown_recipe_is_one_line():
    with pytest.raises(UserError, match=r"unknown recipe paper-v1; allowed: paper-v2, .*; did you mean paper-v2\?"):
        recipe("paper-v1", 32)


@pytest.mark.parametrize("size", [1, 20, 28, 32, 64, 96, 100, 224, 256])
def test_the_kernel_is_the_odd_number_nearest_to_a_tenth_of_the_side(size):
    blur = recipe("simclr-imagenet", size).blur
    assert blur.kernel % 2 == 1 and abs(blur.kernel - size / 10) <= 1
    assert blur.kernel // 2 < size


@pytest.mark.parametrize(("name", "size"), LITERAL)
def test_operators_are_applied_with_the_recipes_probabilities(name, size):
    literal, words = LITERAL[name, size], some_words(MANY // 4)
    flip, drawn = draw_boxes(Recipe(flip=literal.flip), words, size, size).flip, draw_colours(recipe(name, size), words)
    blur = literal.blur.probability if literal.blur else 0.0
    probabilities = (literal.flip, literal.jitter_probability, literal.grey_probability, blur)
    for applied, p in zip((flip, drawn.jittered, drawn.grey, drawn.blurred), probabilities, strict=True):
        assert abs(applied.double().mean() - p) <= 4 * math.sqrt(p * (1 - p) / len(words))


@pytest.mark.parametrize(("name", "size"), LITERAL)
def test_factors_and_sigmas_are_uniform_in_the_recipes_ranges(name, size):
    literal, words = LITERAL[name, size], some_words(MANY // 4)
    drawn = draw_colours(recipe(name, size), words)
    ranges = [(1 - strength, 1 + strength) for strength in literal.jitter[:3]] + [
        (-literal.jitter[3], literal.jitter[3])
    ]
    ranges.append(literal.blur.sigma if literal.blur else (1.0, 1.0))
    for column, (low, high) in zip([*drawn.factors.T, drawn.sigma], ranges, strict=True):
        assert low <= column.min() and column.max() <= high
        # Four standard errors of mean and variance of a uniform variable.
        assert abs(column.mean() - (low + high) / 2) <= 4 * (high - low) * math.sqrt(1 / 12 / len(words))
        assert abs(column.var() - (high - low) ** 2 / 12) <= 4 * (high - low) ** 2 * math.sqrt(1 / 180 / len(words))


def test_all_jitter_orders_occur_equally_often(many):
    rank = (many.order * torch.tensor([64, 16, 4, 1])).sum(1)
    kinds, counts = rank.unique(return_counts=True)
    assert len(kinds) == 24 and bool((many.order.sort(1).values == torch.arange(4)).all())
    assert (counts - MANY / 24).abs().max() < 4.5 * math.sqrt(MANY / 24)


def test_draws_of_different_operators_are_independent(many):
    columns = [many.flip, many.jittered, many.grey, many.top, many.left, many.height, *many.factors.T]
    columns += [many.blurred, many.sigma]
    table = torch.stack([column.double() for column in columns])
    free = torch.corrcoef(table) - torch.eye(len(columns))
    free[3:6, 3:6] = 0  # place and size of a crop do depend on each other
    assert free.abs().max() < 4.5 / math.sqrt(MANY)


def test_golden_parameters():
    """These integers define every run: if this fails, old views can no longer be replayed."""
    words = view_words(0, Purpose.VIEW, torch.tensor([3]), torch.tensor([1]), 1)
    assert integers_of(draw(SIMCLR, words, 32, 32)).tolist() == [[6, 6, 22, 24, 0, 1, 1, 0, 3, 2, 1]]


def test_blur_reads_words_10_and_11_and_moves_no_other():
    words = some_words(300)
    plain, blurred = (draw(recipe(name, 224), words, 40, 30) for name in ("simclr-cifar", "simclr-imagenet"))
    assert torch.equal(integers_of(plain), integers_of(blurred))
    u = uniform(words)
    assert torch.equal(blurred.blurred, u[:, 10] < 0.5) and not plain.blurred.any()
    assert torch.equal(blurred.sigma, 0.1 + u[:, 11] * (2.0 - 0.1))
    assert blurred.kernel.tolist() == [23] * 300


def test_colours_do_not_depend_on_the_size_of_the_image():
    words = some_words(50)
    alone, drawn = draw_colours(SIMCLR, words), draw(SIMCLR, words, 90, 17)
    assert all(torch.equal(column, getattr(drawn, name)) for name, column in vars(alone).items())


def test_parameters_do_not_depend_on_which_views_are_drawn_together():
    words = some_words(50)
    together = draw(SIMCLR, words, 32, 32)
    for rows in (slice(7, 8), slice(10, 40), torch.tensor([4, 49, 0])):
        alone = draw(SIMCLR, words[rows], 32, 32)
        assert torch.equal(integers_of(alone), integers_of(together[rows]))
        assert torch.equal(alone.factors, together[rows].factors)


def test_both_views_come_from_one_call():
    both = view_words(5, Purpose.VIEW, torch.arange(6), torch.arange(6) % 2, torch.tensor([[0], [1]]))
    assert both.shape == (2, 6, WORDS_PER_VIEW)
    assert torch.equal(both[1], view_words(5, Purpose.VIEW, torch.arange(6), torch.arange(6) % 2, 1))
    assert not torch.equal(both[0], both[1])


def test_none_takes_the_whole_image():
    drawn = draw(recipe("none", 28), some_words(20), 28, 30)
    assert integers_of(drawn)[:, :6].tolist() == [[0, 0, 28, 30, 0, 0]] * 20
    assert not drawn.grey.any() and not drawn.blurred.any()


def test_the_series_is_exp():
    x = torch.linspace(-math.log(8), math.log(8), 1001, dtype=torch.float64)
    literal = torch.tensor([math.exp(v) for v in x.tolist()], dtype=torch.float64)
    # About twenty ulps where terms of both signs cancel.
    assert ((exp_series(x) - literal).abs() / literal).max() < 4e-15


@pytest.mark.parametrize(
    "given",
    [
        {"crop_scale": (0.5, 0.1)},
        {"ratio": (0.1, 1)},
        {"flip": 1.5},
        {"jitter": (0, 0, 0, 0.6)},
        {"jitter_probability": -0.1},
    ],
)
def test_a_recipe_outside_its_ranges_is_refused(given):
    with pytest.raises(AssertionError):
        Recipe(**given)


@pytest.mark.parametrize(
    "given", [(4, (1, 2), 0.5), (3, (0, 1), 0.5), (3, (2, 1), 0.5), (3, (1, math.inf), 1), (3, (1, 1), 2)]
)
def test_a_blur_outside_its_ranges_is_refused(given):
    with pytest.raises(AssertionError):
        Blur(*given)


def test_drawing_leaves_the_global_generator_alone():
    before = torch.get_rng_state()
    draw(SIMCLR, some_words(8), 32, 32)
    assert torch.equal(torch.get_rng_state(), before)


def test_orders_are_ranked_lexicographically():
    words = torch.zeros(24, WORDS_PER_VIEW, dtype=torch.int64)
    words[:, 3] = ((torch.arange(24) + 0.5) / 24 * 2**32).long()
    assert draw(SIMCLR, words, 32, 32).order.tolist() == [list(p) for p in itertools.permutations(range(4))]
