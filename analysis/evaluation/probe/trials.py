"""What classifiers of one arm's features get right: fitted on shots of train, tried on train and on test.

Shapes: T train and E test samples, C classes that train has; rates are (…, 2 splits, 2 averages): train and test, the
mean over samples and the mean over classes.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Final

import torch
from torch import Tensor

from analysis.arrays import nearest_centre
from analysis.arrays.adam_probe import adam_probe
from analysis.arrays.linear_probe import Fitted, linear_probe, predicted
from analysis.arrays.neighbours import Neighbours, votes
from analysis.evaluation.probe.settings import NEIGHBOURS, Group, Settings
from analysis.evaluation.samples import SPLITS
from analysis.evaluation.shots import Shots, chosen_pairs, pair_of_draw
from coupled.theory.scale import exponent, largest, shifted

FORMAT: Final = 2  # another number when the columns here change
Columns = dict[str, Tensor]


class Probed:
    """Features of train and test under one labelling, and what is fitted to them.

    train (T, d), test (E, d); labels (T,), (E,). Test samples of a class that train lacks count for nothing: `unknown`
    says how many there are.
    """

    def __init__(self, train: Tensor, labels: Tensor, test: Tensor, test_labels: Tensor) -> None:
        self.classes, self.index = labels.unique(return_inverse=True)
        self.count = len(self.classes)
        known = torch.isin(test_labels, self.classes)
        self.unknown = int((~known).sum())
        # By a power of two, which changes no classifier's answer: products of ordinary numbers are in range.
        by = -exponent(largest(train))
        self.train, self.test = shifted(train.double(), by), shifted(test[known].double(), by)
        self.test_index = torch.searchsorted(self.classes, test_labels[known])
        self.labels = labels
        # Classes that both splits have: pairs are of these.
        self.both = torch.isin(torch.arange(self.count), self.test_index).nonzero()[:, 0]
        self.splits = ((self.train, self.index), (self.test, self.test_index))
        self.sizes = tuple(index.bincount(minlength=self.count) for _, index in self.splits)

    @cached_property
    def search(self) -> Neighbours:
        """Neighbours of the train samples, then of the test samples, among those of train."""
        return Neighbours(torch.cat([self.train, self.test]), self.train)

    def rates(self, guesses: Tensor) -> Tensor:
        """(2, 2) of the classes (T + E,) that train samples, then test samples, are put into."""
        of_splits = zip(self.split(guesses), self.splits, self.sizes, strict=True)
        return torch.stack([_rates(_right(guess, index, self.count), sizes) for guess, (_, index), sizes in of_splits])

    def guesses(self, fitted: Fitted) -> Tensor:
        """The classes (T + E,) that a linear probe puts train samples, then test samples, into."""
        return torch.cat([predicted(fitted, f) for f, _ in self.splits])

    def rows(self, positions: Tensor) -> Tensor:
        """Features at positions among the train samples, then the test samples; ascending."""
        first = positions < len(self.train)
        return torch.cat([self.train[positions[first]], self.test[positions[~first] - len(self.train)]])

    def split(self, values: Tensor) -> tuple[Tensor, ...]:
        """Values (T + E,) as those of train and those of test."""
        return values.split([len(index) for _, index in self.splits])


class _Two:
    """The samples of one pair of classes: the pair of a draw."""

    def __init__(self, probed: Probed, draw: int) -> None:
        first, second = pair_of_draw(len(probed.both), draw)
        self.pair = int(probed.both[first]), int(probed.both[second])
        indices = torch.cat([index for _, index in probed.splits])
        # Of train samples, then of test samples: which are of the pair, and of which of the two.
        self.rows = ((indices == self.pair[0]) | (indices == self.pair[1])).nonzero()[:, 0]
        self.index = (indices[self.rows] == self.pair[1]).long()
        self._of_train = self.rows < len(probed.train)
        self.train = self.rows[self._of_train]

    def rates(self, guesses: Tensor) -> Tensor:
        """(2, 2) of the classes, 0 or 1, that the samples at `rows` are put into."""
        of_splits = []
        for own in (self._of_train, ~self._of_train):
            index = self.index[own]
            of_splits.append(_rates(_right(guesses[own], index, 2), index.bincount(minlength=2)))
        return torch.stack(of_splits)


def of_all(probed: Probed, group: Group, settings: Settings) -> Columns:
    """One fit to all train samples, C-way: `<classifier>.train` (1, T) and `.test` (1, E), which samples it puts into
    their class; two-way rates `<classifier>.two_way` (1, draws, 2, 2), the centre's over pairs (1, 1, 2, 2); gradients.
    """
    columns = _ALL[group](probed, settings)
    return {name: values[None] for name, values in columns.items()}


def of_few(probed: Probed, group: Group, settings: Settings) -> Columns:
    """Fits to every draw of every number of shots: rates `<classifier>` (1, 2 ways, shots, draws, 2, 2), C-way and
    two-way, NaN where a class has fewer samples; gradients `linear.gradient` (1, 2, shots, draws).
    """
    draws = [Shots(probed.labels, draw) for draw in range(settings.draws)]
    return {name: values[None] for name, values in _FEW[group](probed, draws, settings).items()}


def _by_draw(of_draws: Sequence[Columns]) -> Columns:
    """Columns (ways, shots, …) of every draw as (ways, shots, draws, …)."""
    return {name: torch.stack([of[name] for of in of_draws], 2) for name in of_draws[0]}


def _centre_of_all(probed: Probed, settings: Settings) -> Columns:
    means = torch.stack([probed.train[probed.index == c].mean(0) for c in range(probed.count)])
    guesses = torch.cat([nearest_centre.nearest(f, means) for f, _ in probed.splits])
    return {**_correct(probed, "centre", guesses), "centre.two_way": _of_centres(probed, means[None])[1]}


def _centre_of_few(probed: Probed, draws: Sequence[Shots], settings: Settings) -> Columns:
    return _by_draw([_centre_of_draw(probed, shots, settings) for shots in draws])


def _centre_of_draw(probed: Probed, shots: Shots, settings: Settings) -> Columns:
    possible = [m for m in settings.few if m <= shots.most]
    rates = _nothing(settings)
    if possible:
        drawn = shots.first(possible[-1])
        means = torch.stack([nearest_centre.centres(probed.train, drawn[:, :m]) for m in possible])
        rates[:, : len(possible)] = _of_centres(probed, means)
    return {"centre": rates}


def _of_centres(probed: Probed, means: Tensor) -> Tensor:
    """Rates (2 ways, K, 2, 2) of sets of centres (K, C, d); two-way: means over pairs of classes."""
    pairs = torch.tensor(chosen_pairs(len(probed.both)), dtype=torch.int64).view(-1, 2)
    i, j = probed.both[pairs].T
    of_splits = []
    for (f, index), sizes in zip(probed.splits, probed.sizes, strict=True):
        among_all, against = nearest_centre.hits(f, index, means, ties="first")
        hits = torch.stack([against[:, i, j], against[:, j, i]], 2)  # (K, pairs, 2)
        two_way = _rates(hits, torch.stack([sizes[i], sizes[j]], 1)).mean(1)
        of_splits.append(torch.stack([_rates(among_all, sizes), two_way]))
    return torch.stack(of_splits, 2)


def _linear_of_all(probed: Probed, settings: Settings) -> Columns:
    fitted = _fit(settings, probed.train, probed.index, probed.count)
    columns = _correct(probed, "linear", probed.guesses(fitted))
    pairs = [_linear_of_pair(probed, two, None, settings) for two in _distinct(probed, settings)]
    columns["linear.two_way"] = _stacked([rates for rates, _ in pairs])
    gradients = [fitted.gradient, *(gradient for _, gradient in pairs)]
    return {**columns, "linear.gradient": torch.tensor(gradients, dtype=torch.float64)}


def _linear_of_few(probed: Probed, draws: Sequence[Shots], settings: Settings) -> Columns:
    return _by_draw([_linear_of_draw(probed, shots, draw, settings) for draw, shots in enumerate(draws)])


def _linear_of_draw(probed: Probed, shots: Shots, draw: int, settings: Settings) -> Columns:
    rates, gradients = _nothing(settings), torch.full((2, len(settings.few)), math.nan, dtype=torch.float64)
    two, fitted = _pair(probed, draw), None
    for k, m in enumerate(settings.few):
        if m > shots.most:
            break
        drawn = shots.first(m)
        rows = drawn.flatten()
        fitted = _fit(settings, probed.train[rows], probed.index[rows], probed.count, fitted)
        rates[0, k] = probed.rates(probed.guesses(fitted))
        gradients[0, k] = fitted.gradient
        if two is not None:
            rates[1, k], gradients[1, k] = _linear_of_pair(probed, two, drawn, settings)
    return {"linear": rates, "linear.gradient": gradients}


def _linear_of_pair(probed: Probed, two: _Two, drawn: Tensor | None, settings: Settings) -> tuple[Tensor, float]:
    """Rates (2, 2) of a pair of classes, fitted to their shots in `drawn` (C, m) or to all samples; the gradient."""
    rows = two.train if drawn is None else drawn[list(two.pair)].flatten()
    index = (probed.index[rows] == two.pair[1]).long()
    fitted = _fit(settings, probed.train[rows], index, 2)
    return two.rates(predicted(fitted, probed.rows(two.rows))), fitted.gradient


def _fit(settings: Settings, f: Tensor, index: Tensor, classes: int, start: Fitted | None = None) -> Fitted:
    if settings.protocol == "default":
        return linear_probe(f, index, classes, start=start)
    return adam_probe(f, index, classes, settings.protocol)


def _knn_of_all(probed: Probed, settings: Settings) -> Columns:
    every, columns = torch.arange(len(probed.train)), Columns()
    for name, guesses in _voted(probed, every, probed.index, probed.count).items():
        columns |= _correct(probed, name, guesses)
    pairs = [_knn_of_pair(probed, two, None) for two in _distinct(probed, settings)]
    return columns | {f"knn{k}.two_way": _stacked([of[f"knn{k}"] for of in pairs]) for k in NEIGHBOURS}


def _pair(probed: Probed, draw: int) -> _Two | None:
    """The pair of a draw; None where fewer than two classes are in both splits."""
    return _Two(probed, draw) if len(probed.both) > 1 else None


def _distinct(probed: Probed, settings: Settings) -> list[_Two]:
    """A pair of classes for each draw, none of them twice: fits to all samples of a pair are one."""
    count = len(probed.both)
    return [_Two(probed, draw) for draw in range(min(settings.draws, count * (count - 1) // 2))]


def _stacked(rates: Sequence[Tensor]) -> Tensor:
    """Rates (pairs, 2, 2), also of none."""
    return torch.stack([*rates]) if rates else torch.empty(0, 2, 2, dtype=torch.float64)


def _knn_of_few(probed: Probed, draws: Sequence[Shots], settings: Settings) -> Columns:
    possible = [m for m in settings.few if m <= draws[0].most]
    if not possible:
        return _by_draw([{f"knn{k}": _nothing(settings) for k in NEIGHBOURS} for _ in draws])
    of_draws = []
    for draw, shots in enumerate(draws):
        columns, two = {f"knn{k}": _nothing(settings) for k in NEIGHBOURS}, _pair(probed, draw)
        for at, m in enumerate(possible if two is not None else ()):
            assert two is not None
            for name, rates in _knn_of_pair(probed, two, shots.first(m)).items():
                columns[name][1, at] = rates
        of_draws.append(columns)
    columns = _by_draw(of_draws)
    for name, guesses in _walked(probed, draws, possible).items():
        for draw in range(len(draws)):
            for at, m in enumerate(possible):
                if int(name.removeprefix("knn")) <= m * probed.count:
                    columns[name][0, at, draw] = probed.rates(guesses[draw, at].long())
    return columns


def _walked(probed: Probed, draws: Sequence[Shots], possible: Sequence[int]) -> Columns:
    """The classes (draws, shots, T + E) that samples are put into, C-way, by `knn<k>`; without meaning where there are
    fewer shots than k.
    """
    # Shot by shot, each time of every class: the first of all orders are those of fewer shots.
    orders = torch.stack([shots.first(possible[-1]).T.flatten() for shots in draws])
    ends = [m * probed.count for m in possible]
    total = sum(len(f) for f, _ in probed.splits)
    guesses = torch.empty(len(NEIGHBOURS), len(draws), len(ends), total, dtype=torch.int32)
    for rows, nearest in probed.search.of_draws(orders, ends, NEIGHBOURS[-1]):
        guesses[..., rows] = votes(nearest, probed.index, probed.count, NEIGHBOURS).int()
    return {f"knn{k}": of_k for k, of_k in zip(NEIGHBOURS, guesses, strict=True)}


def _knn_of_pair(probed: Probed, two: _Two, drawn: Tensor | None) -> Columns:
    """Rates (2, 2) of a pair of classes, by their shots in `drawn` (C, m) or all their samples; by classifier."""
    shots = two.train if drawn is None else drawn[list(two.pair)]
    guesses = _voted(probed, shots, (probed.index == two.pair[1]).long(), 2, two.rows)
    rates = {name: two.rates(guess) for name, guess in guesses.items()}
    undefined = torch.full((2, 2), math.nan, dtype=torch.float64)
    return {f"knn{k}": rates.get(f"knn{k}", undefined) for k in NEIGHBOURS}


def _voted(probed: Probed, shots: Tensor, index: Tensor, count: int, rows: Tensor | None = None) -> Columns:
    """The classes that samples, or `rows` of them, are put into by each k that is not more than there are shots."""
    possible = [k for k in NEIGHBOURS if k <= shots.numel()]
    if not possible:
        return {}
    near = probed.search.nearest(shots, possible[-1], rows=rows)
    return {f"knn{k}": guess for k, guess in zip(possible, votes(near, index, count, possible), strict=True)}


def _correct(probed: Probed, name: str, guesses: Tensor) -> Columns:
    """Which samples are put into their class, as bytes: columns `<name>.train` (T,) and `<name>.test` (E,)."""
    of_splits = zip(SPLITS, probed.split(guesses), probed.splits, strict=True)
    return {f"{name}.{split}": (guess == index).to(torch.uint8) for split, guess, (_, index) in of_splits}


def _nothing(settings: Settings) -> Tensor:
    """Rates (2 ways, shots, 2, 2) of which none is known yet."""
    return torch.full((2, len(settings.few), 2, 2), math.nan, dtype=torch.float64)


def _right(guess: Tensor, index: Tensor, count: int) -> Tensor:
    """How many samples of each class (C,) were put into it."""
    return index[guess == index].bincount(minlength=count)


def _rates(hits: Tensor, sizes: Tensor) -> Tensor:
    """Means over samples and over classes (…, 2) of hits (…, C) among `sizes` (C,) or (pairs, C) samples; a class
    without samples counts for nothing.
    """
    hits, sizes = hits.double(), sizes.double()
    return torch.stack([hits.sum(-1) / sizes.sum(-1), (hits / sizes).nanmean(-1)], -1)


_ALL: Final[Mapping[Group, Callable[[Probed, Settings], Columns]]] = {
    "centre": _centre_of_all,
    "linear": _linear_of_all,
    "knn": _knn_of_all,
}
_FEW: Final[Mapping[Group, Callable[[Probed, Sequence[Shots], Settings], Columns]]] = {
    "centre": _centre_of_few,
    "linear": _linear_of_few,
    "knn": _knn_of_few,
}
