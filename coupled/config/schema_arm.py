"""What a user may write of one arm: objectives and controls."""

from dataclasses import dataclass

from coupled.config.fields import option

# Far outside what is of use; within them 1/τ is a number of float32, and 1/τ² of float64.
TAU_LOW, TAU_HIGH = 1e-30, 1e30


@dataclass(frozen=True)
class Arm:
    """[arms.<name>] One model. The first is the reference of the others unless they name another."""

    kind: str = option(
        "objective",
        "objective: trained by its own objective; controls copy the arm `of` (docs/controls.md): twin (exact copy), "
        "nudged (weights moved by `scale`), independent (initial weights of its own), placebo (its labels permuted), "
        "kicked (moved at every step as far as the objective of `match` would), anti (the objective's difference to "
        "its reference's reversed), other-inputs (other batches, or other views)",
        choices=("objective", "twin", "nudged", "independent", "placebo", "kicked", "anti", "other-inputs"),
    )
    objective: str | None = option(None, "objective (kind objective)")
    labelling: str | None = option(None, "labels of this arm (kind objective); default: data.labelling")
    temperature: float | None = option(
        None, "temperature τ (kind objective); default: train.temperature", low=TAU_LOW, high=TAU_HIGH
    )
    lam: float | None = option(
        None, "objective homotopy: weight λ of same-class pairs (1: dcl, 0: nscl)", low=0, high=1
    )
    positive_in_denominator: bool | None = option(
        None, "nscl, homotopy: the positive pair inside the logarithm as well; default: false"
    )
    of: str | None = option(None, "the arm that a control copies; default: the first arm")
    reference: str | None = option(
        None, "the arm this one is compared with; default: `of` for controls, else the first arm", kind="recorded"
    )
    scale: float | str | None = option(
        None,
        'nudged: "ulp" (next float up or down), s > 0 for w·(1 ± s), or "matched" (as far, layer by layer, as the '
        'first update took `match`); default: "ulp"',
        low=0,
        high=1,
        open_low=True,
    )
    draw: int | None = option(
        None,
        "nudged, independent, placebo, kicked, other-inputs: which of the possible draws; default: 1",
        low=1,
        high=2**32 - 1,
    )
    at: int | None = option(
        None, "nudged: the step whose state is moved, before it exactly equal; default: 0", low=0, later=True
    )
    direction: str | None = option(
        None,
        "nudged: random signs, or along the gradient of another batch (batch); default: random",
        choices=("random", "batch"),
        later=True,
    )
    match: str | None = option(
        None, 'nudged with scale = "matched", kicked: the arm that says how far; its reference is `of`', later=True
    )
    against: str | None = option(
        None,
        "anti: the arm whose objective the difference is taken from; default: the reference of `of`",
        later=True,
    )
    across: str | None = option(
        None,
        "placebo: labels permuted within each batch, or once in the whole data set (run); default: batch",
        choices=("batch", "run"),
        later=True,
    )
    inputs: str | None = option(
        None,
        "other-inputs: other batches, or the same batches under other views; default: batches",
        choices=("batches", "views"),
        later=True,
    )
