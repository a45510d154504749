"""The surrogate dynamics, docs/theory.md (19): gradient descent on the similarities themselves, for two losses.

    Σ_{t+1} = clip(Σ_t − η_t G_t),   G_ij = (softmax_ij − 1[j positive of i])/(τ·a)

Shapes: R rows (anchors) by A columns (slots: sample and view, view 1 first), float64. Rows do not see each other, so a
block of rows by all columns is closed and exact. A batch is a set of slots: its rows take a step, softmaxes run over
its columns, rows outside get 0. The clip to [−1, 1] is derived here: the paper's iterates leave the box.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import repeat
from typing import NamedTuple

import torch
from torch import Tensor

from coupled.objectives.masks import pair_masks
from coupled.theory.bounds import expansion, similarity_error


@dataclass(frozen=True)
class Denominators:
    """Which columns the denominators of two losses hold, for a block of rows.

    `own` int64 (R,) is each row's column, `positive` (R,) that of its other view; `cl` and `ns` bool (R, A). A row
    whose denominator is empty in a batch takes no step under that loss.
    """

    own: Tensor
    positive: Tensor
    cl: Tensor
    ns: Tensor

    def rows(self, index: Tensor) -> "Denominators":
        """The same for some of the rows."""
        return Denominators(self.own[index], self.positive[index], self.cl[index], self.ns[index])

    def counts(self, batch: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """How many columns of a batch (slots, int64; None: all) `cl` has beyond `ns`, and how many both have.

        Both (R,); what is counted for a row that is not in the batch means nothing.
        """
        only, both = self.cl & ~self.ns, self.cl & self.ns
        if batch is not None:
            only, both = only[:, batch], both[:, batch]
        return only.sum(1), both.sum(1)


def denominators(labels: Tensor, *, cl_positive: bool = False, ns_positive: bool = False) -> Denominators:
    """Those of CL (dcl; nt_xent with `cl_positive`) and of NSCL for samples with `labels` int64 (n,): R = A = 2n."""
    n, masks = len(labels), pair_masks(labels)
    own = torch.arange(2 * n)
    positive = (own + n) % (2 * n)
    views = torch.zeros(2 * n, 2 * n, dtype=torch.bool)
    views[own, positive] = True
    ns = masks.different | views if ns_positive else masks.different
    return Denominators(own, positive, masks.others | views if cl_positive else masks.others, ns)


@dataclass(frozen=True)
class Surrogate:
    """What a simulation gives, float64 (T+1,) over steps 0 … T, and both matrices (R, A) at step T.

    `drift` ‖Σ^CL − Σ^NS‖_F; `bound`, `bound_by_rows` the bounds on it, docs/theory.md (28) and (29);
    `moved_cl`, `moved_ns` ‖Σ_t − Σ_0‖_F.
    """

    drift: Tensor
    bound: Tensor
    bound_by_rows: Tensor
    moved_cl: Tensor
    moved_ns: Tensor
    cl: Tensor
    ns: Tensor


class _Rows(NamedTuple):
    """Where rows have their softmax: the `columns` (R, A), all in a row that has none. Those rows, `empty` (R, 1), are
    `alone` (R, A) instead, e_positive, of gradient 0; None where there is no such row.
    """

    columns: Tensor
    empty: Tensor
    alone: Tensor | None

    @staticmethod
    def of(allowed: Tensor, positive: Tensor) -> "_Rows":
        empty = ~allowed.any(1, keepdim=True)
        alone = torch.zeros(allowed.shape, dtype=torch.float64).scatter_(1, positive[:, None], 1.0)
        return _Rows(allowed | empty, empty, alone if empty.any() else None)

    def softmax(self, sigma: Tensor, temperature: float) -> Tensor:
        """The softmax rows of Σ (R, A) over the columns."""
        rows = torch.where(self.columns, sigma / temperature, -torch.inf).softmax(1)
        return rows if self.alone is None else torch.where(self.empty, self.alone, rows)


def descend(sigma: Tensor, softmax: Tensor, positive: Tensor, rate: float) -> Tensor:
    """One clipped step Σ − rate·(softmax − 1[positive]) of the rows (R, A), `rate` being η/(τa)."""
    moved = sigma - rate * softmax
    moved.scatter_add_(1, positive[:, None], torch.full_like(moved[:, :1], rate))
    return moved.clamp_(-1, 1)


def simulate(
    start: Tensor,
    sets: Denominators,
    rates: Tensor,
    temperature: float,
    anchors: int,
    batches: Iterable[Tensor] | None = None,
) -> Surrogate:
    """Both losses' surrogates from `start` (R, A), entries in [−1, 1], under the rates η_0 … η_{T−1} (T,).

    `anchors` is a, the number of slots in a batch; `batches` gives the slots (a,) of each step's, None: all columns in
    every step. O(T·R·A); 300 steps of 256 × 256 take a second or two.
    """
    track = _Track(start.double(), len(rates))
    members = repeat(None, len(rates)) if batches is None else batches
    every = _Rows.of(sets.cl, sets.positive), _Rows.of(sets.ns, sets.positive)
    for step, (rate, batch) in enumerate(zip(rates.tolist(), members, strict=True)):
        inside, block = _of_batch(sets, batch)
        both = every if batch is None else tuple(_Rows.of(allowed, block.positive) for allowed in (block.cl, block.ns))
        cl, ns = track.cl[inside], track.ns[inside]
        scale = rate / (temperature * anchors)
        of_cl, of_ns = ([rows.softmax(sigma, temperature) for rows in both] for sigma in (cl, ns))
        errors = [similarity_error(p, q, temperature, anchors) for p, q in (of_cl, of_ns)]
        track.cl[inside] = descend(cl, of_cl[0], block.positive, scale)
        track.ns[inside] = descend(ns, of_ns[1], block.positive, scale)
        track.after(step, inside, errors, rate, expansion(rate, temperature, anchors))
    return track.done()


def _of_batch(sets: Denominators, batch: Tensor | None) -> tuple[Tensor | slice, Denominators]:
    """The rows that are in a batch, and their denominators within it."""
    if batch is None:
        return slice(None), sets
    members = torch.zeros(sets.cl.shape[1], dtype=torch.bool)
    members[batch] = True
    inside = members[sets.own].nonzero().flatten()
    block = sets.rows(inside)
    return inside, Denominators(block.own, block.positive, block.cl & members, block.ns & members)


class _Track:
    """Both states, and the curves as they grow."""

    def __init__(self, start: Tensor, steps: int) -> None:
        self.start, self.cl, self.ns = start, start.clone(), start.clone()
        self._by_rows = torch.zeros(len(start), dtype=torch.float64)
        names = ("drift", "bound", "bound_by_rows", "moved_cl", "moved_ns")
        self._curves = {name: torch.zeros(steps + 1, dtype=torch.float64) for name in names}

    def after(self, step: int, inside: Tensor | slice, errors: list[Tensor], rate: float, spread: float) -> None:
        """Take in the step: errors (R',) of the rows `inside`, at CL's and at NSCL's state before it."""
        curves, last = self._curves, self._curves["bound"][step].item()
        whole = min(error.square().sum().item() for error in errors)
        curves["bound"][step + 1] = spread * last + rate * math.sqrt(whole)
        self._by_rows[inside] = spread * self._by_rows[inside] + rate * torch.minimum(*errors)
        curves["bound_by_rows"][step + 1] = self._by_rows.norm()
        curves["drift"][step + 1] = torch.dist(self.cl, self.ns)
        curves["moved_cl"][step + 1] = torch.dist(self.cl, self.start)
        curves["moved_ns"][step + 1] = torch.dist(self.ns, self.start)

    def done(self) -> Surrogate:
        return Surrogate(**self._curves, cl=self.cl, ns=self.ns)
