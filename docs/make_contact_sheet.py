"""Draw docs/img/shapes.png: samples of every class of every factor of `shapes`, then samples in the order of their ids.

python docs/make_contact_sheet.py
"""

from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import torch
from matplotlib.figure import Figure
from torch import Tensor

from coupled import data
from coupled.data.shapes import FACTORS

COLUMNS, GAP, STEP = 16, 2, 34  # image pixels; a sample is 32 wide
MARGIN, LEFT, HEAD, BETWEEN = 6, 52, 12, 8
ROWS = {"shape": 2, "colour": 2, "texture": 1, "size": 1}
RANDOM_ROWS = 5
SCALE = 2  # screen pixels per image pixel
INK, QUIET = "#1f2328", "#57606a"


def page_of(images: Tensor) -> Tensor:
    """Images (n, 3, 32, 32) in rows of `COLUMNS` on white: uint8 (height, width, 3)."""
    page = torch.full((-(-len(images) // COLUMNS) * STEP - GAP, COLUMNS * STEP - GAP, 3), 255, dtype=torch.uint8)
    for k, image in enumerate(images):
        top, left = k // COLUMNS * STEP, k % COLUMNS * STEP
        page[top : top + STEP - GAP, left : left + STEP - GAP] = image.permute(1, 2, 0)
    return page


def samples_by_class(split: data.Split, factor: str, start: int) -> Tensor:
    """`ROWS[factor]` rows of images from id `start` on, the columns shared out among the classes."""
    each, rows = COLUMNS // len(FACTORS[factor]), ROWS[factor]
    labels = split.labels(factor)[start:]
    ids = [(labels == k).nonzero().flatten()[: rows * each] + start for k in range(len(FACTORS[factor]))]
    return split.images(torch.cat([part.view(rows, each) for part in ids], dim=1).flatten())


def draw(split: data.Split) -> Figure:
    rows = sum(ROWS.values()) + RANDOM_ROWS
    height = 2 * MARGIN + rows * STEP + len(ROWS) * (HEAD + BETWEEN) + BETWEEN
    width = LEFT + COLUMNS * STEP - GAP + MARGIN
    figure = plt.figure(figsize=(width * SCALE / 100, height * SCALE / 100), dpi=100, facecolor="white")
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, width), ylim=(height, 0))
    axes.axis("off")

    def place(images: Tensor, top: int, name: str) -> int:
        page = page_of(images)
        axes.imshow(page, extent=(LEFT, LEFT + page.shape[1], top + page.shape[0], top), interpolation="nearest")
        axes.text(
            LEFT - 6, top + page.shape[0] / 2, name, color=INK, fontsize=13, weight="bold", ha="right", va="center"
        )
        return top + page.shape[0] + BETWEEN

    top = MARGIN
    for index, (factor, kinds) in enumerate(FACTORS.items()):
        for k, kind in enumerate(kinds):
            middle = LEFT + ((k + 0.5) * COLUMNS / len(kinds)) * STEP - GAP / 2
            axes.text(middle, top + HEAD / 2, kind, color=QUIET, fontsize=12, ha="center", va="center")
        top = place(samples_by_class(split, factor, 1000 * (index + 1)), top + HEAD, factor)
    place(split.images(torch.arange(RANDOM_ROWS * COLUMNS)), top + BETWEEN, "train ids\n0 … 79")
    axes.set(xlim=(0, width), ylim=(height, 0), aspect="auto")
    return figure


if __name__ == "__main__":
    path = Path(__file__).parent / "img" / "shapes.png"
    path.parent.mkdir(exist_ok=True)
    draw(data.load("shapes", "train", seed=0, root="")).savefig(path)
    print(path)
