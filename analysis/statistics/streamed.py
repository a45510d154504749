"""CKA and RSA with interval and null band of more samples than memory holds: rows come block by block, some times over.

Everything is a sum over samples (docs/theory.md (38)), of all of them and of each group that the jackknife leaves out.
The values are those of `analysis.statistics.estimates.estimates` on the whole arrays, to rounding.

Memory, whatever n is: `memory` says it. Sums take 8·(d² + e² + de) bytes each: those of groups, 128 MiB or one of them
if that is more, with those of a block and what measures need two and a half times that, and those of all samples. Rows
take up to 256 MiB: two blocks of either representation as they are given, and some in float64. Together 0.5 GiB for
d = e = 512, 0.6 GiB for 2048, 1.6 GiB for 4096.

Shapes: x (n, d) and y (n, e): the same n samples in both.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields, replace
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
_PARTS: Final = 4  # of these are looked at one after the other
_BLOCK_ROWS: Final = 1 << 14
_ROWS_BYTES: Final = 256 << 20  # that rows take at most, in all forms
_BLOCK_BYTES: Final = 128 << 20  # of a block of rows of both, as if in float64


def memory(n: int, d: int, e: int, groups: int = 16) -> int:
    """How many bytes `streamed` takes at most for n samples of d and e features, in blocks of up to 64 MiB as given."""
    sums = 8 * (d * d + e * e + d * e)
    held = sums * min(groups, max(1, SUMS_BYTES // sums))
    return 5 * held // 2 + sums + min(_ROWS_BYTES, 5 * 8 * n * (d + e))


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
            stacks = self.of_groups(range(groups), groups)
            total = reduce(add, (_summed(sums) for _, sums in stacks))
        else:
            total = self.of_all()
            stacks = self._by_batch(at_once, groups)
        rest = {measure: torch.empty(groups, dtype=torch.float64) for measure in measures}
        for first, stack in stacks:
            # A measure takes several times the memory of the sums that it is of.
            for start in range(0, len(stack.q), max(1, at_once // _PARTS)):
                rows = slice(start, start + max(1, at_once // _PARTS))
                self._leave_out(total, _rows_of(stack, rows), first + start, rest)
            del stack  # the sums of the next groups would not fit beside them
        return total, rest

    def _by_batch(self, at_once: int, groups: int) -> Iterator[tuple[int, Moments]]:
        """What `of_groups` gives for all groups, a pass for every `at_once` of them."""
        for start in range(0, groups, at_once):
            yield from self.of_groups(range(start, min(start + at_once, groups)), groups)

    def _leave_out(self, total: Moments, part: Moments, first: int, rest: dict[str, Tensor]) -> None:
        """Writes into `rest`, by measure, the values without each group of a stack; `first`: which the first is."""
        numbers = range(first, first + len(part.q))
        without = replace(total, shift_x=part.shift_x, shift_y=part.shift_y) - part
        # Where a group holds nearly all of a sum, a difference is the rounding of it: the others are summed anew.
        lost = (without.qq < LOST * total.qq) | (without.uu < LOST * total.uu)
        for measure, values in rest.items():
            values[numbers.start : numbers.stop] = OF_MOMENTS[measure](without).value
        del without  # sums taken anew would not fit beside it
        for group in (number for number, is_lost in zip(numbers, lost.tolist(), strict=True) if is_lost):
            groups = len(next(iter(rest.values())))
            x, y = (_without(rows, group, groups) for rows in (self._x, self._y))
            sums = _Sums(x, y, self._unit).of_all()
            for measure, values in rest.items():
                values[group] = OF_MOMENTS[measure](sums).value

    def of_all(self) -> Moments:
        """The sums of all samples; one pass."""
        return _summed(self.of_groups(range(1), 1)[0][1])

    def of_groups(self, wanted: range, groups: int) -> list[tuple[int, Moments]]:
        """The sums of the samples i ≡ j (mod groups) for each wanted j, one pass: (first j, their sums with a leading
        axis), once for the groups that have a sample more than the last ones.
        """
        a, b = self._centres
        shifts = a.mean.expand(len(wanted), -1), b.mean.expand(len(wanted), -1)
        sums, rows = None, (torch.empty(0, len(a.mean)), torch.empty(0, len(b.mean)))
        most = min(_BLOCK_ROWS, _BLOCK_BYTES // (8 * (len(a.mean) + len(b.mean))))
        size = groups * max(1, most // groups)
        for x, y in zip(_pieces(self._x, size), _pieces(self._y, size), strict=True):
            rows = shifted(x, -a.power), shifted(y, -b.power)
            if len(x) >= groups:
                by_group = [_by_group(side, groups)[wanted.start : wanted.stop] for side in rows]
                # Without a name, so that the sums of the last block are gone before those of the next are made.
                sums = _grown(sums, Moments.of(by_group[0], by_group[1], shifts[0], shifts[1], unit=self._unit))
        assert sums is not None, "at least one sample in every group"
        # Only the last piece is no multiple of the groups.
        left = len(rows[0]) % groups
        longer = range(wanted.start, max(wanted.start, min(wanted.stop, left)))
        count = len(longer)
        ends = [side[len(side) - left :][longer.start : longer.stop, None] for side in rows]
        more = Moments.of(ends[0], ends[1], shifts[0][:count], shifts[1][:count], unit=self._unit)
        stacks = [(longer.start, _rows_of(sums, slice(0, count)) + more)] if count else []
        rest = _rows_of(sums, slice(count, None))
        return [*stacks, (longer.stop, rest)] if len(rest.q) else stacks


def _by_group(rows: Tensor, groups: int) -> Tensor:
    """The rows i ≡ j (mod groups) of each j: (groups, k, d), without the last ones that not every group has."""
    return rows[: len(rows) // groups * groups].reshape(-1, groups, rows.shape[1]).transpose(0, 1)


def _grown(sums: Moments | None, part: Moments) -> Moments:
    """`sums + part` in the place of `sums`, which nobody else has: three of them would not fit."""
    if sums is None:
        return part
    others = _tensors(part)
    for name, value in _tensors(sums).items():
        if not name.startswith("shift"):
            value += others[name]
    return replace(sums, n=sums.n + part.n)


def _rows_of(sums: Moments, rows: slice) -> Moments:
    """Some of the groups that sums with a leading axis are of."""
    return replace(sums, **{name: value[rows] for name, value in _tensors(sums).items()})


def _summed(sums: Moments) -> Moments:
    """The sums of all groups together."""
    tensors = {name: value[0] if name.startswith("shift") else value.sum(0) for name, value in _tensors(sums).items()}
    return replace(sums, n=sums.n * len(sums.q), **tensors)


def _tensors(sums: Moments) -> dict[str, Tensor]:
    return {field.name: value for field in fields(sums) if isinstance(value := getattr(sums, field.name), Tensor)}


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


def _pieces(rows: Rows, size: int) -> Iterator[Tensor]:
    """The rows in pieces of that size, but for the last, whatever blocks they come in."""
    rest: Tensor | None = None
    for block in rows():
        joined = block if rest is None or not len(rest) else torch.cat([rest, block])
        full = len(joined) // size * size
        if full:
            yield from joined[:full].split(size)
        rest = joined[full:]
    if rest is not None and len(rest):
        yield rest


def _without(rows: Rows, group: int, groups: int) -> Rows:
    def kept() -> Iterator[Tensor]:
        start = 0
        for block in rows():
            yield block[(torch.arange(start, start + len(block), device=block.device) % groups) != group]
            start += len(block)

    return kept
