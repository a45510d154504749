"""What a batch copies from the host to a GPU, counted on a device without elements; and the bytes of the same batch
made on the CPU by the GPU's way.
"""

from types import SimpleNamespace

import pytest
import torch
from drawn_pictures import image_folder
from fake_gpu import Counted
from helpers import tables
from other_inputs import OTHERS, SHARING

from coupled import runtime, staging, views
from coupled.config import from_tables
from coupled.data import ArraySplit
from coupled.inputs.dataset import load_split
from coupled.inputs.held import Held
from coupled.inputs.source import Source
from coupled.views import operators

CPU, META = torch.device("cpu"), torch.device("meta")
PLACEBOS = {
    "placebo": {"kind": "placebo", "of": "nscl"},
    "relabelled": {"kind": "placebo", "of": "nscl", "across": "run"},
}
KINDS = {"shared": SHARING, "placebos": {**SHARING, **PLACEBOS}, "others": {**SHARING, **OTHERS}}
LARGE = {"size": 48, "recipe": "simclr-imagenet"}


def array_split(side=20, count=64):
    images = torch.randint(
        0, 256, (count, 3, side, side), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    return ArraySplit(images, {"size": torch.arange(count) % 3})


def source_of(split, device, arms=SHARING, **sections):
    return Source(from_tables(tables(arms=arms, **sections)), split, ["size"], device)


def held_by_a_device_of(memory, patch):
    patch.setattr(runtime, "device_memory", lambda config: memory)


@pytest.fixture
def counted(monkeypatch):
    """Counts what goes to `META`, as if it were a GPU."""
    counted = Counted("meta")
    monkeypatch.setattr(staging, "_room", lambda size: counted.pin(torch.empty(size, dtype=torch.uint8)))
    monkeypatch.setattr(staging, "_pinned", lambda tensor: counted.pin(tensor.clone()))
    return counted


def copies(counted, source, step=3):
    """Whether each copy of a batch is from pinned memory."""
    with counted:
        source.at(step)
    return [pinned for _, pinned in counted.to_device]


@pytest.mark.parametrize("memory", [1 << 30, 1 << 10, None], ids=["held", "too small", "unknown"])
@pytest.mark.parametrize("kinds", KINDS)
def test_four_pinned_copies_a_kind_of_input_of_images_in_memory(memory, kinds, counted, monkeypatch):
    held_by_a_device_of(memory, monkeypatch)
    source = source_of(array_split(), META, KINDS[kinds])
    assert isinstance(source._images, Held) is (memory == 1 << 30)
    assert copies(counted, source) == [True] * 4 * len(source.draws)


@pytest.mark.parametrize("side", [60, 200], ids=["whole images", "cut out"])
def test_neither_size_nor_recipe_asks_for_more(side, counted, monkeypatch):
    held_by_a_device_of(1 << 30, monkeypatch)
    source = source_of(array_split(side, 16), META, views=LARGE)
    assert copies(counted, source) == [True] * 4


def test_three_pinned_copies_of_image_folders(counted, tmp_path):
    data = {"name": "image-folder", "labelling": "class", "workers": 0}
    config = from_tables(tables(arms=SHARING, data=data, paths={"data": str(image_folder(tmp_path))}))
    assert copies(counted, Source(config, load_split(config, "train"), ["class"], META)) == [True] * 3


def test_a_copy_of_ordinary_memory_would_be_seen(counted):
    with counted:
        torch.zeros(3).to(META)
        torch.zeros(3, device=META).index_select(0, torch.arange(2))
        torch.zeros(3, device=META).add_(torch.tensor(2.0))  # a number
    assert [pinned for _, pinned in counted.to_device] == [False, False]


def integers_and_pixels(batch):
    for inputs, of in {None: batch, **batch.others}.items():
        yield from (of.pixels, *batch.integers()[inputs])
        for masks in of.pairs.values():
            yield from (masks.others, masks.different, masks.same, masks.kept, masks.labels)


def bytes_of(source, step=3):
    return [tensor.numpy().tobytes() for tensor in integers_and_pixels(source.at(step))]


@pytest.mark.parametrize("held", [True, False])
@pytest.mark.parametrize(("side", "shown"), [(20, {}), (60, LARGE), (200, LARGE)])
def test_a_batch_made_the_way_of_a_gpu_has_the_bytes_of_one_that_is_not(side, shown, held, monkeypatch):
    """All tables by way of a buffer, all pixels by the operators."""
    split, arms = array_split(side, 32), {**SHARING, **PLACEBOS, **OTHERS}
    plain = bytes_of(source_of(split, CPU, arms, views=shown))
    held_by_a_device_of(1 << 30 if held else 1, monkeypatch)
    source = source_of(split, CPU, arms, views=shown)
    assert isinstance(source._images, Held) is held
    through = []

    def room(size):
        through.append(torch.empty(size, dtype=torch.uint8))
        return through[-1]

    def is_on(tensor, device):
        return tensor.untyped_storage().data_ptr() in [buffer.untyped_storage().data_ptr() for buffer in through]

    monkeypatch.setattr(staging, "_is_on", is_on)
    monkeypatch.setattr(staging, "_room", room)
    monkeypatch.setattr(staging, "_pinned", torch.clone)
    monkeypatch.setattr(views, "fused", SimpleNamespace(crop_resize=operators.crop_resize, finish=operators.finish))
    assert bytes_of(source) == plain and len(through) == 3 * len(source.draws)
