"""What a step is held against: stock networks in their better layout, and what the machine can multiply."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from statistics import median
from typing import Final

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from coupled.bench.clock import Clock
from coupled.bench.stock import Stock
from coupled.config import Config
from coupled.config.resolve import too_narrow
from coupled.inputs.source import Batch

LAYOUTS: Final = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}
_TRIES = 3
# Sides of square matrices large enough that a product of two reaches a machine's peak, and small enough to be quick.
_SIDE: Final = {"cpu": 2048, "cuda": 8192}


def timed(clock: Clock, act: Callable[..., object], *arguments: object) -> float:
    """Seconds that one call takes."""
    start = clock.mark()
    act(*arguments)
    return clock.seconds(start, clock.mark())


def faster_stock(config: Config, device: torch.device, batch: Batch, clock: Clock) -> tuple[Stock, str]:
    """Stock networks in the layout that takes fewer seconds a step, the least of three, and its name."""
    # torch's CPU kernels write outside their memory for narrower networks in channels_last.
    narrow = device.type == "cpu" and bool(too_narrow(config.model))
    names = list(LAYOUTS)[:1] if narrow else list(LAYOUTS)
    stocks = {name: Stock(config, device, LAYOUTS[name]) for name in names}
    for stock in stocks.values():
        stock.step(batch)
    tries = [{name: timed(clock, stock.step, batch) for name, stock in stocks.items()} for _ in range(_TRIES)]
    best = min(names, key=lambda name: min(seconds[name] for seconds in tries))
    return stocks[best], best


def step_flops(config: Config, device: torch.device, batch: Batch) -> int:
    """Floating-point operations of one stock step of all arms: those of convolutions, matrix products, attention."""
    plain = replace(config, train=replace(config.train, compile=False))  # what is compiled cannot be counted
    stock = Stock(plain, device, torch.contiguous_format)
    with FlopCounterMode(display=False) as counter:
        stock.step(batch)
    return counter.get_total_flops()


def multiplying_rate(config: Config, device: torch.device, clock: Clock) -> float:
    """Floating-point operations a second of a large matrix product in the precision of a config's convolutions."""
    dtype = torch.bfloat16 if config.train.precision == "bf16" else getattr(torch, config.train.dtype)
    side = _SIDE[device.type]
    generator = torch.Generator(device).manual_seed(0)  # random: a GPU multiplies constants faster, on less power
    matrix = torch.randn(side, side, generator=generator, device=device).to(dtype)
    product = torch.empty_like(matrix)
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = config.train.tf32
    try:
        seconds = [timed(clock, lambda: torch.mm(matrix, matrix, out=product)) for _ in range(2 + _TRIES)]
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before
    return 2 * side**3 / min(seconds[2:])


def in_turns(clock: Clock, ours: Callable[[], object], theirs: Callable[[], object], turns: int) -> tuple[float, float]:
    """Seconds that ours takes, and its ratio to theirs: medians over turns, after one of each to warm up."""
    pairs = [(timed(clock, ours), timed(clock, theirs)) for _ in range(turns + 1)][1:]
    return median(own for own, _ in pairs), median(own / other for own, other in pairs)


def evaluate(stock: Stock, images: Sequence[Tensor]) -> None:
    """An evaluation forward of several sets of images."""
    for some in images:
        stock.forward_eval(some)
