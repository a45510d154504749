"""torchvision's vision transformer (Dosovitskiy et al. 2021) without its heads, for small images.

Parameter names and shapes are torchvision's without `heads`; so are the operations, without dropouts of 0. The layers
are our own: torchvision loads all its models for one. Shapes: images (N, 3, S, S); tokens (N, 1 + (S/patch)², width),
the class token first; h (N, width).
"""

from collections import OrderedDict

import torch
from torch import Tensor, nn

from coupled.models.activation import Activation

_EPSILON = 1e-6  # of a layer-norm


class ViT(nn.Module):
    """`depth` layers of `heads` attention heads on tokens `width` wide, MLPs four times as wide, no dropout."""

    def __init__(self, image_size: int, patch: int, depth: int, heads: int, width: int, activation: str) -> None:
        super().__init__()
        # Registered in torchvision's order: the class token is a parameter of this module itself, and so comes first.
        self.conv_proj = nn.Conv2d(3, width, patch, stride=patch)
        self.class_token = nn.Parameter(torch.zeros(1, 1, width))
        self.encoder = Encoder(1 + (image_size // patch) ** 2, depth, heads, width, activation)

    @property
    def stage_modules(self) -> list[nn.Module]:
        """The layers in their order."""
        return list(self.encoder.layers)

    def forward(self, x: Tensor, *, stages: bool = False) -> tuple[Tensor, list[Tensor]]:
        """h, the class token after the last layer-norm, and, when asked, the class token after every layer.

        A stage feature is (N, width) and comes before the last layer-norm: h is that norm of the last of them.
        """
        tokens = self.conv_proj(x).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.class_token.expand(len(x), -1, -1), tokens], dim=1) + self.encoder.pos_embedding
        features = []
        for layer in self.encoder.layers:
            tokens = layer(tokens)
            if stages:
                features.append(tokens[:, 0])
        # Layer-norm is per token: the others' need not be computed.
        return self.encoder.ln(tokens[:, 0]), features


class Encoder(nn.Module):
    """Position embedding, layers and last norm; `ViT` runs them, as it needs what lies between."""

    def __init__(self, tokens: int, depth: int, heads: int, width: int, activation: str) -> None:
        super().__init__()
        self.pos_embedding = nn.Parameter(torch.zeros(1, tokens, width))
        layers = ((f"encoder_layer_{i}", _Layer(heads, width, activation)) for i in range(depth))
        self.layers = nn.Sequential(OrderedDict(layers))
        self.ln = nn.LayerNorm(width, _EPSILON)


class _Layer(nn.Module):
    """Attention and MLP, each on a norm of the tokens and added to them."""

    def __init__(self, heads: int, width: int, activation: str) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(width, _EPSILON)
        self.self_attention = nn.MultiheadAttention(width, heads, batch_first=True)
        self.ln_2 = nn.LayerNorm(width, _EPSILON)
        self.mlp = MLPBlock(width, activation)

    def forward(self, tokens: Tensor) -> Tensor:
        normed = self.ln_1(tokens)
        tokens = self.self_attention(normed, normed, normed, need_weights=False)[0] + tokens
        return tokens + self.mlp(self.ln_2(tokens))


class MLPBlock(nn.Sequential):
    """Linear – activation – linear, four times as wide within; the second linear is number 3, as torchvision's is."""

    def __init__(self, width: int, activation: str) -> None:
        layers = (nn.Linear(width, 4 * width), Activation(activation), nn.Identity(), nn.Linear(4 * width, width))
        super().__init__(*layers)
