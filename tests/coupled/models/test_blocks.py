"""Residual blocks of our own give torchvision's bytes, and nothing of ours loads torchvision."""

import ast
from copy import deepcopy
from pathlib import Path

import pytest
import torch
from torch import nn
from torchvision.models import resnet

import coupled
from coupled.models import resnets
from coupled.models.batchnorm import BatchNorm

pytestmark = [pytest.mark.kernels]
BLOCKS = {resnets._Basic: resnet.BasicBlock, resnets._Bottleneck: resnet.Bottleneck}


def filled_pair(block, stride):
    """Our block and torchvision's with the same batch-norms and weights."""
    torch.manual_seed(0)
    width = 4 * block.expansion
    way = nn.Sequential(nn.Conv2d(8, width, 1, stride, bias=False), BatchNorm(width))
    ours, theirs = block(8, 4, stride, way, "relu"), BLOCKS[block](8, 4, stride, deepcopy(way), norm_layer=BatchNorm)
    for tensor in theirs.state_dict().values():
        tensor.normal_()
    ours.load_state_dict(theirs.state_dict())
    return ours, theirs


@pytest.mark.parametrize("block", BLOCKS)
@pytest.mark.parametrize("stride", [1, 2])
def test_a_block_gives_torchvisions_bytes_forwards_and_backwards(block, stride):
    pair = filled_pair(block, stride)
    images = torch.randn(4, 8, 12, 12)
    outputs = [module(images) for module in pair]
    for output in outputs:
        output.square().sum().backward()
    assert torch.equal(*outputs)
    ours, theirs = (dict(module.named_parameters()) for module in pair)
    assert list(ours) == list(theirs)
    assert all(torch.equal(ours[name].grad, theirs[name].grad) for name in ours)


def test_nothing_but_bench_imports_torchvision():
    """Its import takes as long as torch's, and every command would pay it. `bench` compares with its modules."""
    root = Path(coupled.__file__).parent
    for path in set(root.rglob("*.py")) - set((root / "bench").rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        names = {n.name for node in ast.walk(tree) if isinstance(node, ast.Import) for n in node.names}
        names |= {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
        assert not any(name.startswith("torchvision") for name in names), path
