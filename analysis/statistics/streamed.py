"""CKA and RSA with interval and null band of more samples than memory holds: rows come block by block, some times over.

Everything is a sum over samples (docs/theory.md (38)), of all of them and of each group that the jackknife leaves out.
The values are those of `analysis.statistics.estimates.estimates` on the whole arrays, to rounding.

Memory, whatever n is: a block of rows of either representation as it is given, 32 MiB of rows in float64, and sums of
8·(d² + e² + de) bytes each, three of them and of the groups as many as fit in 128 MiB, at least one.

Shapes: x (n, d) and y (n, e): the same n samples in both.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import reduce
from operator import add
from typing import Final, NamedTuple

import torch
from torch import Tensor

from analysis.statistics.estimates import EXACT, LOST, OF_MOMENTS, Estimate, estimated, jackknife
from analysis.statistics.null import chance_of
from coupled.errors import UserError
from coupled.theory.moments import Moments, mean_row
from coupled.theory.scale import exponent, largest, shifted

Rows = Callable[[], Iterator[Tensor]]  # the rows of one representation, block by block, the same at every call

LEAST: Final = 4  # samples that debiased CKA needs
SUMS_BYTES: Final = 128 << 20  # of groups' sums that are held at a time


def whole(x: Tensor) -> Rows:
    """The rows of an array in memory, as one block."""
    return lambda: iter((x,))


def streamed(measures: Sequence[str], x: Rows, y: Rows, *, unit: bool = False, groups: int = 16) -> dict[str, Estimate]:
    """ "cka", "cka_biased" and "rsa" of one view, with 95 % interval and exact null band; each field is 0-d.

    Of rows as given or of `unit` rows, as RSA needs. groups: of the jackknife, samples i ≡ j (mod groups). Passes over
    the rows: one for means, one for all sums where those of all groups fit in memory; else one, and one for every
    `SUMS_BYTES` of them. UserError below four samples.
    """
    assert set(measures) <= set(OF_MOMENTS) and (unit or "rsa" not in measures), measures
    sums = _Sums(x, y, unit)
    if sums.n < LEAST:
        raise UserError(f"alignment of {sums.n} samples", f"at least {LEAST} are needed")
    groups = min(groups, sums.n)
    total, rest = sums.jackknifed(measures, groups)
    estimates = {}
    for measure in measures:
        value, rounding = OF_MOMENTS[measure](total)
        bands = torch.stack([jackknife(rest[measure]), *chance_of(measure, total)])
        columns = value, *torch.where(value.isnan(), torch.nan, bands), rounding
        estimates[measure] = estimated(measure, [column.cpu().numpy() for column in columns], groups, EXACT)
    return estimates


class _Centre(NamedTuple):
    """Where the sums of a representation are taken: rows are divided by 2^power (0-d) and lose their mean (d,)."""

    n: int
    power: Tensor
    mean: Tensor


class _Sums:
    """The sums of a pair of representations about their own means."""

    def __init__(self, x: Rows, y: Rows, unit: bool) -> None:
        self._x, self._y, self._unit = x, y, unit
        self._centres = _centre(x, unit), _centre(y, unit)
        self.n = self._centres[0].n
        if self.n != self._centres[1].n:
            raise UserError(f"{self.n} and {self._centres[1].n} samples", "the same samples are needed in both")

    def jackknifed(self, measures: Sequence[str], groups: int) -> tuple[Moments, dict[str, Tensor]]:
        """The sums of all samples, and by measure its values (groups,) without each group."""
        d, e = (len(centre.mean) for centre in self._centres)
        at_once = max(1, SUMS_BYTES // (8 * (d * d + e * e + d * e)))
        if at_once >= groups:
            parts = self.of_groups(range(groups), groups)
            total = reduce(add, parts)
        else:
            (total,) = self.of_groups(range(1), 1)
            batches = [range(start, min(start + at_once, groups)) for start in range(0, groups, at_once)]
            parts = (part for batch in batches for part in self.of_groups(batch, groups))
        rest: dict[str, list[Tensor]] = {measure: [] for measure in measures}
        for group, part in enumerate(parts):
            without = total - part
            if _lost(total, without):
                without = self._anew(group, groups)
            for measure in measures:
                rest[measure].append(OF_MOMENTS[measure](without).value)
        return total, {measure: torch.stack(values) for measure, values in rest.items()}

    def of_groups(self, wanted: Sequence[int], groups: int) -> list[Moments]:
        """The sums of the samples i ≡ j (mod groups) for each wanted j; one pass."""
        a, b = self._centres
        sums: dict[int, Moments] = {}
        for start, x, y in _together(self._x, self._y):
            x, y = shifted(x, -a.power), shifted(y, -b.power)
            for j in wanted:
                rows = slice((j - start) % groups, None, groups)
                part = Moments.of(x[rows], y[rows], a.mean, b.mean, unit=self._unit)
                sums[j] = sums[j] + part if j in sums else part
        return [sums[j] for j in wanted]

    def _anew(self, group: int, groups: int) -> Moments:
        """The sums without a group, about the means of the samples that are left."""
        x, y = (_without(rows, group, groups) for rows in (self._x, self._y))
        (sums,) = _Sums(x, y, self._unit).of_groups(range(1), 1)
        return sums


def _lost(total: Moments, without: Moments) -> bool:
    """Does a group hold nearly all of a sum, so that a difference is the rounding of it?"""
    return bool((without.qq < LOST * total.qq) | (without.uu < LOST * total.uu))


def _centre(rows: Rows, unit: bool) -> _Centre:
    n, size, total = 0, torch.zeros((), dtype=torch.float64), None
    for block in rows():
        n += len(block)
        if len(block):
            part = mean_row(block, unit=unit) * len(block)
            total = part if total is None else total + part
            size = torch.maximum(size, largest(block).to(size))
    if total is None:
        raise UserError("alignment of no samples", f"at least {LEAST} are needed")
    power = torch.zeros_like(exponent(size)) if unit else exponent(size)
    return _Centre(n, power, shifted(total / n, -power))


def _together(x: Rows, y: Rows) -> Iterator[tuple[int, Tensor, Tensor]]:
    """(number of the first row, rows of x, rows of y), block by block, whatever blocks either comes in."""
    (left, right), start = (x(), y()), 0
    a, b = next(left, None), next(right, None)
    while a is not None and b is not None:
        size = min(len(a), len(b))
        yield start, a[:size], b[:size]
        start += size
        a = a[size:] if size < len(a) else next(left, None)
        b = b[size:] if size < len(b) else next(right, None)


def _without(rows: Rows, group: int, groups: int) -> Rows:
    def kept() -> Iterator[Tensor]:
        start = 0
        for block in rows():
            yield block[(torch.arange(start, start + len(block), device=block.device) % groups) != group]
            start += len(block)

    return kept
