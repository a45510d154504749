"""An arm: one network with its objective, its own flat state and optimiser."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from coupled.arms.network import build_network, evaluation_chunk
from coupled.arms.optimisers import Optimiser
from coupled.arms.squares import Squares
from coupled.config import Arm as ArmConfig
from coupled.config import Config
from coupled.config.traits import Term, objective_of, traits_of
from coupled.graphs import OFF, Graphs
from coupled.inputs.dataset import data_info
from coupled.inputs.source import Batch
from coupled.models.batchnorm import BatchNorm, absorb
from coupled.models.embedding import autocast, embed
from coupled.models.flat import FlatState
from coupled.objectives.losses import batch_loss
from coupled.objectives.masks import similarity
from coupled.objectives.registry import is_function_of_sigma
from coupled.ranks.exchange import whole
from coupled.ranks.mesh import ALONE, Axis
from coupled.ranks.sums import Sums

# What the training forwards of a norm saw, as `BatchNorm.taken` gives it.
Taken = Sequence[tuple[Tensor, Tensor]]


class Arm:
    """One model in lockstep with the others.

    After `forward_backward`: `loss` 0-d, `z` (2B, d) and `sigma` (2B, 2B), detached; the gradient in `state.gradient`;
    and `squares` of weights and gradient, until the update.
    All are of the whole batch, also where this process has a part of it (`data`: the ranks that share the arm; `sums`
    adds up their gradients, which within `Sums.beside` are there at its end).
    """

    def __init__(
        self,
        name: str,
        spec: ArmConfig,
        config: Config,
        device: torch.device,
        data: Axis = ALONE.data,
        sums: Sums | None = None,
    ) -> None:
        self.name, self.spec, self.reference = name, spec, spec.reference
        self.traits = traits_of(config.arms, name)
        self.objective, self.temperature, self.labelling = objective_of(spec), spec.temperature, spec.labelling
        classes = _classes(config, spec)  # may look at labels, which are not on the meta device
        # On the meta device a constructor can draw nothing: all values come from addresses.
        with torch.device("meta"):
            self.network = build_network(config, classes=classes)
        self.state = FlatState(self.network, getattr(torch, config.train.dtype), device)
        self.optimiser = Optimiser(config.optimiser, self.state)
        self.squares = Squares(self.state, self.optimiser.layers)
        self._norms = [module for module in self.network.modules() if isinstance(module, BatchNorm)]
        self._data, self._sums = data, sums or Sums(data, device)
        for norm in self._norms:
            norm.across = data
        self._device, self._train, self._chunk = device, config.train, evaluation_chunk(config)
        # Compiled once per network; evaluation runs the plain one.
        self._training_network = torch.compile(self.network, dynamic=False) if config.train.compile else self.network
        self.loss = self.z = self.sigma = self._sigma = torch.empty(0)
        self.graphs: Graphs = OFF
        self._in_place = False

    def forward_backward(self, batch: Batch, others: Sequence[Sequence[Term]] = ()) -> list[Tensor]:
        """One forward and one backward of a step's batch, or of what this arm sees in its place; nothing is updated.
        Returns the gradients (weights,) of `others`, other losses of Σ, at the same weights and on the same forward,
        by a backward each; of a head they are 0.
        """
        batch = batch.of(self.traits.inputs)
        self._in_place = batch.in_place
        if not batch.in_place:
            return self._both(batch, others)
        key, gradients = ("forward and backward", self.name), []
        if others:
            gradients = self._both(batch, others)
            self._take(self.graphs.kept(key, self._given()))
        else:
            self._take(self.graphs.run(key, lambda: self._pass(batch), changes=[self.state.gradient]))
        return gradients

    def _both(self, batch: Batch, others: Sequence[Sequence[Term]] = ()) -> list[Tensor]:
        self.backward(self.forward(batch), keep_graph=bool(others))
        gradients = [self._gradient_of(terms, batch) for terms in others]
        self._sigma = self.sigma  # lets go of the graph
        return gradients

    def _pass(self, batch: Batch) -> dict[str, Tensor]:
        """What a forward and a backward give, for `_take`: but for the gradient the arm is left as it was."""
        known = self.loss, self.z, self.sigma, self._sigma, self.squares
        seen = [norm.taken() for norm in self._norms]
        self._both(batch)
        given = self._given()
        self.loss, self.z, self.sigma, self._sigma, self.squares = known
        self._see(seen)
        return given

    def _given(self) -> dict[str, Tensor]:
        """What a forward and a backward gave beside the gradient: running statistics never hear of it, unless `_take`
        is given it.
        """
        given = {"loss": self.loss, "z": self.z, "sigma": self.sigma, "squares": self.squares.gradient}
        for i, norm in enumerate(self._norms):
            for k, (mean, spread) in enumerate(norm.taken()):
                given |= {f"mean {i} {k}": mean, f"spread {i} {k}": spread}
        return given

    def _take(self, given: Mapping[str, Tensor]) -> None:
        """Where `given` lies is where loss, z and the rest lie from now on."""
        self.loss, self.z, self.sigma = given["loss"], given["z"], given["sigma"]
        self._sigma = self.sigma
        self.squares = Squares(self.state, self.optimiser.layers, given["squares"])
        forwards = range(1 if self._train.views_forward == "joint" else 2)
        for i, norm in enumerate(self._norms):
            norm.put_back([(given[f"mean {i} {k}"], given[f"spread {i} {k}"]) for k in forwards])

    def forward(self, batch: Batch) -> Tensor:
        """The loss of a step's batch, of this arm's inputs: one forward of both views, or one of each.

        What is returned is for `backward`: of a classifier's loss this rank's part, else the whole loss.
        """
        batch = batch.of(self.traits.inputs)
        parts = [batch.pixels] if self._train.views_forward == "joint" else batch.pixels.chunk(2)
        with autocast(self._device, self._train.precision):
            own = torch.cat([self._training_network(part)[1] for part in parts])
        z = whole(own, self._data)
        self._sigma = sigma = similarity(z)
        if is_function_of_sigma(self.objective.name):
            loss = _loss(self.traits.terms, sigma, batch)
            self.loss = loss.detach()
        else:
            loss = self._classified(own, batch.pairs[self.traits.labels].labels)
            self.loss = self._data.gathered(loss.detach()).sum()
        self.z, self.sigma = z.detach(), sigma.detach()
        return loss

    def _classified(self, own: Tensor, labels: Tensor) -> Tensor:
        """Cross-entropy of this rank's views, their part of the mean over all 2B."""
        assert self.network.head is not None
        labels = labels[self._data.part(len(labels))].repeat(2)
        return F.cross_entropy(self.network.head(own), labels) / self._data.size

    def backward(self, loss: Tensor, *, keep_graph: bool = False) -> None:
        """The gradient of `loss`, in place of the one before."""
        self.state.gradient.zero_()
        loss.backward(retain_graph=keep_graph)
        self._sums.begin(self.state.gradient)
        self.squares = Squares(self.state, self.optimiser.layers)

    def _gradient_of(self, terms: Sequence[Term], batch: Batch) -> Tensor:
        """The gradient of other losses on the graph that `backward` kept; the own one is left as it was."""
        self._sums.finish()
        own = self.state.gradient.clone()
        self.state.gradient.zero_()
        _loss(terms, self._sigma, batch).backward(retain_graph=True)
        self._sums.begin(self.state.gradient)
        self._sums.finish()
        other = self.state.gradient.clone()
        self.state.gradient.copy_(own)
        return other

    def update(self, learning_rate: float, halted: Tensor | None = None) -> None:
        """One optimiser step on the whole flat vector; running statistics take in the step's batch. Where `halted`, a
        0-d bool on the arm's device, is true, all stay what they were.

        What does not depend on the rate is two acts of `graphs`, from the step on at which the optimiser has the
        tensors that it keeps.
        """
        flats, seen = self._flats(), [norm.taken() for norm in self._norms]
        steady = self._in_place and len(self.optimiser.tensors()) == len(self.optimiser.names)
        graphs = self.graphs if steady else OFF
        # Arms are updated one after the other, so what is kept of an update lies in the same place for all.
        room = ("what an update keeps", len(self.state.weights))
        if halted is not None and not graphs.is_on:
            flats = {name: flat.clone() for name, flat in flats.items()}  # as graphs do with what an act gives
        before = graphs.run(
            ("update before its rate", self.name), lambda: self._before({} if halted is None else flats), room=room
        )
        self.optimiser.move(learning_rate, before.get("gradient", self.state.gradient))
        self.moved()
        after = ("update after its rate", self.name)
        graphs.run(after, lambda: self._after(before, seen, halted), changes=list(self._flats().values()))

    def _before(self, flats: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """`flats`, and the scaled gradient where it is not the state's own."""
        gradient = self.optimiser.scaled(self.squares.anew())
        return {**flats} if gradient is self.state.gradient else {**flats, "gradient": gradient}

    def _after(self, before: Mapping[str, Tensor], seen: Sequence[Taken], halted: Tensor | None) -> dict[str, Tensor]:
        """Running statistics take in what norms have seen. Where the update is halted all is put back."""
        self._see(seen)
        absorb(self._norms)
        if halted is not None:
            for name, flat in self._flats().items():
                # Before its first step an optimiser has no tensors: zeros are what it begins with.
                torch.where(halted, before[name] if name in before else torch.zeros_like(flat), flat, out=flat)
        return {}

    def _see(self, seen: Sequence[Taken]) -> None:
        for norm, taken in zip(self._norms, seen, strict=True):
            norm.put_back(taken)

    def _flats(self) -> dict[str, Tensor]:
        """All that an update changes."""
        return {"weights": self.state.weights, "buffers": self.state.buffers, **self.optimiser.tensors()}

    def moved(self) -> None:
        """To be called when the weights have been changed: what was known of them is of others."""
        self.squares = Squares(self.state, self.optimiser.layers)

    def gradient_aside(self, batch: Batch) -> Tensor:
        """The gradient (weights,) of the arm's loss on another batch, between an update and the next step.

        Nothing stays of it: loss, z, gradient and what running statistics will take in are as they were.
        """
        kept = self.loss, self.z, self.sigma, self.squares
        own = self.state.gradient.clone()
        self.backward(self.forward(batch))
        aside = self.state.gradient.clone()
        self.state.gradient.copy_(own)
        self.loss, self.z, self.sigma, self.squares = kept
        self._sigma = self.sigma  # lets go of the graph
        for norm in self._norms:
            norm.forget()
        return aside

    def embed(self, images: Tensor, *, stages: bool = False) -> list[Tensor]:
        """h (n, D), z (n, d) and, if asked for, pooled stage features (n, C_k), in evaluation mode.

        Weights, statistics and the mode are left as they were.
        """
        return embed(self.network, images, self._train.precision, chunk=self._chunk, stages=stages)


def _loss(terms: Sequence[Term], sigma: Tensor, batch: Batch) -> Tensor:
    """The weighted sum of losses of one Σ, 0-d."""
    losses = [batch_loss(term.objective, sigma, batch.pairs[term.labels], term.temperature) for term in terms]
    # A single loss is not multiplied by 1: its gradient keeps its bits, and nothing is added to the graph.
    if len(losses) == 1:
        return losses[0]
    return torch.stack([term.weight * loss for term, loss in zip(terms, losses, strict=True)]).sum()


def _classes(config: Config, spec: ArmConfig) -> int | None:
    """Outputs of the arm's classifier head; None for an objective of Σ, which has none."""
    if is_function_of_sigma(spec.objective):
        return None
    assert spec.labelling is not None, "a classifier needs labels"
    return data_info(config).classes[spec.labelling]
