"""Few-shot errors as they are measured, and the moments that their bounds are of: what is kept on disk.

Shapes: S numbers of shots, K draws, C classes, P pairs of them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final, Literal

import numpy as np
import torch
from torch import Tensor

from analysis.arrays.nearest_centre import centres, hits
from analysis.arrays.pair_moments import PairMoments, pair_moments
from analysis.evaluation.features import Evaluation
from analysis.evaluation.kept import Kept
from analysis.evaluation.samples import SPLITS
from analysis.evaluation.shots import Shots, chosen_pairs, with_replacement
from coupled.data.splits import SplitName, content_digest
from coupled.errors import UserError
from coupled.inputs.dataset import data_info

Setting = Literal["exact", "practice"]
_VERSION: Final = 1  # of the numbers that are kept


@dataclass(frozen=True, eq=False)
class Case:
    """A setting, docs/theory.md (91): the labelled samples that shots are drawn from, and those that are classified.

    Exact: both are the evaluated samples of `split`. Practice: shots are of train, `split` is test, and only classes
    that have samples in both count. drawn_from (n,), on (k,): positions among the evaluated samples.
    """

    setting: Setting
    labelling: str
    shots_of: SplitName
    split: SplitName
    drawn_from: Tensor
    on: Tensor
    labels_from: Tensor
    labels_on: Tensor
    shots: tuple[int, ...]
    draws: int
    flags: tuple[str, ...]

    @cached_property
    def classes(self) -> Tensor:
        """Labels (C,), ascending."""
        return self.labels_from.unique()

    @cached_property
    def pairs(self) -> list[tuple[int, int]]:
        """The pairs of positions of classes whose mean a two-way number is."""
        return chosen_pairs(len(self.classes))

    @cached_property
    def most(self) -> int | None:
        """So many shots can be drawn; None without a limit."""
        return None if self.setting == "exact" else int(self.labels_from.unique(return_counts=True)[1].min())

    @cached_property
    def digest(self) -> str:
        """Of the labels, of all samples that count."""
        return content_digest({"from": self.labels_from, "on": self.labels_on, "rows": self.drawn_from, "of": self.on})

    @cached_property
    def digest_from(self) -> str:
        """The same, of those alone that shots are drawn from."""
        return content_digest({"labels": self.labels_from, "rows": self.drawn_from})

    @cached_property
    def _drawn(self) -> list[Tensor]:
        """Positions (C, m) of each draw's shots, as many as are ever wanted: fewer are the first of them."""
        wanted = max(self.shots)
        if self.most is None:
            return [with_replacement(self.labels_from, draw, wanted, self.split) for draw in range(self.draws)]
        least = min(wanted, self.most)
        return [Shots(self.labels_from, draw).first(least) for draw in range(self.draws)]

    def errors(self, features: Mapping[SplitName, Tensor]) -> dict[str, Tensor]:
        """Errors of the features of each split: among all classes (S, K), and of pairs (S, K, P); a tie is an error.

        NaN where a class has fewer samples than shots.
        """
        f, of = features[self.shots_of][self.drawn_from], features[self.split][self.on]
        index = torch.searchsorted(self.classes, self.labels_on)
        sizes = index.bincount().double()
        first, second = torch.tensor(self.pairs).T
        all_ways = torch.full((len(self.shots), self.draws), torch.nan, dtype=torch.float64)
        two_ways = torch.full((len(self.shots), self.draws, len(first)), torch.nan, dtype=torch.float64)
        for row, m in enumerate(self.shots):
            if self.most is None or m <= self.most:
                of_draws = torch.stack([centres(f, drawn[:, :m]) for drawn in self._drawn])
                among_all, against = hits(of, index, of_draws, ties="errors")
                all_ways[row] = (1 - among_all / sizes).mean(1)
                wrong = 1 - against / sizes[:, None]
                two_ways[row] = (wrong[:, first, second] + wrong[:, second, first]) / 2
        return {"all": all_ways, "two": two_ways}


def cases(evaluation: Evaluation, labelling: str, shots: Sequence[int], draws: int) -> list[Case]:
    """Exact on train and on test, and practice. Raises UserError for one class."""
    labels = {split: evaluation.sample(split).labels[labelling] for split in SPLITS}
    present = {split: of_split.unique() for split, of_split in labels.items()}
    both = present["train"][torch.isin(present["train"], present["test"])]
    for where, classes in (*present.items(), ("train and test", both)):
        if len(classes) < 2:
            raise UserError(f"few-shot error under {labelling}: {len(classes)} classes in {where}",
                            "at least two are needed")  # fmt: skip
    known = data_info(evaluation.config).classes.get(labelling, 0)
    settings: tuple[tuple[Setting, SplitName, SplitName], ...] = (
        ("exact", "train", "train"),
        ("exact", "test", "test"),
        ("practice", "train", "test"),
    )
    of_all = []
    for setting, source, split in settings:
        counted = {s: both if setting == "practice" else present[s] for s in SPLITS}
        rows = {s: torch.isin(labels[s], counted[s]).nonzero()[:, 0] for s in SPLITS}
        flags = [*dict.fromkeys(flag for s in dict.fromkeys((source, split)) for flag in evaluation.sample(s).flags)]
        if setting == "practice":
            flags.append(f"plug-in: moments of {len(rows[source])} samples of {source}, no bound on this error")
        if (absent := known - len(counted[split])) > 0:
            where = " in both splits" if setting == "practice" else ""
            flags.append(f"{absent} of {known} classes have no samples{where}")
        one = Case(setting, labelling, source, split, rows[source], rows[split], labels[source][rows[source]],
                   labels[split][rows[split]], tuple(shots), draws, tuple(flags))  # fmt: skip
        of_all.append(one)
    return of_all


class Measured:
    """Errors and moments of features in the cases of a run; equal features of equal samples are worked on once."""

    def __init__(self, evaluation: Evaluation) -> None:
        self._kept = Kept(evaluation.folder)

    def errors(
        self, case: Case, features: Mapping[SplitName, Tensor], digests: Mapping[SplitName, str]
    ) -> dict[str, np.ndarray]:
        """`Case.errors` of features with these digests."""
        facts = {
            "errors": _VERSION,
            "setting": case.setting,
            "split": case.split,
            "shots": list(case.shots),
            "draws": case.draws,
            "features": [digests[case.shots_of], digests[case.split]],
            "labels": case.digest,
        }
        label, row_bytes = f"few-shot-{case.setting}-{case.split}", 8 * case.draws * (1 + len(case.pairs))
        return self._kept.of(label, facts, len(case.shots), row_bytes, lambda: case.errors(features))

    def moments(self, case: Case, f: Tensor, digest: str) -> PairMoments:
        """Of the samples that shots are drawn from; f (n, d) are the features of their split."""
        facts = {"moments": _VERSION, "features": digest, "labels": case.digest_from}

        def make() -> dict[str, Tensor]:
            moments = pair_moments(f[case.drawn_from], case.labels_from)
            return {name: getattr(moments, name) for name in _COLUMNS}

        count = len(case.classes)
        label, row_bytes = f"few-shot-moments-{case.shots_of}", 8 * (2 + 3 * count)
        columns = self._kept.of(label, facts, count, row_bytes, make)
        return PairMoments(case.classes.numpy(), **{name: torch.from_numpy(columns[name]) for name in _COLUMNS})


_COLUMNS: Final = ("variances", "fourth", "squared_distances", "directional", "traces")
