"""Gradients of other arms' losses at an arm's own weights, taken on the forward that its step makes anyway."""

from collections.abc import Callable, Iterable, Mapping, Sequence

from torch import Tensor

from coupled.arms.arm import Arm
from coupled.config import Config
from coupled.config.traits import Term, traits_of
from coupled.graphs import OFF, Graphs
from coupled.inputs.source import Batch
from coupled.ranks.sums import Sums

# An arm, and the arm whose loss is taken at its weights.
Request = tuple[str, str]


class Audits:
    """What the arms here are asked for at a step, beside their own gradients, and what they gave.

    `asks`: each says of a step which losses are wanted at which weights; all of them say the same on every rank.
    `sums`: those of the arms.
    """

    def __init__(
        self, config: Config, asks: Sequence[Callable[[int], Iterable[Request]]] = (), sums: Sums | None = None
    ) -> None:
        self._asks, self._sums = asks, sums or Sums()
        self._terms = {name: traits_of(config.arms, name).terms for name in config.arms}
        self._gradients: dict[Request, Tensor] = {}
        self.graphs: Graphs = OFF
        if asks and config.train.compile:
            from torch._functorch import config as functorch_config

            # Else a compiled backward takes what the forward kept for its own, and there is nothing left for another.
            functorch_config.donated_buffer = False

    def forward_backward(self, step: int, arms: Mapping[str, Arm], batch: Batch) -> None:
        """One forward and one backward of every arm, and a backward more for every other loss that is wanted of it."""
        self._gradients.clear()
        wanted = list(dict.fromkeys(request for ask in self._asks for request in ask(step)))
        with self._sums.beside(), self.graphs.passes():
            for name, arm in arms.items():
                others = dict.fromkeys(self._terms[of] for at, of in wanted if at == name and not self._is_own(at, of))
                gradients: dict[tuple[Term, ...], Tensor] = dict(
                    zip(others, arm.forward_backward(batch, list(others)), strict=True)
                )
                own = arm.state.gradient
                self._gradients |= {(at, of): gradients.get(self._terms[of], own) for at, of in wanted if at == name}

    def gradient(self, at: str, of: str) -> Tensor:
        """The gradient (weights,) of the loss of arm `of` at the weights of arm `at`, which is here; before clipping.

        Where both minimise the same it is the arm's own gradient itself, so that their difference is exactly 0.
        """
        return self._gradients[at, of]

    def _is_own(self, at: str, of: str) -> bool:
        return self._terms[at] == self._terms[of]
