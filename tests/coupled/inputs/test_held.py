"""Which images a GPU holds, that they are those of the split, and that `plan` counts them."""

import pytest
import torch
from helpers import tables

from coupled import data, runtime
from coupled.config import from_tables
from coupled.data.fashion_mnist import FashionMnist
from coupled.data.shapes import Shapes
from coupled.data.subset import ImageSubset
from coupled.inputs import held as holding
from coupled.inputs.held import SHARE, Held, held, held_bytes
from coupled.planning.plan import plan

CPU = torch.device("cpu")
BYTES = torch.randint(0, 256, (50, 3, 9, 9), dtype=torch.uint8)
ARRAY = data.ArraySplit(BYTES, {"class": torch.arange(50) % 2})
GREY = data.ArraySplit(BYTES[:, 0], {"class": torch.arange(50) % 2})
FASHION = FashionMnist(BYTES[:, 1], torch.arange(50) % 2)
SHAPES = Shapes(0, 0, 50)


class Own(data.ImageSplit):
    """A user's split that makes images when asked."""

    def __len__(self):
        return 50

    def images(self, ids):
        return BYTES[ids]

    def labels(self, labelling):
        return torch.zeros(50, dtype=torch.int64)


def subset(whole):
    return ImageSubset(whole, torch.arange(3, 50, 4), "class", torch.arange(2), ("class",))


def held_of(split, patch, memory=1 << 20):
    patch.setattr(runtime, "device_memory", lambda config: memory)
    return held(from_tables(tables()), split, CPU)


@pytest.mark.parametrize("split", [ARRAY, GREY, FASHION, subset(ARRAY), subset(GREY)])
@pytest.mark.parametrize("at_once", [4096, 7])
def test_arrays_are_held_with_their_bytes(split, at_once, monkeypatch):
    monkeypatch.setattr(holding, "_AT_ONCE", at_once)
    there, ids = held_of(split, monkeypatch), torch.tensor([5, 0, len(split) - 1, 5])
    assert isinstance(there, Held) and len(there) == len(split)
    assert torch.equal(there.images(ids), split.images(ids)) and there.images(ids).is_contiguous()
    assert torch.equal(there.images(torch.arange(len(split))), split.images(torch.arange(len(split))))
    assert torch.equal(there.labels("class"), split.labels("class"))


@pytest.mark.parametrize("split", [SHAPES, subset(SHAPES), Own(), subset(Own())])
def test_images_that_are_made_when_asked_for_are_not_held(split, monkeypatch):
    assert held_of(split, monkeypatch) is split


def test_nothing_is_held_without_a_gpu():
    assert held(from_tables(tables()), ARRAY, CPU) is ARRAY


@pytest.mark.parametrize("split", [ARRAY, GREY])
def test_an_eighth_of_the_device_is_the_most(split, monkeypatch):
    most = round(BYTES.nbytes / SHARE)
    assert isinstance(held_of(split, monkeypatch, most), Held) and SHARE == 1 / 8
    assert held_of(split, monkeypatch, most - 1) is split


CIFAR = {"name": "cifar10", "labelling": "class"}


@pytest.mark.parametrize(
    ("sections", "memory", "size"),
    [
        ({"data": CIFAR}, 1 << 34, 50_000 * 3072),
        ({"data": CIFAR}, None, 50_000 * 3072),
        ({"data": CIFAR}, 1 << 30, 0),
        ({"data": {**CIFAR, "per_class": 100}}, 1 << 30, 1000 * 3072),
        ({"data": CIFAR, "train": {"device": "cpu"}}, 1 << 34, 0),
        ({}, 1 << 34, 0),
    ],
    ids=["held", "no GPU here", "too small", "a subset fits", "on a CPU", "shapes are drawn"],
)
def test_plan_counts_what_is_held(sections, memory, size, monkeypatch):
    monkeypatch.setattr(runtime, "device_memory", lambda config: memory)
    config = from_tables(tables(**{"train": {"device": "cuda"}, **sections}))
    forecast = plan(config, 2)
    assert held_bytes(config) == forecast.images == size
    graphs = forecast.graphs.held
    rest = len(config.arms) * forecast.arm_memory + forecast.step_memory + graphs(len(config.arms))
    assert forecast.memory == rest + size
    groups = forecast.placement.groups
    for rank in (0, 1):
        own = len(groups[rank])
        assert forecast.memory_of(rank) == own * forecast.arm_memory + forecast.step_memory + graphs(own) + size


def test_what_plan_counts_is_what_is_held(monkeypatch):
    info = data.DataInfo("held-set", 50, 50, 9, (0.5,) * 3, (0.2,) * 3, {"class": 2}, "class")
    data.register_data_set(info, lambda split, root: ARRAY)
    try:
        config = from_tables(tables(data={"name": "held-set", "labelling": "class"}, train={"device": "cuda"}))
        assert held_bytes(config) == held_of(ARRAY, monkeypatch)._images.nbytes
    finally:
        data.registry.forget("held-set")
