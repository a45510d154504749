"""Models of timm by name, without their classifier and without weights from anywhere: `encoder = "timm:resnet26d"`."""

import difflib
import importlib
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Final

from torch import Tensor, nn

from coupled.errors import UserError, raised
from coupled.models.resnet import pooled

PREFIX: Final = "timm:"
LIBRARY: Final = "timm"


def is_timm(encoder: str) -> bool:
    """Does the name of an encoder ask for a model of timm?"""
    return encoder.startswith(PREFIX)


def timm_version() -> str:
    """The version that is installed, or "not installed"."""
    try:
        return version(LIBRARY)
    except PackageNotFoundError:
        return "not installed"


def build(encoder: str, image_size: int) -> nn.Module:
    """The model on the current device, for images of that side. UserError where timm does not know it or cannot build
    it so, or is not installed.
    """
    timm, name = _library(encoder), encoder.removeprefix(PREFIX)
    names: list[str] = timm.list_models()  # of models, without the names of weights behind a dot
    if name not in names:
        tag = name.partition(".")[0]
        near = [tag] if tag in names else difflib.get_close_matches(name, names, n=3, cutoff=0.5)
        count = f"it is none of the {len(names)} models of timm {timm.__version__}"
        why = "no weights are loaded, so that a name goes without them" if tag in names else count
        hint = f"did you mean {' or '.join(PREFIX + one for one in near)}?" if near else "see timm.list_models()"
        raise UserError(f"model.encoder = {encoder}", why, hint)
    sized: dict[str, Any] = {"img_size": image_size} if _takes_size(timm, name) else {}
    try:
        return timm.create_model(name, pretrained=False, num_classes=0, **sized)
    except Exception as error:
        reason = raised(error)
        raise UserError(f"model.encoder = {encoder} cannot be built for {image_size} px", reason) from None


def feature_size(model: Any) -> int:
    """D of h."""
    return int(getattr(model, "head_hidden_size", None) or model.num_features)


def stage_sizes(model: Any) -> tuple[int, ...]:
    """The sizes of the stage features that timm's own interface gives; () where a model has none."""
    described = hasattr(model, "forward_intermediates") and hasattr(model, "forward_head")
    return tuple(int(stage["num_chs"]) for stage in model.feature_info) if described else ()


def run(model: Any, images: Tensor, stages: bool) -> tuple[Tensor, list[Tensor]]:
    """h (N, D), and when asked the mean over the image of each of timm's intermediate features, [(N, C_k)]."""
    if not stages:
        return model(images), []
    last, features = model.forward_intermediates(images)
    return model.forward_head(last), [pooled(feature) for feature in features]


def _library(encoder: str) -> Any:
    try:
        return importlib.import_module(LIBRARY)
    except ImportError:
        raise UserError(
            f"model.encoder = {encoder}", "timm is not installed here", "pip install 'coupled[timm]'"
        ) from None


def _takes_size(timm: Any, name: str) -> bool:
    """Does a model fix the side of its images when it is built? timm says so where its weights say it."""
    settings = timm.get_pretrained_cfg(name, allow_unregistered=True)
    return bool(settings is not None and settings.fixed_input_size)
