"""Files of unknown origin: nothing in them is run, nothing grows beyond their size, each fault is one line."""

import pickle
import struct
import zipfile
from pathlib import Path

import pytest
import torch
from foreign_files import feature_dim, projector, randomised, resnet, save_snapshot, state_of

from analysis.cli import main
from analysis.foreign.folders import Checkpoint
from analysis.foreign.loading import Loader
from coupled.store import StoreError

pytestmark = pytest.mark.slow  # runs of their own; others of the fast ones train, resume and read as well


def good(folder):
    encoder = randomised(resnet("resnet18", 4))
    return save_snapshot(folder, 2, state_of(encoder, projector(feature_dim(encoder))))


class Running:
    """A pickle of it makes the file MARK when it is loaded."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return Path.touch, (Path(self.mark),)


def code(path, mark):
    torch.save({"MODEL_STATE": {"x": Running(mark)}, "EPOCHS_RUN": 2}, path)


def code_of_old_torch(path, mark):
    path.write_bytes(pickle.dumps({"MODEL_STATE": {"x": Running(mark)}, "EPOCHS_RUN": 2}))


def rewritten(path, change, compression=zipfile.ZIP_STORED):
    """The file with each record changed by `change(name, data)`."""
    with zipfile.ZipFile(path) as archive:
        records = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in records.items():
            archive.writestr(name, change(name, data))


def declared(path, mark):
    """Ten gigabytes, of which four numbers are there."""
    torch.save({"MODEL_STATE": {"x": torch.zeros(4)}, "EPOCHS_RUN": 2}, path)
    many = b"\x8a\x05" + (2_500_000_000).to_bytes(5, "little")
    rewritten(path, lambda name, data: data.replace(b"K\x04", many) if name.endswith("data.pkl") else data)


def allocated(path, mark):
    """Ten gigabytes of zeros, which torch's restricted loader would make."""
    torch.save({"MODEL_STATE": {"x": torch.zeros(4)}, "EPOCHS_RUN": 2}, path)
    zeros = b"\x80\x02cbuiltins\nbytearray\n\x8a\x05" + (10_000_000_000).to_bytes(5, "little") + b"\x85R."
    rewritten(path, lambda name, data: zeros if name.endswith("data.pkl") else data)


def expanded(path, mark):
    """Ten gigabytes of one number that is repeated."""
    torch.save({"MODEL_STATE": {"x": torch.zeros(1).expand(2_500_000_000)}, "EPOCHS_RUN": 2}, path)


def packed(path, mark):
    """A hundred megabytes in a hundred kilobytes."""
    torch.save({"MODEL_STATE": {"x": torch.zeros(25_000_000)}, "EPOCHS_RUN": 2}, path)
    rewritten(path, lambda name, data: data, zipfile.ZIP_DEFLATED)


def claimed(path, mark):
    """A table of contents that says ten gigabytes."""
    good(path.parent)
    data = bytearray(path.read_bytes())
    at = data.index(b"PK\x01\x02")
    data[at + 24 : at + 28] = struct.pack("<I", 4_000_000_000)
    path.write_bytes(data)


def cut(path, mark):
    good(path.parent)
    path.write_bytes(path.read_bytes()[:100_000])


def empty(path, mark):
    path.write_bytes(b"")


def link(path, mark):
    good(path.parent / "elsewhere").rename(path.parent / "there.pth")
    path.symlink_to(path.parent / "there.pth")


def folder(path, mark):
    path.mkdir()


def wrong_epoch(path, mark):
    good(path.parent).rename(path.parent / "aside.pth")
    content = torch.load(path.parent / "aside.pth", weights_only=True)
    torch.save({**content, "EPOCHS_RUN": 7}, path)


def no_epoch(path, mark):
    torch.save({"MODEL_STATE": {"x": torch.zeros(4)}}, path)


def no_state(path, mark):
    torch.save({"x": torch.zeros(4)}, path)


def strange(path, mark):
    torch.save({"MODEL_STATE": {"x\n\x1b[31m": torch.zeros(4).double()}, "EPOCHS_RUN": 2}, path)


def sparse(path, mark):
    torch.save({"MODEL_STATE": {"x": torch.eye(3).to_sparse()}, "EPOCHS_RUN": 2}, path)


HOSTILE = {
    code: "which is code: only tensors and plain values are loaded",
    code_of_old_torch: "it is no file that torch.save wrote",
    declared: "record size (16 bytes) does not match expected size",
    allocated: "it asks for more memory than a file of its size may",
    expanded: "and its tensors 10000000000",
    packed: "it is packed, which torch.save never does",
    claimed: "bytes and declares 4000",
    cut: "or was cut short",
    empty: "or was cut short",
    link: "a link is not followed",
    folder: "is no file",
    wrong_epoch: "its EPOCHS_RUN is 7, its name says 2",
    no_epoch: "its EPOCHS_RUN is no whole number",
    no_state: "it has no MODEL_STATE",
    strange: r"x\n\x1b[31m is of float64, and float32 is needed",
    sparse: "x is no plain tensor",
}


@pytest.mark.parametrize("make", HOSTILE, ids=lambda make: make.__name__)
def test_a_hostile_file_is_one_line_and_runs_nothing(make, loader, tmp_path):
    path, mark = tmp_path / "snapshot_2.pth", tmp_path / "mark"
    make(path, mark)
    with pytest.raises(StoreError) as error:
        loader.load(Checkpoint("dcl", 2, "snapshot", path))
    line = str(error.value)
    assert line.startswith(f"{path}: ") and HOSTILE[make] in line and line.isprintable()
    assert len(line) < 700
    assert not mark.exists()


def test_the_mark_would_be_made_by_a_loader_that_runs_code(tmp_path):
    code(tmp_path / "snapshot_2.pth", tmp_path / "mark")
    torch.load(tmp_path / "snapshot_2.pth", weights_only=False)
    assert (tmp_path / "mark").exists()


def test_a_good_file_is_loaded_after_bad_ones(loader, tmp_path):
    tensors = loader.load(Checkpoint("dcl", 2, "snapshot", good(tmp_path)))
    assert tensors["encoder.net.conv1.weight"].shape == (4, 3, 3, 3)


def test_time_is_limited(tmp_path):
    with (
        Loader(tmp_path / "tensors.safetensors", seconds=0.01) as loader,
        pytest.raises(StoreError, match="longer than"),
    ):
        loader.load(Checkpoint("dcl", 2, "snapshot", good(tmp_path)))


@pytest.mark.parametrize("make", [code, link, wrong_epoch], ids=lambda make: make.__name__)
def test_the_command_is_one_line_and_leaves_nothing_behind(make, tmp_path, capsys):
    files = tmp_path / "files/dcl"
    files.mkdir(parents=True)
    good(files).rename(files / "snapshot_0.pth")
    torch.save({**torch.load(files / "snapshot_0.pth", weights_only=True), "EPOCHS_RUN": 0}, files / "snapshot_0.pth")
    make(files / "snapshot_2.pth", tmp_path / "mark")
    output = tmp_path / "new/runs/run"
    assert main(["import", str(tmp_path / "files"), "--data-set", "shapes", "--output", str(output)]) == 3
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"coupled-analyze: {files}/snapshot_2.pth: ") and HOSTILE[make] in line
    assert not (tmp_path / "new").exists() and not (tmp_path / "mark").exists()
