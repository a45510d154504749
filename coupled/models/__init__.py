"""The network an arm trains: encoder, projector, L2 normalisation and, for some arms, a classifier head."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from coupled.models import foreign
from coupled.models.activation import Activation
from coupled.models.encoders import ENCODERS, RELU, EncoderInfo, activation_of, check_model, defaults, names
from coupled.models.options import FilledOptions
from coupled.models.registry import register_encoder
from coupled.models.resnet import Projector

__all__ = [
    "ENCODERS",
    "EncoderInfo",
    "Network",
    "activation_of",
    "check_model",
    "defaults",
    "evaluating",
    "names",
    "register_encoder",
]


class Network(nn.Module):
    """Encoder and projector. Images (N, 3, S, S) → h (N, D) and z (N, d), the L2-normalised projector output.

    S = `image_size`. With `classes` the network has a `head` as well, a linear map of z to logits (N, classes), which
    the caller applies; its parameters come last. Without, `head` is None. `outline`: of an encoder that is not built in
    only names and shapes are made, for which its code is not needed.
    """

    def __init__(
        self, model: FilledOptions, image_size: int, classes: int | None = None, *, outline: bool = False
    ) -> None:
        super().__init__()
        info = ENCODERS.get(model.encoder)
        self._foreign = None if info is not None else model.encoder
        if info is not None:
            assert model.width is not None
            own = {key: getattr(model, key) for key in info.options}
            self.encoder = info.build(image_size, model.width, model.activation or info.activation, **own)
            self.feature_dim = info.feature_dim(model.width)
            self.stage_dims = info.stage_dims(model.width, model.depth)
        else:
            built = foreign.outlined(model) if outline else foreign.build(model, image_size)
            self.encoder, self.feature_dim, self.stage_dims = built.module, built.feature_size, built.stage_sizes
        activation = model.activation or RELU
        self.projector = Projector(self.feature_dim, model.projection_hidden, model.projection_dim, activation)
        self.head = None if classes is None else nn.Linear(model.projection_dim, classes)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        h, _ = self._encoded(images, stages=False)
        h = _wide(h)
        return h, self._project(h)

    def features(self, images: Tensor) -> tuple[Tensor, Tensor, list[Tensor]]:
        """h, z and the pooled features of every encoder stage, [(N, stage_dims[k])]."""
        h, stages = self._encoded(images, stages=True)
        h = _wide(h)
        return h, self._project(h), [_wide(stage) for stage in stages]

    def activations(self) -> dict[str, list[str]]:
        """The names of all modules that are activations, by place: "stem", "stage.0" …, "projector". Of an encoder that
        is not built in, whose activations may be any functions, there is the projector alone.
        """
        stages = cast(list[nn.Module], [] if self._foreign else self.encoder.stage_modules)
        places = {module: f"stage.{k}" for k, stage in enumerate(stages) for module in stage.modules()}
        names: dict[str, list[str]] = {}
        for name, module in self.named_modules():
            if isinstance(module, Activation) and not (self._foreign and name.startswith("encoder.")):
                place = "projector" if name.startswith("projector.") else places.get(module, "stem")
                names.setdefault(place, []).append(name)
        return names

    def try_out(self, image_size: int) -> None:
        """UserError where an encoder that is not built in does not do what it says; the network has storage."""
        if self._foreign is not None:
            built = foreign.Foreign(self.encoder, self.feature_dim, self.stage_dims)
            foreign.try_out(built, self._foreign, image_size)

    def _encoded(self, images: Tensor, *, stages: bool) -> tuple[Tensor, list[Tensor]]:
        if self._foreign is not None:
            return foreign.run(self.encoder, images, self._foreign, stages)
        return self.encoder(images, stages=stages)

    def _project(self, h: Tensor) -> Tensor:
        return F.normalize(_wide(self.projector(h)), dim=1)


def _wide(x: Tensor) -> Tensor:
    """`x` in float32 or better: what is recorded and compared is never bfloat16."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """Evaluation mode and no gradients inside; the mode before is restored whatever happens."""
    training = network.training
    network.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        network.train(training)
