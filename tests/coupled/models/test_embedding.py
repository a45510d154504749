"""How many images one evaluation forward takes."""

import pytest
import torch
from helpers import tables, tiny
from torch.nn.modules.module import register_module_forward_hook

from coupled.arms.network import build_network, evaluation_chunk
from coupled.config import from_tables
from coupled.models import evaluating

MIB = 1 << 20


def config_of(encoder, size=32, device="cpu", **train):
    return from_tables(
        tables(views={"size": size}, model={"encoder": encoder, "width": 64}, train={"device": device, **train})
    )


@pytest.mark.parametrize(
    ("encoder", "size", "device", "images"),
    [
        ("resnet-small", 32, "cpu", 256),  # 64 channels of 32 × 32: .25 MiB an image
        ("resnet18", 32, "cpu", 256),
        ("resnet50", 32, "cpu", 64),  # 256 channels: 1 MiB
        (
            "resnet50",
            224,
            "cpu",
            16,
        ),  # 64 channels of 112 × 112, 256 of 56 × 56: 3 MiB, 20 fit
        ("resnet50", 32, "cuda", 1024),
        ("resnet50", 224, "cuda", 320),
    ],
)
def test_the_largest_tensor_of_a_forward_stays_below_64_mib_on_a_cpu_and_1_gib_on_a_gpu(encoder, size, device, images):
    assert evaluation_chunk(config_of(encoder, size, device)) == images


def test_float64_takes_half_as_many_and_bf16_as_many_as_float32():
    chunks = [evaluation_chunk(config_of("resnet18", precision=name)) for name in ("float64", "float32", "bf16")]
    assert chunks == [128, 256, 256]


@pytest.mark.parametrize("encoder", ["resnet-small", "resnet18", "resnet50", "vit"])
def test_the_largest_tensor_is_the_one_that_a_module_really_gives(encoder, tmp_path):
    width = {"vit": 384}.get(encoder, 32)
    config = tiny(tmp_path, views={"size": 16}, model={"encoder": encoder, "width": width})
    sizes, network = [1], build_network(config)
    hook = register_module_forward_hook(
        lambda _module, _given, out: sizes.append(out.numel() if isinstance(out, torch.Tensor) else 1)
    )
    with evaluating(network):
        network.to_empty(device="cpu")(torch.zeros(1, 3, 16, 16))
    hook.remove()
    limit = 64 * MIB // (4 * max(sizes)) // 16 * 16
    assert evaluation_chunk(config) == max(16, min(256, limit))
