"""What the messages of an axis are made of."""

from types import SimpleNamespace

import pytest
import torch
import torch.distributed as dist

from coupled.ranks import mesh


@pytest.fixture
def gloo():
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield
    dist.destroy_process_group()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.int64, torch.uint8])
def test_tensors_are_gathered_into_one_without_a_warning(gloo, dtype):
    x, gathered = torch.arange(24).to(dtype), torch.zeros((1, 24), dtype=dtype)
    mesh._gather(gathered, x.view(1, -1))
    assert torch.equal(gathered[0], x)


def test_the_newer_name_of_the_gather_is_taken_where_torch_has_it():
    assert mesh.gather_of(SimpleNamespace(all_gather_single=1, all_gather_into_tensor=2)) == 1
    assert mesh.gather_of(SimpleNamespace(all_gather_into_tensor=2)) == 2
