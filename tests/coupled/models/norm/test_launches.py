"""How many kernels batch-norm starts on a GPU, in every layer of a ResNet-50, counted on shapes."""

import pytest
import torch
from fake_gpu import Counted, count_kernels
from helpers import tables

from coupled.arms.network import meta_network
from coupled.config import from_tables
from coupled.models.batchnorm import BatchNorm, absorb
from coupled.models.norm import fused

LAYERS = 53 + 2  # with those of the projection head


@pytest.fixture
def counted(monkeypatch):
    """Of the meta device: autograd's backward cannot run on a GPU that is not there."""
    with Counted("meta") as counts:
        count_kernels(counts, monkeypatch)
        yield counts


def each(counted, norms, monkeypatch):
    """Launches of every layer's forward and backward, once they are run."""
    forwards, backwards, begun = [], [], []
    for norm in norms:
        norm.register_forward_pre_hook(lambda *given: begun.append(len(counted.launches)))
        norm.register_forward_hook(lambda *given: forwards.append(counted.launches[begun.pop() :]))
    backward = fused.FusedNormalise.backward

    def counting(ctx, *gradients):
        before = len(counted.launches)
        result = backward(ctx, *gradients)
        backwards.append(counted.launches[before:])
        return result

    monkeypatch.setattr(fused.FusedNormalise, "backward", staticmethod(counting))
    return forwards, backwards


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_batch_norm_of_a_resnet50_is_two_launches_a_layer_each_way(counted, layout, monkeypatch):
    network = meta_network(from_tables(tables(model={"encoder": "resnet50"}))).train()
    norms = [module for module in network.modules() if isinstance(module, BatchNorm)]
    network = network.to(memory_format=layout)
    forwards, backwards = each(counted, norms, monkeypatch)
    for _ in range(2):  # the number of elements is put on the device once
        for kept in (forwards, backwards):
            kept.clear()
        network(torch.empty(8, 3, 32, 32, device="meta").to(memory_format=layout))[1].sum().backward()
    assert len(norms) == len(forwards) == len(backwards)
    assert set(map(len, forwards)) == {2}, forwards
    assert set(map(len, backwards)) == {2}, backwards
    before = len(counted.launches)
    absorb(norms)
    assert len(counted.launches) - before <= 9 * 2, "of all layers, for each of the two forwards"
