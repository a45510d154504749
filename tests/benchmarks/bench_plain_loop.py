"""A step of a lockstep run beside a step of a plain two-arm research loop and one of stock networks, in turns.

    OMP_WAIT_POLICY=PASSIVE python tests/benchmarks/bench_plain_loop.py CONFIG [--blocks 5] [--steps 2] [--workers 0]

The plain loop is of torch and torchvision alone: every sample goes through torchvision's transforms by itself (PIL
images, a DataLoader of `--workers` processes), tensors are contiguous, batch-norm is torch's, each arm has one forward
a view, similarities are the cosine similarity of z broadcast against z, and SGD updates. It records nothing. Ours
records as the config says, panels and checkpoints apart. Stock (`coupled.bench.stock`) trains on one fixed batch, in
its better layout: no loop with these networks can take less, so plain / stock is the most that could be won.

Ratios are medians over blocks, each of `--steps` steps of all three. Freed memory stays in the process, as in
`coupled-run`, for all of them. Configs on a CPU, of ResNets and SGD, with the objectives dcl, nt_xent and nscl.
"""

import argparse
import itertools
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from statistics import median

import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms
from torchvision.models.resnet import BasicBlock, Bottleneck

from coupled.bench.clock import Clock
from coupled.bench.steps import shortened, without_panels
from coupled.bench.yardsticks import faster_stock
from coupled.config import Config, Schedule, load
from coupled.data.splits import ImageSplit
from coupled.driver.assembly import build, start_run
from coupled.driver.loop import advance
from coupled.inputs.dataset import data_info
from coupled.memory import tune_memory
from coupled.views import recipe

IMAGES = 4096  # that the plain loop draws from; they are in memory before it is timed
BLOCKS = {
    "resnet-small": (BasicBlock, (1, 1, 1, 1)),
    "resnet18": (BasicBlock, (2, 2, 2, 2)),
    "resnet34": (BasicBlock, (3, 4, 6, 3)),
    "resnet50": (Bottleneck, (3, 4, 6, 3)),
}


class Views(Dataset[tuple[Tensor, Tensor, Tensor]]):
    """Two augmented views and the label of every image."""

    def __init__(self, config: Config, images: Tensor, labels: Tensor) -> None:
        given, info = recipe(config.views.recipe, config.views.size), data_info(config)
        assert given.blur is None and given.crop_scale and given.ratio, "a recipe without blur"
        self.images = [Image.fromarray(image.permute(1, 2, 0).numpy()) for image in images]
        self.labels = labels
        self.transform: Callable[[Image.Image], Tensor] = transforms.Compose(
            [
                transforms.RandomResizedCrop(config.views.size, given.crop_scale, given.ratio),
                transforms.RandomHorizontalFlip(given.flip),
                transforms.RandomApply([transforms.ColorJitter(*given.jitter)], given.jitter_probability),
                transforms.RandomGrayscale(given.grey_probability),
                transforms.ToTensor(),
                transforms.Normalize(info.mean, info.std),
            ]
        )

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor, Tensor]:
        image = self.images[index]
        return self.transform(image), self.transform(image), self.labels[index]


def encoder(config: Config) -> nn.Sequential:
    """torchvision's residual blocks behind the 3×3 stem, and the mean over the image."""
    block, counts = BLOCKS[config.model.encoder]
    width = config.model.width
    assert config.model.stem in ("cifar", None), "the 3×3 stem"
    layers = [nn.Conv2d(3, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU(inplace=True)]
    before = width
    for stage, count in enumerate(counts):
        planes = width * 2**stage
        for number in range(count):
            stride = 2 if stage and not number else 1
            after, shortcut = planes * block.expansion, None
            if stride != 1 or before != after:
                shortcut = nn.Sequential(nn.Conv2d(before, after, 1, stride, bias=False), nn.BatchNorm2d(after))
            layers.append(block(before, planes, stride, shortcut))
            before = after
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())


def network(config: Config) -> nn.Sequential:
    """Encoder and projector."""
    trunk, hidden, dim = encoder(config), config.model.projection_hidden, config.model.projection_dim
    features = trunk(torch.zeros(2, 3, config.views.size, config.views.size)).shape[1]
    first = (nn.Linear(features, hidden, bias=False), nn.BatchNorm1d(hidden), nn.ReLU(inplace=True))
    return nn.Sequential(trunk, *first, nn.Linear(hidden, dim, bias=False), nn.BatchNorm1d(dim))


def loss_of(objective: str, z: Tensor, labels: Tensor, temperature: float) -> Tensor:
    """The contrastive loss of z (2B, d), view 1 first, with similarities by broadcasting."""
    logits = F.cosine_similarity(z[:, None], z[None], dim=-1) / temperature
    B = len(labels)
    positive = torch.cat([logits.diagonal(B), logits.diagonal(-B)])
    itself = torch.eye(B, dtype=torch.bool).repeat(2, 2)
    if objective == "nscl":
        itself = (labels[:, None] == labels).repeat(2, 2)
    if objective == "nt_xent":
        itself = torch.eye(2 * B, dtype=torch.bool)
    return (logits.masked_fill(itself, -torch.inf).logsumexp(1) - positive).mean()


class PlainLoop:
    """The loop that most would write: a network and an optimiser an arm, in turn on the same batch."""

    def __init__(self, config: Config, loader: DataLoader[tuple[Tensor, Tensor, Tensor]]) -> None:
        assert config.optimiser.name == "sgd" and config.train.precision == "float32" and config.train.device == "cpu"
        self.arms = [(arm.objective, arm.temperature, network(config)) for arm in config.arms.values()]
        assert all(objective in ("dcl", "nt_xent", "nscl") for objective, _, _ in self.arms)
        rate, momentum, decay = config.optimiser.learning_rate, config.optimiser.momentum, config.optimiser.weight_decay
        self.optimisers = [
            torch.optim.SGD(net.parameters(), lr=rate, momentum=momentum or 0.0, weight_decay=decay)
            for _, _, net in self.arms
        ]
        self.batches: Iterator[tuple[Tensor, Tensor, Tensor]] = itertools.chain.from_iterable(itertools.repeat(loader))

    def step(self) -> None:
        """One update of every arm."""
        first, second, labels = next(self.batches)
        for (objective, temperature, net), optimiser in zip(self.arms, self.optimisers, strict=True):
            optimiser.zero_grad()
            z = torch.cat([net(first), net(second)])
            loss_of(objective, z, labels, temperature).backward()
            optimiser.step()


def usual(act: Callable[[], object]) -> Callable[[], object]:
    """An act with torch's usual choice of kernels, which a run restricts."""

    def called() -> None:
        torch.set_deterministic_debug_mode("default")
        act()
        torch.set_deterministic_debug_mode("error")

    return called


def measure(config: Config, folder: str, blocks: int, steps: int, workers: int) -> dict[str, list[float]]:
    """Seconds a step of ours, plain and stock, by block."""
    short = without_panels(shortened(config, "bench", 2 + (blocks + 1) * steps, folder, Schedule()))
    parts = build(short)
    run = start_run(parts)
    assert run is not None and isinstance(parts.source.split, ImageSplit)
    ids = torch.arange(min(IMAGES, len(parts.source.split)))
    views = Views(config, parts.source.split.images(ids), next(iter(parts.source.labels.values()))[ids])
    loader = DataLoader(views, config.batches.size, shuffle=True, drop_last=True, num_workers=workers)
    plain, batch = PlainLoop(config, loader), parts.source.at(0)
    stock, layout = faster_stock(short, parts.device, batch, Clock(parts.device))
    print(f"stock in {layout}, ours in {config.train.memory_format}", flush=True)
    ours = itertools.count()
    acts = {
        "ours": lambda: advance(run, next(ours)),
        "plain": usual(plain.step),
        "stock": lambda: stock.step(batch),
    }
    times: dict[str, list[float]] = {name: [] for name in acts}
    with run:
        for block in range(blocks + 1):  # the first to warm up
            for name, act in acts.items():
                start = time.perf_counter()
                for _ in range(steps):
                    act()
                if block:
                    times[name].append((time.perf_counter() - start) / steps)
    return times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", metavar="CONFIG")
    parser.add_argument("--blocks", type=int, default=5)
    parser.add_argument("--steps", type=int, default=2, help="in a block")
    parser.add_argument("--workers", type=int, default=0, help="processes of the plain loop's DataLoader")
    given = parser.parse_args()
    tune_memory()
    with tempfile.TemporaryDirectory() as folder:
        times = measure(load(given.config), folder, given.blocks, given.steps, given.workers)
    for name, seconds in times.items():
        print(f"{name:6} {median(seconds) * 1e3:9.1f} ms a step (least {min(seconds) * 1e3:.1f})")
    for above, below in (("plain", "ours"), ("plain", "stock"), ("ours", "stock")):
        ratios = sorted(a / b for a, b in zip(times[above], times[below], strict=True))
        print(f"{above} / {below}: {median(ratios):.3f} ({ratios[0]:.3f} to {ratios[-1]:.3f}, {given.blocks} blocks)")
    print(f"load: {' '.join(f'{load:.1f}' for load in os.getloadavg())}")


if __name__ == "__main__":
    main()
