"""Features as points of a plane: the first two principal components, or UMAP (McInnes, Healy and Melville 2018).

Shapes: x (n, D), finite features of a place, in its own precision; points (n, 2), float64, of mean 0.
"""

import importlib.metadata
import math
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final, Literal, NamedTuple, Protocol

import torch
from torch import Tensor

from analysis.evaluation.kept import Kept
from analysis.extra import extra
from coupled.data.splits import content_digest
from coupled.errors import UserError
from coupled.runtime import one_thread
from coupled.theory.scale import largest, scaled

Method = Literal["umap", "pca"]
METHODS: Final[tuple[Method, ...]] = ("umap", "pca")
LEAST: Final = 4  # points of a picture: UMAP's start needs them
NEIGHBOURS: Final = 15  # UMAP's own default, as the next two
MIN_DIST: Final = 0.1
METRIC: Final = "euclidean"  # on z, which has unit norm, cosine gives the same neighbours
SEED: Final = 0
_LIBRARY: Final = "umap-learn"
# What the library says of features without which it does its work as well.
_TOLD: Final[tuple[tuple[str, type[Warning]], ...]] = (
    ("Tensorflow not installed", ImportWarning),
    ("Spectral initialisation failed", UserWarning),
)


class Embedded(NamedTuple):
    """Points, and the share of the features' variance that they show: NaN where a method has no such share."""

    points: Tensor
    share: float


class Embedding(Protocol):
    """A method with its settings in words."""

    settings: str

    def of(self, x: Tensor) -> Embedded:
        """The points of some features. UserError where the method gives no finite ones."""
        ...


class Principal:
    """The two axes along which the features vary most."""

    settings = "PCA: the first two principal components"

    def of(self, x: Tensor) -> Embedded:
        centred = x.double() - x.double().mean(0)
        if not bool(centred.isfinite().all()):
            raise UserError("features are too large for a picture", "float64 holds no mean of them")
        with one_thread():
            left, sizes, _ = torch.linalg.svd(centred, full_matrices=False)
        points = centred.new_zeros(len(x), 2)
        points[:, : len(sizes[:2])] = left[:, :2] * sizes[:2]
        # An axis has no direction of its own: the point farthest out along it is on its positive side.
        farthest = points.gather(0, points.abs().argmax(0, keepdim=True))
        shares = (sizes / sizes[0].clamp(min=torch.finfo(torch.float64).tiny)).square()
        return Embedded(points * torch.where(farthest < 0, -1.0, 1.0), float(shares[:2].sum() / shares.sum()))


class Umap:
    """UMAP from a fixed seed on one thread: equal features give equal points on one machine.

    kept: where points lie from an earlier call. UserError, before any work, where the library is not installed.
    """

    def __init__(self, n: int, kept: Kept) -> None:
        with _silence():
            self._library = extra("umap", _LIBRARY, "--method umap", instead="--method pca needs no library")
        self._kept, self._version = kept, importlib.metadata.version(_LIBRARY)
        self._options: Mapping[str, Any] = {
            "n_neighbors": min(NEIGHBOURS, n - 1), "min_dist": MIN_DIST, "metric": METRIC, "random_state": SEED
        }  # fmt: skip
        self.settings = (
            f"UMAP: {self._options['n_neighbors']} neighbours, min_dist {MIN_DIST}, {METRIC}, seed {SEED}, "
            f"{_LIBRARY} {self._version}"
        )

    def of(self, x: Tensor) -> Embedded:
        facts = {"features": content_digest({"x": x}), "umap": self._version, **self._options, "number": 1}
        columns = self._kept.of("picture-umap", facts, len(x), 2 * 8, lambda: {"points": self._made(x)})
        return Embedded(torch.from_numpy(columns["points"]), math.nan)

    def _made(self, x: Tensor) -> Tensor:
        # Distances do not depend on the mean, nor neighbours on the size: without both, float32 has digits for all.
        # Clusters without a neighbour in another are laid out by exp(−d²), which needs distances of ordinary size.
        x = scaled(x.double())
        x = x - x.mean(0)
        x = x / largest(x)
        x = x / x.norm(dim=1).max()
        with _silence():
            umap = self._library.UMAP(**self._options, n_jobs=1)
            points = torch.from_numpy(umap.fit_transform(x.float().numpy())).double()
        if not bool(points.isfinite().all()):
            raise UserError(
                "UMAP gave points that are not finite", "other features give finite ones", "use --method pca"
            )
        return points - points.mean(0)


@contextmanager
def _silence() -> Iterator[None]:
    """Inside, the library's warnings of `_TOLD` are not shown. For one thread at a time, as UMAP is."""
    with warnings.catch_warnings():
        for message, category in _TOLD:
            warnings.filterwarnings("ignore", message, category)
        yield
