"""What only files or a run can show to be wrong, through the command: one line, its exit code, nothing half-written."""

import numpy as np
import pytest
from PIL import Image

from coupled.cli import main
from coupled.store import tree_hash

SMALL = """
[batches]
size = 4
[model]
width = 4
projection_dim = 4
[views]
size = 16
[panel]
size = 4
surrogate_size = 2
[train]
steps = 2
"""
ARMS = '[arms.cl]\nobjective = "dcl"\n'


def data(name, root):
    return f'[data]\nname = "{name}"\n[paths]\nruns = "{root}/runs"\ndata = "{root}/files"\n' + SMALL + ARMS


def no_files(root):
    return data("cifar10", root)


def truncated(root):
    (root / "files").mkdir()
    for name in [*(f"data_batch_{k}.bin" for k in range(1, 6)), "test_batch.bin"]:
        (root / "files" / name).write_bytes(bytes(3073 * 99))
    return data("cifar10", root)


def pickled(root):
    (root / "files/cifar-10-batches-py").mkdir(parents=True)
    (root / "files/cifar-10-batches-py/data_batch_1").write_bytes(b"\x80\x04")
    return data("cifar10", root)


def mislabelled(root):
    (root / "files").mkdir()
    for name, size in (("train.bin", 50_000), ("test.bin", 10_000)):
        records = np.zeros((size, 3074), np.uint8)
        records[7, 0] = 20  # coarse labels are 0 … 19
        (root / "files" / name).write_bytes(records.tobytes())
    return data("cifar100", root)


def no_labels(root):
    (root / "own.py").write_text(
        "import torch, coupled\n"
        "from coupled.data import ArraySplit, DataInfo\n"
        "info = DataInfo('plain', 8, 8, 16, (0.5,) * 3, (0.3,) * 3, {}, '')\n"
        "images = torch.zeros(8, 3, 16, 16, dtype=torch.uint8)\n"
        "coupled.register_data_set(info, lambda split, root: ArraySplit(images, {}))\n"
    )
    code = f'[code]\nfiles = ["{root}/own.py"]\n'
    return code + data("plain", root) + '[arms.nscl]\nobjective = "nscl"\n'


def no_folder(root):
    return data("image-folder", root)


def pictures(root, spoil):
    generator = np.random.default_rng(0)
    for split in ("train", "test"):
        for index in range(8):
            place = root / "files" / split / f"class{index % 2}"
            place.mkdir(parents=True, exist_ok=True)
            Image.fromarray(generator.integers(0, 256, (20, 24, 3), dtype=np.uint8)).save(place / f"{index}.png")
    for path in (root / "files/train").rglob("*.png"):
        path.write_bytes(path.read_bytes()[:spoil])
    return data("image-folder", root)


def not_a_picture(root):
    return pictures(root, 10)


def infinite(root):
    return data("shapes", root) + "[arms.hot]\nobjective = 'nscl'\ntemperature = 1e-30\n"


CASES = [
    (no_files, 2, "https://www.cs.toronto.edu"),
    (truncated, 2, "data_batch_1.bin"),
    (pickled, 2, "binary"),
    (mislabelled, 2, "train.bin"),
    (no_labels, 2, "it needs labels, and plain has none"),
    (no_folder, 2, "image-folder"),
    (not_a_picture, 3, "class"),
    (infinite, 3, "arm hot has a non-finite"),
]


@pytest.mark.parametrize(("setup", "code", "message"), CASES, ids=[case[0].__name__ for case in CASES])
def test_a_bad_file_or_run_is_one_line(setup, code, message, tmp_path, capsys):
    config = tmp_path / "bad.toml"
    config.write_text(setup(tmp_path))
    assert main(["train", str(config), "--ranks", "1"]) == code
    said = capsys.readouterr().err.splitlines()
    assert message in said[-1]
    assert [line for line in said if line.startswith("coupled-run: ")] == said[-1:]
    # A run that had to stop has begun: what it committed stays, and nothing else does.
    assert (tmp_path / "runs/bad").exists() == (setup is infinite)
    assert not list(tmp_path.rglob("*.tmp"))


def test_another_digest_under_the_same_name_is_refused_and_the_run_is_untouched(tmp_path, capsys):
    config = tmp_path / "good.toml"
    config.write_text(data("shapes", tmp_path).replace("steps = 2", "steps = 0"))
    assert main(["train", str(config), "--ranks", "1"]) == 0
    before = tree_hash(tmp_path / "runs/good")
    capsys.readouterr()
    assert main(["train", str(config), "--ranks", "1", "--set", "seed=5", "--set", "name=good"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "--overwrite" in line
    assert tree_hash(tmp_path / "runs/good") == before
