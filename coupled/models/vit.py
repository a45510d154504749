"""torchvision's vision transformer (Dosovitskiy et al. 2021) without its heads, for small images.

Parameter names and shapes are torchvision's without `heads`. Shapes: images (N, 3, S, S); tokens (N, 1 + (S/patch)²,
width), the class token first; h (N, width).
"""

import torch
from torch import Tensor
from torchvision.models.vision_transformer import VisionTransformer


class ViT(VisionTransformer):
    """`depth` layers of `heads` attention heads on tokens `width` wide, MLPs four times as wide, no dropout."""

    def __init__(self, image_size: int, patch: int, depth: int, heads: int, width: int) -> None:
        super().__init__(image_size, patch, depth, heads, width, 4 * width)
        del self.heads

    def forward(  # type: ignore[reportIncompatibleMethodOverride]
        self, x: Tensor, *, stages: bool = False
    ) -> tuple[Tensor, list[Tensor]]:
        """h, the class token after the last layer-norm, and, when asked, the class token after every layer.

        A stage feature is (N, width) and comes before the last layer-norm: h is that norm of the last of them.
        """
        tokens = self._process_input(x)
        tokens = torch.cat([self.class_token.expand(len(x), -1, -1), tokens], dim=1) + self.encoder.pos_embedding
        features = []
        for layer in self.encoder.layers:
            tokens = layer(tokens)
            if stages:
                features.append(tokens[:, 0])
        # Layer-norm is per token: the others' need not be computed.
        return self.encoder.ln(tokens[:, 0]), features
