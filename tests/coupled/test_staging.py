"""Tensors on their way to a device: one buffer, out of which come the bytes that went in."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from coupled import staging

CPU, META = torch.device("cpu"), torch.device("meta")
DTYPES = (torch.uint8, torch.bool, torch.int64, torch.float32, torch.float64)


@pytest.fixture
def away(monkeypatch):
    """Tensors on the CPU count as being elsewhere; the buffers that were made."""
    buffers = []

    def room(size):
        buffers.append(torch.empty(size, dtype=torch.uint8))
        return buffers[-1]

    monkeypatch.setattr(staging, "_is_on", lambda tensor, device: False)
    monkeypatch.setattr(staging, "_room", room)
    monkeypatch.setattr(staging, "_pinned", lambda tensor: tensor)
    return buffers


def same_bytes(a, b):
    plain = (tensor.contiguous().numpy().tobytes() for tensor in (a, b))
    return (a.shape, a.dtype) == (b.shape, b.dtype) and len(set(plain)) == 1


SHAPES = st.lists(st.integers(0, 5), max_size=3).map(tuple)


@given(st.lists(st.tuples(st.sampled_from(DTYPES), SHAPES), min_size=2, max_size=6))
def test_all_come_out_as_they_went_in(kinds):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(staging, "_room", lambda size: torch.empty(size, dtype=torch.uint8))
        tensors = [(torch.rand(shape) * 200).to(dtype) for dtype, shape in kinds]
        buffer = staging._packed(tensors)
    parts = staging._parts(buffer, tensors)
    assert all(same_bytes(*pair) for pair in zip(parts, tensors, strict=True))
    assert all(part.storage_offset() * part.itemsize % 64 == 0 and part.is_contiguous() for part in parts)


def test_several_share_one_buffer_of_any_layout(away):
    tensors = [torch.rand(6, 4).T, torch.arange(5), torch.rand(3, 1).expand(3, 7)]
    moved = staging.moved(tensors, CPU)
    assert len(away) == 1 and len({part.untyped_storage().data_ptr() for part in moved}) == 1
    assert all(same_bytes(*pair) for pair in zip(moved, tensors, strict=True))
    assert all(part.data_ptr() != tensor.data_ptr() for part, tensor in zip(moved, tensors, strict=True))


def test_what_is_there_stays_as_it_is():
    tensors = [torch.rand(2), torch.arange(3)]
    assert [a is b for a, b in zip(staging.moved(tensors, CPU), tensors, strict=True)] == [True, True]
    assert staging.moved([], CPU) == staging.moved([], META) == []


def test_one_alone_needs_no_buffer(away):
    (moved,) = staging.moved([torch.arange(4)], CPU)
    (dense,) = staging.moved([torch.arange(8)[::2]], CPU)
    assert not away and moved.tolist() == [0, 1, 2, 3] and dense.tolist() == [0, 2, 4, 6] and dense.is_contiguous()
