"""Views a second of an image folder: two ranks with different arms that share the views, and each making all of them.

    python tests/benchmarks/bench_shared_views.py [--ranks 2] [--batch 64] [--size 224] [--blocks 7]

JPEGs of 500 × 375 pixels and some 70 kB. Each rank has one thread, which decodes, crops, colours and hands on: no
worker, so that nothing is made ahead. Both ways in turns in the same processes, blocks of a step; views are those of
the whole batch, which every rank gets. CPU time is that of the whole process, messages with it.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path
from statistics import median

import numpy as np
import torch
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

sys.path.insert(0, str(Path(__file__).parents[2]))
sys.path.insert(0, str(Path(__file__).parents[1]))
from drawn_pictures import picture
from helpers import tables
from picture_bytes import encoded

from coupled import runtime
from coupled.config import from_tables
from coupled.inputs.dataset import load_split
from coupled.inputs.source import Source, Stream
from coupled.memory import tune_memory
from coupled.ranks.joining import joined

ARMS = {f"a{k}": {"objective": "dcl", "temperature": 0.1 * (k + 1)} for k in range(8)}


def image_folder(root: Path, count: int) -> float:
    """Images of two classes; returns the mean size of a file in kB."""
    sizes = []
    for split in ("train", "test"):
        for number in range(count if split == "train" else 16):
            data = encoded(picture(500, 375, number), "JPEG", quality=90)
            path = root / split / f"class{number % 2}" / f"{number}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
            sizes.append(len(data))
    return sum(sizes) / len(sizes) / 1e3


def of_rank(given: str, blocks: int, out: str) -> None:
    """What one rank measures: seconds and CPU seconds of a step, together and alone, block by block."""
    tune_memory()
    torch.set_num_threads(1)
    config = from_tables(json.loads(given))
    with joined(config) as mesh:
        source = Source(config, load_split(config, "train"), ["class"], runtime.configure(config), mesh)
        rows: dict[str, list[tuple[float, float]]] = {"together": [], "alone": []}
        with closing(Stream(source, blocks + 1)) as stream:
            for step in range(blocks + 1):
                for way, at in (("together", stream.at), ("alone", source.at)):
                    mesh.most(0)
                    start = time.perf_counter(), time.process_time()
                    at(step)
                    rows[way].append((time.perf_counter() - start[0], time.process_time() - start[1]))
        Path(out, f"{os.environ['RANK']}.json").write_text(json.dumps({way: took[1:] for way, took in rows.items()}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in {"ranks": 2, "batch": 64, "size": 224, "blocks": 7}.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as root:
        size = image_folder(Path(root), options.batch)
        given = tables(
            arms={name: ARMS[name] for name in list(ARMS)[: options.ranks]},
            data={"name": "image-folder", "labelling": "class", "workers": 0},
            paths={"data": root},
            batches={"size": options.batch},
            views={"size": options.size},
            panel={"size": 16, "surrogate_size": 16},
        )
        launch = LaunchConfig(
            1, 1, options.ranks, run_id="0", rdzv_backend="c10d", rdzv_endpoint="localhost:0", local_addr="localhost"
        )
        elastic_launch(launch, sys.executable)(__file__, "--rank", json.dumps(given), str(options.blocks), root)
        of_ranks = [json.loads(path.read_text()) for path in sorted(Path(root).glob("*.json"))]
    print(
        f"files of {size:.0f} kB, {options.ranks} ranks, B = {options.batch}, {options.size} px; load", os.getloadavg()
    )
    # (blocks, ranks, seconds and CPU seconds); a step takes as long as the slowest rank's
    took = {way: np.array([of[way] for of in of_ranks]).swapaxes(0, 1) for way in of_ranks[0]}
    seconds = {way: times[..., 0].max(1) for way, times in took.items()}
    computing = {way: times[..., 1].mean(1) for way, times in took.items()}
    for way in took:
        a_second, of_cpu = (2 * options.batch / median(of[way]) for of in (seconds, computing))
        print(f"{way:10} {a_second:7.0f} views a second; {of_cpu:7.0f} a second of CPU time of a rank")
    for name, of in (("seconds", seconds), ("CPU time", computing)):
        ratios = sorted(of["alone"] / of["together"])
        print(f"{name:10} alone / together: {median(ratios):.2f} (from {ratios[0]:.2f} to {ratios[-1]:.2f})")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--rank"]:
        of_rank(sys.argv[2], int(sys.argv[3]), sys.argv[4])
    else:
        main()
