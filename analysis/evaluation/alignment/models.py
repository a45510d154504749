"""Alignment of any two torch modules on images: no run is needed."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final, Literal

import torch
from torch import Tensor, nn

from analysis.statistics.estimates import Estimate
from analysis.statistics.streamed import LEAST, streamed, whole
from coupled.errors import UserError

_CHUNK: Final = 256  # images in one forward


def compare(
    model_a: nn.Module,
    model_b: nn.Module,
    images: Tensor,
    *,
    feature: Literal["h", "z"] = "h",
    chunk: int = _CHUNK,
    groups: int = 16,
) -> dict[str, Estimate]:
    """What two models make of the same images: "cka" (debiased), "cka_biased" and "rsa", with interval and null band.

    A model takes images (k, …) and gives features (k, d), or a tuple of them, h first, then z: `feature` says which is
    compared, "z" as unit rows. images (n, …), n ≥ 4, go through `chunk` at a time, each model on the device of its
    weights, in evaluation mode and without gradients; the mode of every part is as before afterwards. Beside the
    features nothing n × n is held. Raises UserError for what is no model, no features or not finite.
    """
    if feature not in ("h", "z"):
        raise UserError(f"feature = {feature!r}", 'allowed: "h", "z"')
    if not isinstance(images, Tensor) or images.ndim < 2 or len(images) < LEAST:
        given = f"images of shape {tuple(images.shape)}" if isinstance(images, Tensor) else f"images: {type(images)}"
        raise UserError(given, f"a tensor (n, …) of at least {LEAST} images is needed")
    if chunk < 1:
        raise UserError(f"chunk = {chunk}", "at least one image goes through at a time")
    x, y = (
        whole(_features(name, model, images, feature, chunk))
        for name, model in (("model_a", model_a), ("model_b", model_b))
    )
    if feature == "z":
        return streamed(("cka", "cka_biased", "rsa"), x, y, unit=True, groups=groups)
    return {
        **streamed(("cka", "cka_biased"), x, y, groups=groups),
        **streamed(("rsa",), x, y, unit=True, groups=groups),
    }


def _features(name: str, model: nn.Module, images: Tensor, feature: str, chunk: int) -> Tensor:
    if not isinstance(model, nn.Module):
        raise UserError(f"{name} is a {type(model).__name__}", "a torch.nn.Module is needed")
    device = next((tensor.device for tensor in (*model.parameters(), *model.buffers())), images.device)
    with _looking_at(model), torch.no_grad():
        parts = [_chosen(name, model(part.to(device)), len(part), feature).cpu() for part in images.split(chunk)]
    features = torch.cat(parts)
    if not bool(features.isfinite().all()):
        raise UserError(f"{feature} of {name} is not finite", "no measure is defined on it")
    return features


def _chosen(name: str, output: Any, n: int, feature: str) -> Tensor:
    outputs = tuple(output) if isinstance(output, tuple | list) else (output,)
    place = 0 if feature == "h" else 1
    if len(outputs) <= place:
        raise UserError(f"{name} gives no z", "a model that has one gives (h, z)", 'compare feature="h"')
    chosen = outputs[place]
    if not isinstance(chosen, Tensor) or chosen.ndim != 2 or len(chosen) != n or not chosen.shape[1]:
        given = f"shape {tuple(chosen.shape)}" if isinstance(chosen, Tensor) else f"type {type(chosen).__name__}"
        raise UserError(f"{feature} of {name} has {given} for {n} images", "features (n, d) are needed")
    return chosen.to(torch.promote_types(chosen.dtype, torch.float32))


@contextmanager
def _looking_at(model: nn.Module) -> Iterator[None]:
    """Evaluation mode inside; every module's own mode is restored, also where modes are mixed."""
    training = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, mode in training.items():
            module.training = mode
