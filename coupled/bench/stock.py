"""The same networks as plain PyTorch trains them: what `coupled-run bench` measures a step against.

Modules, batch-norm, optimiser and clipping are torch's, parameters are tensors of their own, the loss is a few lines on
Σ = z zᵀ, torch chooses its kernels freely, and nothing is recorded. Same weights, precision and threads as the run.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from coupled.arms.arm import Arm
from coupled.arms.initial import build_arms
from coupled.arms.network import build_network
from coupled.config import Config
from coupled.config.resolved import AdamW, Lars, Sgd
from coupled.config.resolved import Optimiser as Spec
from coupled.config.traits import Term
from coupled.inputs.source import Batch
from coupled.models import Network, evaluating
from coupled.models.batchnorm import BatchNorm
from coupled.models.embedding import autocast
from coupled.models.resnet import Projector
from coupled.objectives.losses import batch_loss
from coupled.objectives.masks import PairMasks
from coupled.objectives.registry import Objective, is_function_of_sigma, registered
from coupled.theory.learning_rate import peak

_EVAL_BATCH = 256  # images in one evaluation forward


@dataclass(frozen=True)
class _Learner:
    """One arm of it. `network` holds the weights; the training forward calls `trained`, compiled or not."""

    terms: tuple[Term, ...]
    network: Network
    trained: Callable[[Tensor], tuple[Tensor, Tensor]]
    optimiser: torch.optim.Optimizer


class Stock:
    """A network for every arm of a config, from the run's initial weights, in training mode and of one memory layout.

    The optimiser is torch.optim's SGD or AdamW with torch's own choice of kernels, at the peak rate. torch has no LARS:
    SGD with the same momentum and decay stands for it, which costs less. `train.compile` compiles these networks too.
    """

    def __init__(self, config: Config, device: torch.device, memory_format: torch.memory_format) -> None:
        self.config, self.device, self.memory_format = config, device, memory_format
        self._learners = [self._learner(arm) for arm in build_arms(config, device).values()]
        self._batch: Batch | None = None
        self._pixels = torch.empty(0)

    def _learner(self, arm: Arm) -> _Learner:
        network = stock_network(arm, self.config, self.device).to(memory_format=self.memory_format)  # type: ignore[reportCallIssue]
        trained = torch.compile(network, dynamic=False) if self.config.train.compile else network
        optimiser = _optimiser(self.config.optimiser, network, peak(self.config.optimiser, self.config.batches.size))
        return _Learner(arm.traits.terms, network, trained, optimiser)

    def step(self, batch: Batch) -> None:
        """Forward, backward and update of every arm in turn. Reads nothing back from the device."""
        with _usual_kernels():
            for learner in self._learners:
                learner.optimiser.zero_grad()
                self._loss(learner, batch).backward()
                if (most := self.config.optimiser.clip_norm) is not None:
                    nn.utils.clip_grad_norm_(learner.network.parameters(), most)
                learner.optimiser.step()

    def losses(self, batch: Batch) -> list[Tensor]:
        """The loss of every arm on a batch, 0-d, in the arms' order. Running statistics take the batch in."""
        with _usual_kernels():
            return [self._loss(learner, batch) for learner in self._learners]

    def forward_eval(self, images: Tensor) -> None:
        """An evaluation forward of images (n, 3, S, S) by every arm."""
        images = images.contiguous(memory_format=self.memory_format)
        with _usual_kernels(), autocast(self.device, self.config.train.precision):
            for learner in self._learners:
                with evaluating(learner.network):
                    for part in images.split(_EVAL_BATCH):
                        learner.network(part)

    def _loss(self, learner: _Learner, batch: Batch) -> Tensor:
        if batch is not self._batch:  # a loader would have given it this layout
            self._batch, self._pixels = batch, batch.pixels.contiguous(memory_format=self.memory_format)
        train = self.config.train
        parts = [self._pixels] if train.views_forward == "joint" else self._pixels.chunk(2)
        with autocast(self.device, train.precision):
            z = torch.cat([learner.trained(part)[1] for part in parts])
        if is_function_of_sigma(learner.terms[0].objective.name):
            losses = [plain_loss(one.objective, z, batch.pairs[one.labels], one.temperature) for one in learner.terms]
            weighted = [one.weight * loss for one, loss in zip(learner.terms, losses, strict=True)]
            return losses[0] if len(losses) == 1 else torch.stack(weighted).sum()
        assert learner.network.head is not None
        return F.cross_entropy(learner.network.head(z), batch.pairs[learner.terms[0].labels].labels.repeat(2))


def stock_network(arm: Arm, config: Config, device: torch.device) -> Network:
    """The network of an arm with torch's batch-norm, and copies of the arm's weights as parameters of their own."""
    head = arm.network.head
    with torch.device("meta"):
        network = build_network(config, None if head is None else head.out_features)
        for parent in list(network.modules()):
            for name, norm in list(parent.named_children()):
                if isinstance(norm, BatchNorm):
                    parent.add_module(name, _torchs_norm(norm, flat=isinstance(parent, Projector)))
    network = network.to(dtype=getattr(torch, config.train.dtype)).to_empty(device=device)
    counts = {name: torch.zeros_like(x) for name, x in network.named_buffers() if name.endswith("num_batches_tracked")}
    network.load_state_dict({**arm.network.state_dict(), **counts})
    return network


def _torchs_norm(norm: BatchNorm, *, flat: bool) -> nn.Module:
    """torch's batch-norm of features (`flat`) or of images, with the parameters that ours has."""
    kind = nn.BatchNorm1d if flat else nn.BatchNorm2d
    torchs = kind(len(norm.weight), eps=norm.eps, momentum=norm.momentum)
    if norm.bias is None:
        torchs.register_parameter("bias", None)
    return torchs


def _optimiser(spec: Spec, network: nn.Module, rate: float) -> torch.optim.Optimizer:
    if isinstance(spec, AdamW):
        parameters = list(network.parameters())
        groups = [
            {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": spec.weight_decay},
            {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
        ]
        return torch.optim.AdamW(groups, lr=rate, betas=(spec.beta1, spec.beta2), eps=spec.epsilon)
    assert isinstance(spec, Sgd | Lars)
    return torch.optim.SGD(network.parameters(), lr=rate, momentum=spec.momentum, weight_decay=spec.weight_decay)


def plain_loss(objective: Objective, z: Tensor, masks: PairMasks, temperature: float) -> Tensor:
    """The mean loss of z (2B, d) as one writes it on the spot; a user's own objective is called as a run calls it."""
    sigma = z @ z.T
    if registered(objective.name) is not None:
        return batch_loss(objective, sigma, masks, temperature)
    logits, B = sigma / temperature, len(z) // 2
    positive = torch.cat([logits.diagonal(B), logits.diagonal(-B)])
    if objective.name == "scl":
        own = (logits * masks.same).sum(1) + positive
        return (_log_sum(logits, masks.others, positive) - own / (masks.same.sum(1) + 1)).mean()
    if objective.name == "nt_xent":
        return (_log_sum(logits, masks.others, positive) - positive).mean()
    allowed, lam = masks.others, objective.lam
    if objective.name == "nscl" or lam == 0:
        allowed = masks.different
    elif lam is not None:
        logits = torch.add(logits, masks.same, alpha=math.log(lam))
    if objective.positive_in_denominator:
        return (_log_sum(logits, allowed, positive) - positive).mean()
    return (_log_sum(logits, allowed) - positive).where(allowed.any(1), 0.0).mean()


def _log_sum(logits: Tensor, allowed: Tensor, positive: Tensor | None = None) -> Tensor:
    """log Σ e^logits of every row over what is allowed and, if given, the positive, (A,)."""
    total = logits.masked_fill(~allowed, torch.finfo(logits.dtype).min).logsumexp(1)
    return total if positive is None else torch.logaddexp(total, positive)


@contextmanager
def _usual_kernels() -> Iterator[None]:
    """torch's kernels inside are those it chooses for everybody, deterministic or not."""
    mode = torch.get_deterministic_debug_mode()
    torch.set_deterministic_debug_mode("default")
    try:
        yield
    finally:
        torch.set_deterministic_debug_mode(mode)
