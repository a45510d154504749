"""Views of image folders that ranks with different arms make together: the bytes of one process, from 1/A of the files.

The ranks are threads here, whose messages meet in memory; `coupled/ranks/test_ranks.py` has processes.
"""

import hashlib
import multiprocessing
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from types import SimpleNamespace

import pytest
import torch
from drawn_pictures import image_folder
from helpers import tables
from hypothesis import given
from hypothesis import strategies as st
from other_inputs import OTHERS, SHARING

from coupled import runtime
from coupled.cli import main
from coupled.config import from_tables
from coupled.config.traits import Inputs, own_inputs
from coupled.data import folders
from coupled.errors import RunStopped
from coupled.inputs import source as sources
from coupled.inputs.dataset import load_split
from coupled.inputs.shares import shares
from coupled.inputs.source import Source, Stream
from coupled.planning.plan import plan
from coupled.ranks.faults import Elsewhere
from coupled.ranks.mesh import ALONE, Axis, Mesh
from coupled.ranks.placement import place

pytestmark = pytest.mark.slow
ARMS = {**SHARING, **OTHERS}
BATCHES, VIEWS = Inputs("batches", 1), Inputs("views", 3)


class Meeting:
    """Where the tensors of all ranks of an axis lie at a message."""

    def __init__(self, size):
        self.size, self._tensors, self._barrier = size, [None] * size, threading.Barrier(size, timeout=30)

    def of(self, index, tensor):
        self._tensors[index] = tensor.clone()
        self._barrier.wait()
        tensors = list(self._tensors)
        self._barrier.wait()
        return tensors


class Between(Axis):
    """An axis through threads. `received`: bytes that came from others."""

    def __init__(self, index, meeting):
        super().__init__(index, meeting.size)
        self._meeting, self.received = meeting, 0

    def gathered(self, tensor):
        return torch.stack(self._meeting.of(self.index, tensor))

    def shared(self, tensor, index):
        self.received += tensor.nbytes * (index != self.index)
        return tensor.copy_(self._meeting.of(self.index, tensor)[index])


def meshes(config, world):
    placed = place(config, world)
    parts, host = placed.data, Meeting(world)
    lines = [Meeting(world // parts) for _ in range(parts)]
    places = [divmod(rank, parts) for rank in range(world)]
    return [
        Mesh(placed, rank, Between(a, lines[d]), Axis(d, parts), Between(rank, host))
        for rank, (a, d) in enumerate(places)
    ]


def on_ranks(act, ranks):
    """What `act(mesh)` gives, or raises, of every rank."""
    with ThreadPoolExecutor(len(ranks)) as pool:
        running = [pool.submit(act, mesh) for mesh in ranks]
        return [future.exception() or future.result() for future in running]


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return image_folder(tmp_path_factory.mktemp("images"))


def config_of(root, arms=ARMS, **sections):
    sections = {"data": {"name": "image-folder", "workers": 0, "labelling": "class"}, "model": {"width": 8}, **sections}
    return from_tables(tables(arms=arms, paths={"data": str(root)}, **sections))


def source_of(config, mesh=ALONE, device="cpu"):
    labelling = [config.data.labelling]
    return Source(config, load_split(config, "train"), labelling, torch.device(device), mesh)


def batches_of(config, mesh, steps=3):
    with closing(Stream(source_of(config, mesh), steps)) as stream:
        return [stream.at(step) for step in range(steps)]


def digests(batch):
    """Of each kind of input: pixels in their layout, and integers."""
    return {inputs: digest(of, of.integers()[inputs]) for inputs, of in {None: batch, **batch.others}.items()}


def digest(batch, integers):
    sha = hashlib.sha256(repr((batch.pixels.dtype, batch.pixels.shape, batch.pixels.stride())).encode())
    for tensor in (batch.pixels, *integers):
        sha.update(tensor.numpy().tobytes())
    return sha.hexdigest()


@pytest.mark.parametrize(("world", "parts"), [(1, 1), (2, 1), (3, 1), (5, 1), (4, 2)])
@pytest.mark.parametrize("train", [{}, {"precision": "float64", "memory_format": "channels_last"}])
def test_views_have_the_bytes_of_one_process(root, world, parts, train):
    """8 samples: neither three ranks nor five make equally many."""
    config = config_of(root, ranks={"data": parts}, train=train)
    ranks = meshes(config, world)
    for mesh, batches in zip(ranks, on_ranks(lambda mesh: batches_of(config, mesh), ranks), strict=True):
        alone = source_of(config, Mesh(data=mesh.data))
        here = {inputs for inputs, arms in own_inputs(config.arms).items() if set(arms) & set(mesh.own(list(ARMS)))}
        for step, batch in enumerate(batches):
            expected = digests(alone.at(step))
            assert digests(batch) == {inputs: expected[inputs] for inputs in (None, *here)}
            assert set(batch.elsewhere) == {BATCHES, VIEWS} - here


@pytest.mark.parametrize(("world", "parts"), [(1, 1), (2, 1), (3, 1), (4, 2)])
def test_a_rank_decodes_its_share_of_the_files_of_every_kind_of_input(root, world, parts, monkeypatch):
    decode, files = folders.decode, Counter()

    def counted(path):
        files[threading.get_ident()] += 1
        return decode(path)

    def steps(mesh):
        batches_of(config, mesh, steps=2)
        return files.pop(threading.get_ident())

    monkeypatch.setattr(folders, "decode", counted)
    config = config_of(root, ranks={"data": parts})
    decoded = on_ranks(steps, meshes(config, world))
    assert sum(decoded) == 2 * 3 * 8
    assert max(decoded) <= 2 * 3 * -(-8 // world)


def test_a_damaged_image_ends_all_ranks_with_one_line(root, monkeypatch):
    decode = folders.decode

    def refused(path):
        if threading.current_thread() is damaged:
            raise RunStopped("no image")
        return decode(path)

    def one_step(mesh):
        nonlocal damaged
        if mesh.rank == 1:
            damaged = threading.current_thread()
        return batches_of(config, mesh, steps=1)

    damaged = None
    monkeypatch.setattr(folders, "decode", refused)
    config = config_of(root)
    errors = on_ranks(one_step, meshes(config, 3))
    assert "no image" in str(errors[1]) and all(error.agreed and error.exit_code == 3 for error in errors)
    assert [isinstance(error, Elsewhere) for error in errors] == [True, False, True]


def test_a_batch_of_one_step_is_made_without_the_others(root):
    config = config_of(root)
    (mesh, *_) = meshes(config, 3)
    batch, alone = source_of(config, mesh).at(1), source_of(config).at(1)
    assert torch.equal(batch.pixels, alone.pixels) and mesh.arms.received == 0


def test_what_a_rank_receives_is_what_plan_says(root):
    for world, arms in ((2, ARMS), (5, ARMS), (3, {**SHARING, "twin": {"kind": "twin"}})):
        config = config_of(root, arms)
        ranks = meshes(config, world)
        on_ranks(lambda mesh, config=config: batches_of(config, mesh, steps=1), ranks)
        assert plan(config, world).traffic.views == max(mesh.arms.received for mesh in ranks) > 0


def test_fewer_samples_than_ranks_are_made_by_each(root):
    config = config_of(root, batches={"size": 4})
    (mesh, *_) = meshes(config, 5)
    assert not source_of(config, mesh).share.is_handed_on and plan(config, 5).traffic.views == 0


def test_images_in_memory_are_made_by_each_rank():
    config = from_tables(tables(arms=ARMS))
    (mesh, *_) = meshes(config, 2)
    (batch,) = batches_of(config, mesh, steps=1)
    assert mesh.arms.received == 0 and plan(config, 2).traffic.views == 0 and len(batch.pixels) == 16


def test_plan_says_what_passes_of_views(root, tmp_path, capsys):
    text = f'data.name = "image-folder"\npaths.data = "{root}"\nviews.size = 12\nbatches.size = 8\n'
    text += "panel = {size = 8, surrogate_size = 8}\n"
    (tmp_path / "c.toml").write_text(text + 'arms.cl.objective = "dcl"\narms.t.kind = "twin"\n')
    assert main(["plan", str(tmp_path / "c.toml"), "--ranks", "2"]) == 0
    line = "  for views     13.8 kB a step to a rank, which decodes 1/2 of its images"
    assert line in capsys.readouterr().out.splitlines()  # 4 of 8 samples, 2 · 3 · 12² · 4 bytes each


@given(samples=st.integers(0, 500), ranks=st.integers(1, 40))
def test_shares_are_as_equal_as_can_be(samples, ranks):
    each = [len(range(samples)[share]) for share in shares(samples, ranks)]
    assert len(each) == ranks and sum(each) == samples and each[0] == min(each) >= max(each) - 1


@pytest.mark.parametrize(("device", "pinned"), [("cpu", False), ("cuda", True)])
def test_crops_are_pinned_for_a_gpu_alone(root, device, pinned, monkeypatch):
    asked = []
    monkeypatch.setattr(sources, "Ahead", lambda make, workers, steps, pinned: SimpleNamespace(at=asked.append(pinned)))
    monkeypatch.setattr(sources, "SideStream", Beside)
    Stream(source_of(config_of(root), device=device), 1)
    assert asked == [pinned] == [runtime.has_streams(torch.device(device))]


class Beside:
    """A side stream that is not there; which thread made each step."""

    def __init__(self, make):
        self._make, self.threads = make, []
        Beside.last = self

    def begin(self, step):
        self.threads.append(threading.current_thread().name)
        return self._make(step)

    @staticmethod
    def arrived(batch):
        return batch


@pytest.fixture
def beside(monkeypatch):
    """Streams are those of a GPU, whose pinned memory and stream of its own are left out."""
    ahead = sources.Ahead
    monkeypatch.setattr(runtime, "has_streams", lambda device: True)
    monkeypatch.setattr(sources, "SideStream", Beside)
    monkeypatch.setattr(sources, "Ahead", lambda make, workers, steps, pinned: ahead(make, workers, steps))


@pytest.mark.parametrize("workers", [0, 2])
def test_a_gpu_finishes_crops_in_the_thread_ahead_and_bytes_stay(root, workers, beside):
    config = config_of(root, data={"name": "image-folder", "labelling": "class", "workers": workers})
    alone = source_of(config)
    with closing(Stream(source_of(config), 8)) as stream:
        for step in (0, 1, 2, 6, 7, 3):  # a jump is a start
            assert digests(stream.at(step)) == digests(alone.at(step))
        assert set(Beside.last.threads) == {"ahead"} and len(Beside.last.threads) >= 6
    assert not multiprocessing.active_children() and "ahead" not in {thread.name for thread in threading.enumerate()}


@pytest.mark.parametrize("world", [2, 3])
def test_views_that_are_handed_on_are_finished_where_ranks_meet(root, world, beside, monkeypatch):
    """No thread sends messages but the one that the steps are in."""
    config, finished = config_of(root), Source.finished

    def watched(self, drawn, share=None):
        assert threading.current_thread().name != "ahead"
        return finished(self, drawn, share)

    Beside.last = None
    monkeypatch.setattr(Source, "finished", watched)
    ranks = meshes(config, world)
    expected = [digests(source_of(config).at(step))[None] for step in range(3)]
    for batches in on_ranks(lambda mesh: batches_of(config, mesh), ranks):
        assert [digests(batch)[None] for batch in batches] == expected
    assert Beside.last is None


def test_a_damaged_image_reaches_the_steps_by_way_of_the_thread_ahead(root, beside, monkeypatch):
    def refused(path):
        raise RunStopped("no image")

    monkeypatch.setattr(folders, "decode", refused)
    with closing(Stream(source_of(config_of(root)), 3)) as stream, pytest.raises(RunStopped, match="no image"):
        stream.at(0)
