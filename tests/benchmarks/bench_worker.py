"""What one worker of an image folder makes in a second, beside torchvision: from the file to both crops.

    python tests/benchmarks/bench_worker.py [--images 64] [--repeats 7]

JPEGs of 500 × 375 pixels and about as many bytes as ImageNet's; crops of 224 px, one thread. Ours decodes, checks and
crops what a step's addresses say. torchvision's is Pillow's reader, then twice RandomResizedCrop and a flip of the
Pillow image and a tensor of it: other draws, and other bytes. In turns in one process, CPU time, medians.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import Compose, RandomHorizontalFlip, RandomResizedCrop, ToTensor

sys.path.insert(0, str(Path(__file__).parents[2]))
sys.path.insert(0, str(Path(__file__).parents[1]))
from drawn_pictures import picture
from picture_bytes import encoded

from coupled import views
from coupled.address import Purpose
from coupled.data import decode, registry
from coupled.data.splits import FileSplit
from coupled.memory import tune_memory

SIZE = 224


def folder_of(root: Path, count: int) -> list[Path]:
    """An image folder with `count` images of two classes to train on."""
    paths = []
    for number in range(count):
        path = root / "train" / f"class{number % 2}" / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encoded(picture(500, 375, number), "JPEG", quality=92))
        paths.append(path)
    for name in ("class0", "class1"):
        (root / "test" / name).mkdir(parents=True)
        (root / "test" / name / "a.jpg").write_bytes(paths[0].read_bytes())
    return paths


def seconds(act: Callable[[], object]) -> float:
    start = time.thread_time()
    act()
    return time.thread_time() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=7)
    options = parser.parse_args()
    tune_memory()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as root:
        paths = folder_of(Path(root), options.images)
        split = registry.load("image-folder", "train", seed=None, root=root)
        assert isinstance(split, FileSplit)
        ids = torch.arange(options.images)
        words = views.view_words(0, Purpose.VIEW, ids, torch.zeros_like(ids), torch.tensor([[0], [1]]))
        recipe = views.recipe("simclr-imagenet", SIZE)
        theirs = Compose([RandomResizedCrop(SIZE), RandomHorizontalFlip(), ToTensor()])

        def torchvisions(path: Path) -> Tensor:
            image = Image.open(path).convert("RGB")
            return torch.stack([theirs(image), theirs(image)])

        acts: dict[str, Callable[[], object]] = {
            "ours, both crops": lambda: split.crops(ids, words, recipe, SIZE),
            "of which decoding": lambda: [decode.decode(path) for path in paths],
            "torchvision's": lambda: [torchvisions(path) for path in paths],
        }
        for act in acts.values():
            act()
        rows = {name: [] for name in acts}
        for _ in range(options.repeats):
            for name, act in acts.items():
                rows[name].append(seconds(act) / options.images)
    for name, taken in rows.items():
        each = median(taken)
        print(f"{name:20} {1e3 * each:6.2f} ms an image, {1 / each:6.0f} images a second")


if __name__ == "__main__":
    main()
