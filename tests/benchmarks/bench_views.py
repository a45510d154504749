"""Both views of a batch, ours against torchvision's per-sample v2 transforms in the same process.

    python tests/benchmarks/bench_views.py [--threads 2] [--pixels 500000] [--repeats 5]

Ours is timed from the address on: words, parameters, pixels. torchvision is timed on uint8 and on float32 images,
without a data loader; the ratio is against the faster of the two. Times are the least of `--repeats`, interleaved.
Freed memory stays in the process, as in `coupled-run`.
"""

import argparse
import time
from collections.abc import Callable

import torch
from torchvision.transforms import v2

from coupled.address import Purpose
from coupled.memory import tune_memory
from coupled.views import Blur, Recipe, recipe, two_views, view_words

MEAN, STD = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)
CASES = (
    ("simclr-cifar", 28, 24),
    ("simclr-cifar", 28, 28),
    ("simclr-cifar", 32, 32),
    ("paper-v2", 64, 64),
    ("simclr-imagenet", 96, 96),
    ("simclr-imagenet", 256, 224),
)


def some_images(count: int, height: int) -> torch.Tensor:
    """Smooth images with a little noise: branches and caches see what photographs would show them."""
    generator = torch.Generator().manual_seed(height)
    coarse = torch.rand(count, 3, 6, 6, generator=generator) * 255
    smooth = torch.nn.functional.interpolate(coarse, size=(height, height), mode="bicubic")
    return (smooth + 5 * torch.randn(smooth.shape, generator=generator)).clamp(0, 255).to(torch.uint8)


def torchvision_transform(given: Recipe, size: int, *, as_float: bool) -> v2.Compose:
    to_float = v2.ToDtype(torch.float32, scale=True)
    blur = given.blur or Blur(kernel=1, sigma=(1.0, 1.0), probability=0.0)
    blurring = [v2.RandomApply([v2.GaussianBlur(blur.kernel, blur.sigma)], blur.probability)]
    return v2.Compose(
        [
            *([to_float] if as_float else []),
            v2.RandomResizedCrop(size, given.crop_scale or (1, 1), given.ratio, antialias=True),
            v2.RandomHorizontalFlip(given.flip),
            v2.RandomApply([v2.ColorJitter(*given.jitter)], given.jitter_probability),
            v2.RandomGrayscale(given.grey_probability),
            *(blurring if given.blur else []),
            *([] if as_float else [to_float]),
            v2.Normalize(MEAN, STD),
        ]
    )


def our_views(images: torch.Tensor, given: Recipe, size: int) -> torch.Tensor:
    words = view_words(0, Purpose.VIEW, torch.arange(len(images)), 0, torch.tensor([[0], [1]]))
    return two_views(images, words, given, size=size, mean=MEAN, std=STD)


def least(calls: dict[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """The least seconds of each call, after one call to warm up."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for repeat in range(repeats + 1):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            if repeat:
                times[name].append(time.perf_counter() - start)
    return {name: min(taken) for name, taken in times.items()}


def measure(name: str, height: int, size: int, count: int, repeats: int) -> dict[str, float]:
    """Least milliseconds of a view: ours, torchvision's on uint8, torchvision's on float32."""
    images, given = some_images(count, height), recipe(name, size)
    on_bytes, on_floats = (torchvision_transform(given, size, as_float=as_float) for as_float in (False, True))
    taken = least(
        {
            "ours": lambda: our_views(images, given, size),
            "uint8": lambda: torch.stack([on_bytes(image) for _ in range(2) for image in images]),
            "float32": lambda: torch.stack([on_floats(image) for _ in range(2) for image in images]),
        },
        repeats,
    )
    return {name: seconds / (2 * count) * 1e3 for name, seconds in taken.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--pixels", type=int, default=1_000_000, help="of all views together; at most 256 images")
    parser.add_argument("--repeats", type=int, default=5)
    given = parser.parse_args()
    tune_memory()
    torch.set_num_threads(given.threads)
    for name, height, size in CASES:
        count = min(256, max(8, given.pixels // (2 * size * size)))
        taken = measure(name, height, size, count, given.repeats)
        ratio = min(taken["uint8"], taken["float32"]) / taken["ours"]
        print(
            f"{name:15} {height:3} → {size:3} px, {count:3} images × 2 views, {given.threads} threads: "
            f"ours {taken['ours']:.3f} ms a view, torchvision uint8 {taken['uint8']:.3f}, "
            f"float32 {taken['float32']:.3f}, ratio {ratio:.1f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
