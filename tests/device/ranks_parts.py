"""Several ranks: nccl's calls with one rank, and two ranks on one GPU."""

import os
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from parts import check, part
from training_parts import config_of

from coupled.driver.train import train
from coupled.ranks import mesh
from coupled.store import open_tensors


@part()
def every_message_passes_through_nccl() -> str:
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29517"}
    torch.cuda.set_device(0)
    dist.init_process_group("cpu:gloo,cuda:nccl", rank=0, world_size=1)
    try:
        x = torch.arange(12.0, device="cuda").view(3, 4)
        tensors = x.new_empty((1, 12))
        mesh._gather(tensors, x.view(1, -1))
        check(bool((tensors.view(3, 4) == x).all()), "all_gather")
        dist.broadcast(x, group_src=0)
        received = torch.empty_like(x.view(1, 12))
        dist.all_to_all_single(received, x.view(1, 12))
        check(bool((received.view(3, 4) == x).all()), "all_to_all_single")
        host = dist.new_group(backend="gloo")
        dist.barrier(group=host)
        torch.cuda.synchronize()
    finally:
        dist.destroy_process_group()
    return "all_gather, broadcast, all_to_all_single"


@part(gpu=False)
def two_ranks_of_one_device_follow_one_process() -> str:
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
        command += [str(Path(__file__).parent / "two_ranks.py"), folder]
        here = Path(__file__).parent
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (here, here.parent, here.parent.parent)))}
        ended = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False, env=environment)
        check(ended.returncode == 0, _error_of(ended.stderr))
        whole = train(replace(config_of(folder), name="alone"))
        double = train(replace(config_of(folder, train={"precision": "float64"}), name="alone64"))
        for name in ("cl", "nscl", "scl", "ce", "twin"):
            one, other = (_end(run, name) for run in (whole, Path(folder) / "arms"))
            check(all(one[k].tobytes() == other[k].tobytes() for k in one), f"arms on two ranks: {name} differs")
        worst = 0.0
        for name in ("cl", "ce"):
            one, other = (_end(run, name) for run in (double, Path(folder) / "data"))
            worst = max(worst, *(float(np.abs(one[k] - other[k]).max()) for k in one))
        check(worst < 1e-10, f"data on two ranks: off by {worst:.1e}")
        return f"arms: equal bytes; data, float64: within {worst:.1e}"


def _end(run: Path, arm: str) -> dict[str, np.ndarray]:
    return dict(open_tensors(run / f"checkpoints/step-000000008/{arm}.safetensors").items())


def _error_of(text: str) -> str:
    """The lines of a launcher's output that name an error."""
    lines = [line for line in text.splitlines() if "Error" in line or "coupled" in line]
    return " | ".join(lines)[:1500] or text[-800:]
