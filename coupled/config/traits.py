"""What an arm does, made of its kind and of the kinds of the arms that it copies."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from coupled.config.resolved import Anti, Arm, Independent, Kicked, Nudged, OtherInputs, Placebo
from coupled.objectives.registry import Objective


@dataclass(frozen=True)
class Permuted:
    """A labelling with its labels permuted: within every batch, or once across the whole data set ("run")."""

    labelling: str
    across: str
    draw: int


# What a batch's masks are known by. None: labels that no objective looks at, of a data set without any.
LabelKey = str | Permuted | None


@dataclass(frozen=True)
class Term:
    """One loss of those whose weighted sum an arm minimises."""

    weight: float
    objective: Objective
    labels: LabelKey
    temperature: float


@dataclass(frozen=True)
class Nudge:
    """One move of the weights, added to state `at`; `match`: the arm that says how far, where scale is "matched"."""

    scale: float | str
    draw: int
    at: int
    direction: str
    match: str | None


@dataclass(frozen=True)
class Kick:
    """A move at every step, as far as the objective of `match` differs from its reference's."""

    match: str
    draw: int


@dataclass(frozen=True)
class Inputs:
    """Inputs of an arm's own: other batches, or other views of the same ones."""

    inputs: str
    draw: int

    @property
    def of_order(self) -> int:
        """The draw of the order of samples: 0, the shared one, where only views are others."""
        return self.draw if self.inputs == "batches" else 0

    @property
    def of_views(self) -> int:
        """The draw of a view's words: 0, the shared one, where only batches are others."""
        return self.draw if self.inputs == "views" else 0

    @property
    def key(self) -> str:
        """What files call them."""
        return f"{self.inputs}-{self.draw}"

    def __str__(self) -> str:
        return f"other {self.inputs} (draw {self.draw})"


@dataclass(frozen=True)
class Traits:
    """All that tells an arm from another: equal traits make equal bits.

    `terms`: what it minimises, the first the loss of its objective. `start`: the draw of its initial weights (0: the
    shared ones). `nudges` and `kicks`: in the order in which they are added. `inputs`: None where they are the shared.
    """

    terms: tuple[Term, ...]
    start: int = 0
    nudges: tuple[Nudge, ...] = ()
    kicks: tuple[Kick, ...] = ()
    inputs: Inputs | None = None

    @property
    def labels(self) -> LabelKey:
        """The labels of its objective."""
        return self.terms[0].labels

    @property
    def beginning(self) -> tuple[int, tuple[Nudge, ...]]:
        """What its first weights are made of, but for a head: equal beginnings are equal bits."""
        return self.start, tuple(nudge for nudge in self.nudges if nudge.at == 0)

    @property
    def starts_shared(self) -> bool:
        """Does it start at the shared initial weights themselves?"""
        return not self.start and not any(nudge.at == 0 for nudge in self.nudges)


def objective_of(arm: Arm) -> Objective:
    """The objective of a resolved arm, which a control has of the arm it copies."""
    return Objective(arm.objective, bool(arm.positive_in_denominator), arm.lam)


def traits_of(arms: Mapping[str, Arm], name: str) -> Traits:
    """The traits of one of the resolved arms."""
    arm = arms[name]
    if arm.kind == "objective":
        return Traits((Term(1.0, objective_of(arm), arm.labelling, arm.temperature),))
    assert arm.of is not None, "a control copies an arm"
    traits = traits_of(arms, arm.of)
    match arm:
        case Nudged():
            nudge = Nudge(arm.scale, arm.draw, arm.at, arm.direction, arm.match)
            return replace(traits, nudges=(*traits.nudges, nudge))
        case Independent():
            return replace(traits, start=arm.draw)
        case Placebo():
            assert arm.labelling is not None, "a placebo's objective takes labels"
            permuted = Permuted(arm.labelling, arm.across, arm.draw)
            return replace(traits, terms=(replace(traits.terms[0], labels=permuted), *traits.terms[1:]))
        case Kicked():
            return replace(traits, kicks=(*traits.kicks, Kick(arm.match, arm.draw)))
        case Anti():
            # docs/theory.md (101)
            (against,), (own,) = traits_of(arms, arm.against).terms, traits.terms
            return replace(traits, terms=(replace(own, weight=-1.0), replace(against, weight=2.0)))
        case OtherInputs():
            return replace(traits, inputs=Inputs(arm.inputs, arm.draw))
        case _:
            return traits


def own_inputs(arms: Mapping[str, Arm]) -> dict[Inputs, list[str]]:
    """Every kind of input that is not the shared one, with the arms that see it, in the config's order."""
    kinds: dict[Inputs, list[str]] = {}
    for name in arms:
        if (inputs := traits_of(arms, name).inputs) is not None:
            kinds.setdefault(inputs, []).append(name)
    return kinds


def other_inputs(arms: Mapping[str, Arm], name: str, reference: str) -> str:
    """Why batches of two arms cannot be compared, in words; "" where both see the same."""
    own, its = (traits_of(arms, arm).inputs for arm in (name, reference))
    if own == its:
        return ""
    shown = [f"{arm} sees {inputs or 'the shared inputs'}" for arm, inputs in ((name, own), (reference, its))]
    return " and ".join(shown)
