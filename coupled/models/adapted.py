"""A module of somebody else's made fit for a run: batch-norm replaced by ours, and all that a run cannot hold refused.

Refused, by the layer's dotted name: weights whose first values the table of `init` does not know, state that is not
batch-norm's, masks drawn at random, weights that two layers share or that are frozen.
"""

from typing import Final, NoReturn

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd

from coupled.errors import UserError
from coupled.models.batchnorm import BatchNorm
from coupled.models.init import has_rule
from coupled.models.timm_models import is_timm

# Attributes that are a probability of leaving something out: of torch's attention, of timm's stochastic depth and
# DropBlock, and of timm's models themselves.
_CHANCES: Final = ("dropout", "drop_prob", "drop_rate")
_RANDOM: Final = (nn.RReLU, nn.FractionalMaxPool2d, nn.FractionalMaxPool3d)
_KEPT: Final = (nn.BatchNorm1d, nn.BatchNorm2d, nn.SyncBatchNorm)


class BatchNormAct(BatchNorm):
    """Our batch-norm with an activation behind it, as timm has it in one layer."""

    def __init__(self, channels: int, act: nn.Module, *, eps: float, momentum: float) -> None:
        super().__init__(channels, eps=eps, momentum=momentum)
        self.act = act

    def forward(self, x: Tensor) -> Tensor:
        return self.act(super().forward(x))


def adapted(encoder: nn.Module, name: str) -> nn.Module:
    """The encoder, built on the meta device, with our batch-norm in place of torch's; `name` is the encoder's, for
    messages. Raises UserError for a layer that a run cannot hold.
    """
    if isinstance(encoder, _BatchNorm):
        encoder = nn.Sequential(encoder)
    for path, parent in list(encoder.named_modules()):
        for key, child in list(parent.named_children()):
            if isinstance(child, _BatchNorm):
                setattr(parent, key, _ours(child, name, f"{path}.{key}" if path else key))
    for path, module in encoder.named_modules():
        _refuse_chance(module, name, path)
    _refuse_shared(encoder, name)
    for path, buffer in encoder.named_buffers():
        owner, _, leaf = path.rpartition(".")
        if not isinstance(module := encoder.get_submodule(owner), BatchNorm):
            what = f"a buffer of {type(module).__name__}, shape {tuple(buffer.shape)}"
            _refuse(name, path, what, "no state but weights and batch-norm's statistics", f"compute {leaf} in forward")
    for path, parameter in encoder.named_parameters():
        owner = type(encoder.get_submodule(path.rpartition(".")[0])).__name__
        if not has_rule(encoder, path):
            what = f"a parameter of {owner}, shape {tuple(parameter.shape)}"
            _refuse(name, path, what, "layers whose initial weights are known (docs/theory.md (71))")
        if not parameter.requires_grad:
            _refuse(name, path, f"a frozen parameter of {owner}", "all weights are trained")
    if next(encoder.parameters(), None) is None:
        raise UserError(f"encoder {name} has no weights", "a module with layers is needed")
    return encoder


def _ours(norm: _BatchNorm, name: str, path: str) -> BatchNorm:
    kind = type(norm).__name__
    if not isinstance(norm, _KEPT):
        _refuse(name, path, kind, "BatchNorm1d or BatchNorm2d")
    if not norm.affine or not norm.track_running_stats or norm.momentum is None:
        given = f"{kind} with affine = {norm.affine}, momentum = {norm.momentum}"
        _refuse(name, path, given, "batch-norm with weights, running statistics and a momentum")
    if type(norm) in _KEPT:
        return BatchNorm(norm.num_features, eps=norm.eps, momentum=norm.momentum)
    act, drop = getattr(norm, "act", None), getattr(norm, "drop", None)
    if kind == "BatchNormAct2d" and isinstance(act, nn.Module) and isinstance(drop, nn.Identity):
        return BatchNormAct(norm.num_features, act, eps=norm.eps, momentum=norm.momentum)
    return _refuse(name, path, kind, "torch's own BatchNorm1d or BatchNorm2d")


def _refuse_chance(module: nn.Module, name: str, path: str) -> None:
    kind, allowed = type(module).__name__, "only 0: masks would be randomness that arms do not share"
    chances = {"p": module.p} if isinstance(module, _DropoutNd | nn.RReLU) and hasattr(module, "p") else {}
    chances |= {key: getattr(module, key, None) for key in _CHANCES}
    for key, chance in chances.items():
        if isinstance(chance, int | float) and chance > 0:
            _refuse(name, path, f"{kind} with {key} = {chance:g}", allowed)
    if isinstance(module, _RANDOM):
        _refuse(name, path, kind, "no layer that draws at random")


def _refuse_shared(encoder: nn.Module, name: str) -> None:
    first: dict[int, str] = {}
    for path, parameter in encoder.named_parameters(remove_duplicate=False):
        other = first.setdefault(id(parameter), path)
        if other != path:
            _refuse(name, path, f"the same parameter as {other}", "every weight belongs to one layer")


def _refuse(name: str, path: str, what: str, allowed: str, do: str = "replace the layer") -> NoReturn:
    do = "choose another model" if is_timm(name) else do
    raise UserError(f"encoder {name}: {path or 'the module'} is {what}", allowed, do)
