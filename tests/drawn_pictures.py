"""Small pictures and their files, for tests of image folders."""

import numpy as np
from PIL import Image

_SIZES = [(48, 40), (33, 71), (64, 64), (90, 35)]  # width, height


def picture(width, height, seed, mode="RGB"):
    """A soft pattern with some noise."""
    draw = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width] / 9
    waves = [128 + 90 * np.sin(draw.normal() * x + draw.normal() * y + phase) for phase in range(3)]
    noisy = np.stack(waves, axis=2) + draw.normal(size=(height, width, 3)) * 8
    return Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).convert(mode)


def save(path, seed=0, size=None, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    picture(*(size or _SIZES[seed % len(_SIZES)]), seed).save(path, **options)
    return path


def image_folder(root, count=20):
    """An image folder of two classes with `count` small JPEGs and PNGs in each split."""
    for split in ("train", "test"):
        for index in range(count):
            save(root / split / "ab"[index % 2] / f"{index}.{'jpg' if index % 3 else 'png'}", index)
    return root
