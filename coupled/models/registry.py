"""Encoders that a user's code registers: functions that build a module from options of [model]."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from torch import nn

from coupled.errors import UserError, unknown
from coupled.models.activation import ACTIVATIONS
from coupled.userfiles import calling_file, check_name

# What a function that builds an encoder may ask for by the names of its parameters.
IMAGE_SIZE: Final = "image_size"
OPTIONS: Final[dict[str, type]] = {
    "width": int, "stem": str, "patch": int, "depth": int, "heads": int, "activation": str
}  # fmt: skip
BUILT_IN: Final = ("resnet-small", "resnet18", "resnet34", "resnet50", "vit")
Build = Callable[..., nn.Module]


@dataclass(frozen=True)
class OwnEncoder:
    """`options`: those of [model] that the function takes, with their defaults; None: the config has to say."""

    build: Build
    options: Mapping[str, Any]
    takes_size: bool
    origin: str  # the file that registered it


_registered: dict[str, OwnEncoder] = {}


def register_encoder(name: str) -> Callable[[Build], Build]:
    """Decorator that makes a function an encoder, known by `name` for the life of the process.

    The function builds a torch module. Its parameters are any of `image_size` and the options of [model] (`width`,
    `stem`, `patch`, `depth`, `heads`, `activation`); their defaults are the encoder's. The module maps images
    (N, 3, S, S) to h (N, D), and `module.feature_size` is D. If it has `module.stage_sizes`, (C_0, …),
    `module(images, stages=True)` gives h and the stage features [(N, C_k)].

    The file that calls this may do so again, which replaces. Raises UserError for a name that is taken, or not made of
    letters, digits, '_' and '-', and for a parameter that is none of these.
    """
    origin = calling_file()
    others = name in _registered and _registered[name].origin != origin
    check_name("encoder", name, taken=others or name in BUILT_IN)

    def register(build: Build) -> Build:
        options, takes_size = _asked(name, build)
        _registered[name] = OwnEncoder(build, options, takes_size, origin)
        return build

    return register


def _asked(name: str, build: Build) -> tuple[dict[str, Any], bool]:
    """The options that a function asks for, with their defaults, and whether it asks for the images' side."""
    options = {}
    for parameter in inspect.signature(build).parameters.values():
        key, default = parameter.name, parameter.default
        if key not in (IMAGE_SIZE, *OPTIONS) or parameter.kind not in (
            inspect.Parameter.POSITIONAL_OR_KEYWORD,
            inspect.Parameter.KEYWORD_ONLY,
        ):
            raise UserError(f"encoder {name} takes {parameter}", f"any of {', '.join((IMAGE_SIZE, *OPTIONS))}")
        if key == IMAGE_SIZE:
            continue
        missing = default is inspect.Parameter.empty or default is None
        if not missing and (type(default) is not OPTIONS[key] or (isinstance(default, int) and default < 1)):
            allowed = "a positive integer" if OPTIONS[key] is int else "a string"
            raise UserError(f"encoder {name}: {key} = {default!a}", f"{allowed}, as model.{key}")
        if not missing and key == "activation" and default not in ACTIVATIONS:
            raise unknown(f"activation of encoder {name}", str(default), ACTIVATIONS)
        options[key] = None if missing else default
    return options, IMAGE_SIZE in inspect.signature(build).parameters


def registered(name: str) -> OwnEncoder | None:
    """A registered encoder; None for any other name."""
    return _registered.get(name)


def forget(name: str) -> None:
    """Take back a registration, if there is one."""
    _registered.pop(name, None)


def known() -> list[str]:
    """The names of the registered encoders in their order."""
    return [*_registered]
