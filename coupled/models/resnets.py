"""torchvision's ResNet-18, 34 and 50 (He et al. 2016, stride in the 3×3 of a bottleneck) with our batch-norm.

Parameter names and, at width 64 with the ImageNet stem, shapes are torchvision's without `fc`; so are the operations.
The blocks are our own: torchvision loads all its models for one, which takes as long as loading torch.
Shapes: images (N, 3, S, S); stage k = 0 … 3 (N, E·width·2^k, s/2^k, s/2^k) with E = 1, for ResNet-50 E = 4, and s = S
after the CIFAR stem, S/4 after ImageNet's; h (N, 8·E·width).
"""

from torch import Tensor, nn
from torch.nn import functional as F

from coupled.models.activation import Activation
from coupled.models.batchnorm import BatchNorm
from coupled.models.resnet import conv3x3, pooled


class _Basic(nn.Module):
    """conv–BN–ReLU–conv–BN plus shortcut (`downsample` where shapes change), then ReLU, or another activation."""

    expansion = 1

    def __init__(
        self, channels_in: int, planes: int, stride: int, downsample: nn.Module | None, activation: str
    ) -> None:
        super().__init__()
        self.activation = Activation(activation)
        self.conv1, self.bn1 = conv3x3(channels_in, planes, stride), BatchNorm(planes)
        self.conv2, self.bn2 = conv3x3(planes, planes), BatchNorm(planes)
        self.downsample = downsample

    def forward(self, x: Tensor) -> Tensor:
        y = self.activation(self.bn1(self.conv1(x)))
        return self.activation(_joined(self.bn2(self.conv2(y)), x, self.downsample))


class _Bottleneck(nn.Module):
    """1×1 to `planes`, 3×3, 1×1 to four times as many, each with BN, ReLU between; plus shortcut, then ReLU."""

    expansion = 4

    def __init__(
        self, channels_in: int, planes: int, stride: int, downsample: nn.Module | None, activation: str
    ) -> None:
        super().__init__()
        self.activation = Activation(activation)
        wide = planes * self.expansion
        self.conv1, self.bn1 = _conv1x1(channels_in, planes), BatchNorm(planes)
        self.conv2, self.bn2 = conv3x3(planes, planes, stride), BatchNorm(planes)
        self.conv3, self.bn3 = _conv1x1(planes, wide), BatchNorm(wide)
        self.downsample = downsample

    def forward(self, x: Tensor) -> Tensor:
        y = self.activation(self.bn1(self.conv1(x)))
        y = self.activation(self.bn2(self.conv2(y)))
        return self.activation(_joined(self.bn3(self.conv3(y)), x, self.downsample))


def _joined(y: Tensor, x: Tensor, downsample: nn.Module | None) -> Tensor:
    y += x if downsample is None else downsample(x)
    return y


def _conv1x1(channels_in: int, channels_out: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(channels_in, channels_out, 1, stride=stride, bias=False)


_Block = type[_Basic] | type[_Bottleneck]
_BLOCKS: dict[str, tuple[_Block, tuple[int, ...]]] = {
    "resnet18": (_Basic, (2, 2, 2, 2)),
    "resnet34": (_Basic, (3, 4, 6, 3)),
    "resnet50": (_Bottleneck, (3, 4, 6, 3)),
}


class ResNet(nn.Module):
    """The ResNet called `name`, `width` channels wide (64 is torchvision's; every channel count is in proportion).

    `stem`: "cifar" is a 3×3 convolution of stride 1 and no pooling (Chen et al. 2020, appendix B.9), "imagenet" a 7×7
    of stride 2 and a max-pool of stride 2.
    """

    def __init__(self, name: str, width: int, stem: str, activation: str) -> None:
        super().__init__()
        self.activation = Activation(activation)
        assert stem in ("cifar", "imagenet")
        block, counts = _BLOCKS[name]
        self.pools = stem == "imagenet"
        size, stride, padding = (7, 2, 3) if self.pools else (3, 1, 1)
        self.conv1 = nn.Conv2d(3, width, size, stride=stride, padding=padding, bias=False)
        self.bn1 = BatchNorm(width)
        first, second, third, fourth = (width * 2**k for k in range(4))
        self.layer1 = _stage(block, counts[0], width, first, stride=1, activation=activation)
        self.layer2 = _stage(block, counts[1], first * block.expansion, second, stride=2, activation=activation)
        self.layer3 = _stage(block, counts[2], second * block.expansion, third, stride=2, activation=activation)
        self.layer4 = _stage(block, counts[3], third * block.expansion, fourth, stride=2, activation=activation)

    @property
    def stage_modules(self) -> list[nn.Module]:
        """The stages in their order."""
        return [self.layer1, self.layer2, self.layer3, self.layer4]

    def forward(self, images: Tensor, *, stages: bool = False) -> tuple[Tensor, list[Tensor]]:
        """h (N, feature_dim) and, when asked, the pooled features of every stage, [(N, channels)], h last."""
        x = self.activation(self.bn1(self.conv1(images)))
        if self.pools:
            x = F.max_pool2d(x, 3, stride=2, padding=1)
        features = []
        for layer in self.stage_modules:
            x = layer(x)
            if stages:
                features.append(pooled(x))
        return features[-1] if stages else pooled(x), features


def _stage(block: _Block, count: int, channels_in: int, planes: int, stride: int, activation: str) -> nn.Sequential:
    channels_out = planes * block.expansion
    downsample = None
    if stride != 1 or channels_in != channels_out:
        downsample = nn.Sequential(_conv1x1(channels_in, channels_out, stride), BatchNorm(channels_out))
    blocks = [block(channels_in, planes, stride, downsample, activation)]
    blocks += [block(channels_out, planes, 1, None, activation) for _ in range(1, count)]
    return nn.Sequential(*blocks)
