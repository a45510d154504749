"""What the check for damage costs, and what it sees of it.

    python tests/benchmarks/bench_decode.py [--repeats 100] [--flips 200]

Ours, from the file's name to RGB pixels, against Pillow's own reader on the same files, in turns in one process: median
milliseconds of `--repeats`, and the ratio of these. Pictures have 500 × 375 pixels, JPEGs about as many bytes as
ImageNet's. Freed memory stays in the process, as in `coupled-run`. Where a picture comes to lie there changes a time by
a fifth, so each turn leaves another gap before it. Then what a flipped bit does in each part of JPEGs, these and small
ones: `--flips` bits a part and file.
"""

import argparse
import random
import sys
import tempfile
import time
from collections import Counter, defaultdict
from pathlib import Path
from statistics import median

import numpy as np
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile

sys.path.insert(0, str(Path(__file__).parents[2]))
sys.path.insert(0, str(Path(__file__).parents[1]))
from drawn_pictures import picture
from picture_bytes import encoded, flip, jpegs, parts_of_jpeg

from coupled.data import decode
from coupled.data.unfit import Unfit
from coupled.memory import tune_memory

SIZE = (500, 375)


def files() -> dict[str, bytes]:
    soft = picture(*SIZE, 3)
    calm = Image.fromarray((np.asarray(soft) // 8 * 8).astype(np.uint8))  # compresses as a photograph does
    deep = np.asarray(soft.convert("L")).astype(np.uint16) * 257
    return {
        "JPEG": encoded(soft, "JPEG", quality=92),
        "JPEG, calm": encoded(calm, "JPEG", quality=75),
        "JPEG, grey": encoded(soft.convert("L"), "JPEG", quality=92),
        "JPEG, CMYK": encoded(soft.convert("CMYK"), "JPEG", quality=92),
        "JPEG, a restart a row": encoded(soft, "JPEG", quality=92, restart_marker_rows=1),
        "JPEG, a restart a unit": encoded(soft, "JPEG", quality=92, restart_marker_blocks=1),
        "JPEG, progressive": encoded(soft, "JPEG", quality=92, progressive=True),
        "PNG": encoded(soft, "PNG"),
        "PNG, calm": encoded(calm, "PNG"),
        "PNG, grey": encoded(soft.convert("L"), "PNG"),
        "PNG, RGBA": encoded(calm.convert("RGBA"), "PNG"),
        "PNG, palette": encoded(soft.quantize(256), "PNG"),
        "PNG, 16 bits": encoded(Image.fromarray(deep), "PNG"),
    }


def pillows(path: Path) -> np.ndarray:
    with path.open("rb") as file:
        image = (PngImageFile if path.suffix == ".png" else JpegImageFile)(file)
        image.load()
        if image.mode == "I;16":
            return np.repeat((np.asarray(image) >> 8).astype(np.uint8)[..., None], 3, axis=2)
        return np.array(image if image.mode == "RGB" else image.convert("RGB"))


def compare(content: bytes, path: Path, repeats: int) -> str:
    path.write_bytes(content)
    assert np.array_equal(decode.decode(path).permute(1, 2, 0), pillows(path))
    draw, times = random.Random(1), {pillows: [], decode.decode: []}
    for _ in range(repeats):
        gap = bytearray(draw.randrange(1 << 20))
        for reader, taken in times.items():
            start = time.thread_time()
            reader(path)
            taken.append(1e3 * (time.thread_time() - start))
        del gap
    theirs, ours = map(median, times.values())
    return f"Pillow {theirs:.2f} ms, ours {ours:.2f} ms, ratio {ours / theirs:.2f}"


def flips(content: bytes, count: int) -> dict[str, Counter[str]]:
    """For each part of a JPEG, how many of `count` flipped bits are refused, or leave the pixels or change them."""
    draw, whole, places = random.Random(1), decode.pixels(content), defaultdict(list)
    for place, part in enumerate(parts_of_jpeg(content)):
        places[part].append(place)
    seen: dict[str, Counter[str]] = {part: Counter() for part in places}
    for part, where in places.items():
        for place in draw.choices(where, k=count):
            try:
                same = np.array_equal(decode.pixels(flip(content, place, draw)), whole)
                seen[part]["same pixels" if same else "other pixels"] += 1
            except Unfit:
                seen[part]["refused"] += 1
    return seen


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=100)
    parser.add_argument("--flips", type=int, default=200)
    options = parser.parse_args()
    tune_memory()
    with tempfile.TemporaryDirectory() as folder:
        for name, content in files().items():
            path = Path(folder) / ("x.png" if name.startswith("PNG") else "x.jpg")
            print(f"{name:22} {len(content):7} bytes: {compare(content, path, options.repeats)}", flush=True)
    if not options.flips:
        return
    shown = files()
    for title, some in (("40 × 29", jpegs()), ("500 × 375", {name: shown[name] for name in shown if "JPEG" in name})):
        total: dict[str, Counter[str]] = defaultdict(Counter)
        for content in some.values():
            for part, seen in flips(content, options.flips).items():
                total[part] += seen
        for part, seen in total.items():
            shares = ", ".join(f"{100 * n / seen.total():.1f} % {what}" for what, n in seen.most_common())
            print(f"{title:10} {part:20} {seen.total():5} bits flipped: {shares}")


if __name__ == "__main__":
    main()
