"""A small residual network for CPUs, and the projector of every encoder.

Shapes: images (N, 3, S, S); stage k of the encoder (N, width·2^k, S/2^k, S/2^k); h (N, feature_dim); projector output
(N, d).
"""

from itertools import pairwise

import torch
from torch import Tensor, nn

from coupled.models.activation import Activation
from coupled.models.batchnorm import BatchNorm


def pooled(x: Tensor) -> Tensor:
    """The mean over the image of features (N, C, H, W), (N, C), in float32 or better."""
    return x.mean((2, 3), dtype=torch.promote_types(x.dtype, torch.float32))


def conv3x3(channels_in: int, channels_out: int, stride: int = 1) -> nn.Conv2d:
    """A 3×3 convolution without bias that keeps height and width at stride 1."""
    return nn.Conv2d(channels_in, channels_out, 3, stride=stride, padding=1, bias=False)


class _Block(nn.Module):
    """Basic residual block (He et al. 2016): conv–BN–ReLU–conv–BN plus shortcut, then ReLU."""

    def __init__(self, channels_in: int, channels_out: int, stride: int, activation: str) -> None:
        super().__init__()
        self.activation = Activation(activation)
        self.conv1, self.bn1 = conv3x3(channels_in, channels_out, stride), BatchNorm(channels_out)
        self.conv2, self.bn2 = conv3x3(channels_out, channels_out), BatchNorm(channels_out)
        self.shortcut = None
        if stride != 1 or channels_in != channels_out:
            self.shortcut = nn.Sequential(
                nn.Conv2d(channels_in, channels_out, 1, stride=stride, bias=False), BatchNorm(channels_out)
            )

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn2(self.conv2(self.activation(self.bn1(self.conv1(x)))))
        return self.activation(y + (x if self.shortcut is None else self.shortcut(x)))


class SmallResNet(nn.Module):
    """Stem and four stages of one basic block each (ResNet-10 at a fraction of its width), global average pool.

    `width` channels in the first stage, doubled by each; h has 8·width features. At width 8: 0.08 M parameters.
    """

    def __init__(self, width: int, activation: str) -> None:
        super().__init__()
        self.activation = Activation(activation)
        self.stem, self.bn = conv3x3(3, width), BatchNorm(width)
        channels = [width, width, 2 * width, 4 * width, 8 * width]
        self.stages = nn.ModuleList(
            _Block(c_in, c_out, 1 if k == 0 else 2, activation) for k, (c_in, c_out) in enumerate(pairwise(channels))
        )

    @property
    def stage_modules(self) -> list[nn.Module]:
        """The stages in their order."""
        return list(self.stages)

    def forward(self, images: Tensor, *, stages: bool = False) -> tuple[Tensor, list[Tensor]]:
        """h (N, feature_dim) and, when asked, the pooled features of every stage, [(N, channels)], h last."""
        x = self.activation(self.bn(self.stem(images)))
        features = []
        for stage in self.stages:
            x = stage(x)
            if stages:
                features.append(pooled(x))
        return features[-1] if stages else pooled(x), features


class Projector(nn.Module):
    """Linear – BN – ReLU – Linear – BN, no linear biases, last BN without a shift (arXiv 2510.08852, section 5.1)."""

    def __init__(self, feature_dim: int, hidden: int, dim: int, activation: str) -> None:
        super().__init__()
        self.activation = Activation(activation)
        self.linear1, self.bn1 = nn.Linear(feature_dim, hidden, bias=False), BatchNorm(hidden)
        self.linear2, self.bn2 = nn.Linear(hidden, dim, bias=False), BatchNorm(dim, bias=False)

    def forward(self, h: Tensor) -> Tensor:
        return self.bn2(self.linear2(self.activation(self.bn1(self.linear1(h)))))
