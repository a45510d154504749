"""Rows on their way from a device: all of a step in one parcel, and the same values as without one."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from coupled.recording import transfer
from coupled.recording.transfer import Transfer, send

DTYPES = [torch.float32, torch.float64, torch.int64, torch.uint8, torch.bool]


class Parcel:
    """Bytes that are on their way until the device is waited for."""

    count = 0

    def __init__(self, packed):
        Parcel.count += 1
        self._packed = packed.clone()

    def received(self):
        return self._packed.numpy()


def take_away(patch):
    """Every tensor is on a device whose memory the host cannot read."""
    patch.setattr(transfer, "_is_remote", lambda flat: True)
    patch.setattr(transfer, "_Parcel", Parcel)
    patch.setattr(Parcel, "count", 0)


@pytest.fixture
def far(monkeypatch):
    take_away(monkeypatch)


def rows_of(shapes):
    generator = torch.Generator().manual_seed(0)
    values = {
        f"c{k}": torch.randint(0, 200, shape, generator=generator).to(dtype) for k, (shape, dtype) in enumerate(shapes)
    }
    return {"arm": values, "shared": {"host": np.arange(3.0)}}


SHAPES = st.lists(st.tuples(st.lists(st.integers(0, 4), max_size=3), st.sampled_from(DTYPES)), max_size=6)


@given(st.lists(SHAPES, min_size=1, max_size=4))
def test_what_arrives_are_the_values_shapes_and_types_that_were_sent(steps):
    every = [rows_of(shapes) for shapes in steps]
    here = [Transfer(rows).arrays() for rows in every]
    with pytest.MonkeyPatch.context() as patch:
        take_away(patch)
        transfers = [Transfer(rows) for rows in every]
        send(transfers)
        for one, other in zip(transfers, here, strict=True):
            arrays = one.arrays()
            assert arrays.keys() == other.keys()
            for place, array in arrays.items():
                assert (array.dtype, array.shape) == (other[place].dtype, other[place].shape)
                assert array.tobytes() == other[place].tobytes()


def test_all_of_a_step_is_one_parcel_and_later_changes_of_a_tensor_are_not_in_it(far):
    z = torch.ones(3)
    transfers = [Transfer({"arm": {"z": z}}), Transfer({"arm": {"n": z.double()}, "shared": {"ids": z.long()}})]
    z.zero_()
    send(transfers)
    send(transfers)  # it is on its way already
    assert Parcel.count == 1
    assert transfers[0].arrays()["arm", "z"].tolist() == [1, 1, 1]


def test_what_was_never_sent_is_not_taken_for_here(far):
    with pytest.raises(AssertionError, match="never sent"):
        Transfer({"arm": {"z": torch.ones(3)}}).arrays()


def test_what_the_host_can_read_is_not_sent():
    assert not Transfer({"arm": {"z": torch.ones(3)}}).remote()
