"""The data set `shapes`: an image is its address, its labellings agree, its factors can be seen."""

import hashlib
import math

import pytest
import torch
from torch import Tensor

from coupled.address import Purpose, words
from coupled.data import drawing, shapes
from coupled.data.shapes import FACTORS
from coupled.errors import UserError

pytestmark = pytest.mark.kernels
TEST_OFFSET = 2**31


def _distinct(images: Tensor) -> int:
    return len({image.numpy().tobytes() for image in images})


def _drawn(kinds: dict[str, Tensor], numbers: Tensor) -> Tensor:
    drawn = words(0, Purpose.SHAPES, 64 + 1024, a=numbers)
    return drawing.draw(kinds, drawn[:, 4:64], drawn[:, 64:]).int()


def test_factor_draws_are_golden():
    ids = torch.tensor([0, 1, 19_999, TEST_OFFSET])
    golden = {"shape": [1, 7, 1, 5], "colour": [6, 1, 6, 6], "texture": [0, 0, 3, 3], "size": [1, 0, 0, 0]}
    assert {name: drawn.tolist() for name, drawn in shapes.factors(0, ids).items()} == golden


def test_images_are_golden():
    """Exactly rounded operations only: a change here means that every run on shapes changes."""
    drawn = shapes.render(0, torch.arange(100))
    assert hashlib.sha256(drawn.numpy().tobytes()).hexdigest()[:16] == "07b3206ca070dd87"


def test_lengths_are_exactly_rounded():
    u, v = torch.randn(2, 5000, generator=torch.Generator().manual_seed(1))
    # A root in float64 has more than twice the digits, so that rounding it once more gives the right float32.
    assert drawing._length(u, v).tolist() == torch.tensor([math.sqrt(s) for s in (u * u + v * v).tolist()]).tolist()


def test_an_image_does_not_depend_on_its_batch():
    numbers = torch.arange(150)
    together = shapes.render(3, numbers)
    for part in (numbers[7:8], numbers[140:], numbers.flip(0), numbers[::7]):
        assert torch.equal(shapes.render(3, part), together[part])


def test_a_split_gives_the_same_image_whenever_it_is_asked():
    split = shapes.load("train", 3)
    ids = torch.tensor([5, 0, 5, 19_999])
    first = split.images(ids)
    split.images(torch.arange(40))
    assert torch.equal(split.images(ids), first)
    assert torch.equal(first, shapes.render(3, ids))


def test_images_are_uint8_rgb_and_vary():
    images = shapes.load("train", 0).images(torch.arange(200))
    assert images.shape == (200, 3, 32, 32) and images.dtype == torch.uint8
    assert _distinct(images) == 200
    assert images.float().flatten(1).std(dim=1).min() > 10


def test_another_seed_gives_other_images_and_labels():
    one, other = shapes.load("train", 1), shapes.load("train", 2)
    ids = torch.arange(64)
    assert (one.images(ids) != other.images(ids)).flatten(1).any(dim=1).all()
    assert not torch.equal(one.labels("shape"), other.labels("shape"))


def test_train_and_test_share_no_image():
    both = torch.cat([shapes.load(split, 0).images(torch.arange(300)) for split in ("train", "test")])
    assert _distinct(both) == 600
    assert shapes.info.train_size < TEST_OFFSET


def test_no_global_generator_is_touched():
    before = torch.get_rng_state()
    shapes.load("test", 0).images(torch.arange(3))
    assert torch.equal(torch.get_rng_state(), before)


def test_there_are_fifteen_labellings_up_to_512_classes():
    assert len(shapes.info.classes) == 15
    assert shapes.info.classes["shape*colour*texture*size"] == 512
    assert shapes.info.classes["size"] == 2


@pytest.mark.parametrize("labelling", shapes.info.classes)
def test_a_product_label_is_the_mixed_radix_number_of_its_factors(labelling):
    split = shapes.load("test", 0)
    expected = torch.zeros(len(split), dtype=torch.int64)
    for name in labelling.split("*"):
        expected = expected * len(FACTORS[name]) + split.labels(name)
    assert torch.equal(split.labels(labelling), expected)
    assert expected.min() >= 0 and expected.max() < shapes.info.classes[labelling]


def test_the_order_of_factors_in_a_name_does_not_matter():
    split = shapes.load("test", 0)
    assert torch.equal(split.labels("size*colour*shape"), split.labels("shape*colour*size"))


@pytest.mark.parametrize("labelling", shapes.info.classes)
def test_classes_are_balanced_within_chance(labelling):
    labels, classes = shapes.load("train", 0).labels(labelling), shapes.info.classes[labelling]
    counts = torch.bincount(labels, minlength=classes).double()
    mean = len(labels) / classes
    chi2 = float(((counts - mean) ** 2 / mean).sum())
    assert counts.min() > 0
    assert abs(chi2 - (classes - 1)) < 5 * (2 * (classes - 1)) ** 0.5


@pytest.mark.parametrize("labelling", ["", "hue", "shape*", "shape*shape", "shape,colour"])
def test_a_wrong_labelling_is_one_line(labelling):
    with pytest.raises(UserError, match=r"no labelling .*; allowed are shape, .*; write for example") as error:
        shapes.load("test", 0).labels(labelling)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("factor", FACTORS)
def test_every_class_of_a_factor_looks_different(factor):
    """All nuisances and all other factors equal, any two classes differ by 30 levels somewhere on ≥ 8 pixels."""
    numbers = torch.arange(12)
    kinds = shapes.factors(0, numbers)
    views = [_drawn(kinds | {factor: torch.full_like(numbers, k)}, numbers) for k in range(len(FACTORS[factor]))]
    for i, one in enumerate(views):
        for other in views[:i]:
            assert ((one - other).abs().amax(dim=1) > 30).flatten(1).sum(dim=1).min() >= 8


def test_colour_can_be_decoded_from_pixels():
    """A nearest-class-mean rule on a 5³ histogram of colours: four times chance at the least."""
    split, ids = shapes.load("train", 0), torch.arange(1200)
    cells = (split.images(ids).flatten(2).int() * 5 // 256 * torch.tensor([25, 5, 1])[:, None]).sum(dim=1)
    histogram = torch.zeros(1200, 125).scatter_add(1, cells, torch.full(cells.shape, 1 / 1024)).sqrt()
    labels = split.labels("colour")[ids]
    means = torch.stack([histogram[:800][labels[:800] == k].mean(dim=0) for k in range(8)])
    guess = torch.cdist(histogram[800:], means).argmin(dim=1)
    assert (guess == labels[800:]).float().mean() > 0.5


def test_the_registered_mean_and_std_are_those_of_the_images():
    images = shapes.load("train", 0).images(torch.arange(0, 20_000, 20)).double() / 255
    mean, std = images.mean(dim=(0, 2, 3)), images.transpose(0, 1).flatten(1).std(dim=1)
    assert torch.allclose(mean, torch.tensor(shapes.info.mean).double(), atol=0.01)
    assert torch.allclose(std, torch.tensor(shapes.info.std).double(), atol=0.01)
