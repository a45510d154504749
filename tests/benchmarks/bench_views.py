"""Both views of a batch, ours against torchvision's per-sample v2 transforms in the same process.

    python tests/benchmarks/bench_views.py [--threads 2] [--images 256] [--repeats 5]

Ours is timed from the address on: words, parameters, pixels. torchvision is timed on uint8 and on float32 images,
without a data loader; the ratio is against the faster of the two. Times are the least of `--repeats`, interleaved.
"""

import argparse
import time
from collections.abc import Callable

import torch
from torchvision.transforms import v2

from coupled.address import Purpose
from coupled.views import RECIPES, two_views, view_words

MEAN, STD = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)


def torchvision_views(images: torch.Tensor, size: int, *, as_float: bool) -> torch.Tensor:
    recipe = RECIPES["simclr-cifar"]
    to_float = v2.ToDtype(torch.float32, scale=True)
    transform = v2.Compose(
        [
            *([to_float] if as_float else []),
            v2.RandomResizedCrop(size, recipe.crop_scale or (1, 1), recipe.ratio, antialias=True),
            v2.RandomHorizontalFlip(recipe.flip),
            v2.RandomApply([v2.ColorJitter(*recipe.jitter)], recipe.jitter_probability),
            v2.RandomGrayscale(recipe.grey_probability),
            *([] if as_float else [to_float]),
            v2.Normalize(MEAN, STD),
        ]
    )
    return torch.stack([transform(image) for _ in range(2) for image in images])


def our_views(images: torch.Tensor, size: int) -> torch.Tensor:
    words = view_words(0, Purpose.VIEW, torch.arange(len(images)), 0, torch.tensor([[0], [1]]))
    return two_views(images, words, RECIPES["simclr-cifar"], size=size, mean=MEAN, std=STD)


def least(calls: dict[str, Callable[[], torch.Tensor]], repeats: int) -> dict[str, float]:
    """The least seconds of each call, after one call to warm up."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for repeat in range(repeats + 1):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            if repeat:
                times[name].append(time.perf_counter() - start)
    return {name: min(taken) for name, taken in times.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--images", type=int, default=256)
    parser.add_argument("--repeats", type=int, default=5)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    for height, size in ((28, 24), (32, 32)):
        images = torch.randint(0, 256, (given.images, 3, height, height), dtype=torch.uint8)
        taken = least(
            {
                "ours": lambda: our_views(images, size),  # noqa: B023 - called before the loop goes on
                "uint8": lambda: torchvision_views(images, size, as_float=False),  # noqa: B023
                "float": lambda: torchvision_views(images, size, as_float=True),  # noqa: B023
            },
            given.repeats,
        )
        ratio = min(taken["uint8"], taken["float"]) / taken["ours"]
        print(
            f"{height} → {size} px, {given.images} images × 2 views, {given.threads} threads: ours "
            f"{taken['ours'] * 1e3:.1f} ms, torchvision uint8 {taken['uint8'] * 1e3:.0f} ms, "
            f"float32 {taken['float'] * 1e3:.0f} ms, ratio {ratio:.1f}"
        )


if __name__ == "__main__":
    main()
