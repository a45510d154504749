"""Forward and backward of batch-norm, ours against torch's, in both memory layouts: one norm, and a whole small ResNet.

    OMP_WAIT_POLICY=PASSIVE python tests/benchmarks/bench_batchnorm.py [--threads 1] [--repeats 20]

Interleaved in one process; the least of `--repeats`. With one thread it is CPU time, which a busy machine disturbs
less. In brackets: the ratio to torch's in its better layout.
"""

import argparse
import time
from collections.abc import Callable

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.nn import functional as F

from coupled.memory import tune_memory
from coupled.models.batchnorm import BatchNorm
from coupled.models.resnet import Projector, SmallResNet
from coupled.objectives.losses import loss

LAYOUTS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}
SHAPES = ((256, 8, 24, 24), (256, 16, 12, 12), (256, 32, 6, 6), (256, 64, 3, 3))
SAMPLES, WIDTH = 128, 8


def filled(module: nn.Module) -> nn.Module:
    """Plain values for what our constructors leave empty."""
    with torch.no_grad():
        for name, tensor in [*module.named_parameters(), *module.named_buffers()]:
            if tensor.ndim > 1:
                tensor.normal_(0, 0.1)
            elif tensor.is_floating_point():
                tensor.fill_(float(name.endswith(("weight", "running_var"))))
    return module


def with_torchs_norms(network: nn.Module) -> nn.Module:
    for parent in list(network.modules()):
        for name, norm in list(parent.named_children()):
            if isinstance(norm, BatchNorm):
                kind = nn.BatchNorm1d if isinstance(parent, Projector) else nn.BatchNorm2d
                setattr(parent, name, kind(len(norm.weight)))
    return network


def norm_call(kind: type[nn.Module], shape: tuple[int, ...], layout: torch.memory_format) -> Callable[[], None]:
    norm = filled(kind(shape[1]))
    x = torch.randn(shape).contiguous(memory_format=layout).requires_grad_()
    gradient = torch.randn(shape).contiguous(memory_format=layout)

    def call() -> None:
        x.grad = None
        norm(x).backward(gradient)
        forget(norm)

    return call


def network_call(theirs: bool, size: int, layout: torch.memory_format) -> Callable[[], None]:
    network = filled(nn.Sequential(SmallResNet(WIDTH), Projector(8 * WIDTH, 64, 64)))
    network = (with_torchs_norms(network) if theirs else network).to(memory_format=layout)
    images: Tensor = torch.randn(2 * SAMPLES, 3, size, size).contiguous(memory_format=layout)

    def call() -> None:
        network.zero_grad()
        z = F.normalize(network[1](network[0](images)[0]), dim=1)
        loss("dcl", z, None, 0.5).backward()
        forget(network)

    return call


def forget(network: nn.Module) -> None:
    """Drop what our norms have seen since the last update; here there is none."""
    for module in network.modules():
        if isinstance(module, BatchNorm):
            module._seen.clear()


def least(calls: dict[str, Callable[[], None]], repeats: int) -> dict[str, float]:
    """The least milliseconds of each call, after one round to warm up."""
    clock = time.thread_time if torch.get_num_threads() == 1 else time.perf_counter
    times: dict[str, list[float]] = {name: [] for name in calls}
    for repeat in range(repeats + 1):
        for name, call in calls.items():
            start = clock()
            call()
            if repeat:
                times[name].append(1e3 * (clock() - start))
    return {name: min(taken) for name, taken in times.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=20)
    options = parser.parse_args()
    tune_memory()
    torch.set_num_threads(options.threads)
    columns = [f"{whose} {layout}" for whose in ("torch", "ours") for layout in LAYOUTS]
    table = Table("ms", *columns)
    rows: dict[str, list[Callable[[], None]]] = {}
    for shape in SHAPES:
        kinds = (nn.BatchNorm2d, BatchNorm)
        rows[str(shape)] = [norm_call(kind, shape, layout) for kind in kinds for layout in LAYOUTS.values()]
    for size in (24, 28):
        calls = [network_call(theirs, size, layout) for theirs in (True, False) for layout in LAYOUTS.values()]
        rows[f"network, {SAMPLES} × 2 views, {size} px"] = calls
    for title, calls in rows.items():
        times = least(dict(zip(columns, calls, strict=True)), options.repeats)
        best = min(time for name, time in times.items() if name.startswith("torch"))
        table.add_row(title, *[f"{times[name]:.2f} ({times[name] / best:.2f})" for name in columns])
    Console(width=140).print(table)


if __name__ == "__main__":
    main()
