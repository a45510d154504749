"""The one extractor: images once, through as many networks as memory allows, into parts of tables on disk.

On a CPU every forward runs on one thread, as many at once as torch would use threads: the features of a machine do not
depend on how many cores it has.
"""

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from analysis.evaluation.cache import Table
from analysis.evaluation.networks import network_at
from analysis.runs.run import Run
from coupled.arms.network import evaluation_chunk, meta_network
from coupled.data.splits import FileSplit, Split
from coupled.data.workers import Ahead
from coupled.errors import UserError
from coupled.inputs.pixels import Pixels
from coupled.models import Network
from coupled.models.embedding import embed
from coupled.runtime import one_thread

_PIXEL_BYTES: Final = 64 << 20  # of images that are held at a time
_NETWORK_BYTES: Final = 512 << 20  # of networks, and the parts of tables that they fill, held at a time


@dataclass(frozen=True)
class Work:
    """What is to be made of the images of a split: `ids` (n,); `words` (2, n, …) of two views, None for un-augmented;
    stages: pooled stage features in place of h and z; workers: processes that decode image files.
    """

    run: Run
    images: Split
    ids: Tensor
    words: Tensor | None
    pixels: Pixels
    stages: bool
    workers: int

    @property
    def views(self) -> int:
        return 1 if self.words is None else 2


def extract(work: Work, tables: Mapping[Any, Table], progress: Callable[[str, int, int], None]) -> None:
    """Fills what is missing of `tables`, by place (`arm`, `step`); progress(work, images done, all)."""
    missing = {place: parts for place, table in tables.items() if (parts := table.missing())}
    if not missing:
        return
    places, some = list(missing), tables[next(iter(missing))]
    _check_folder(some.folder.parent)
    size = _networks_at_once(work, some)
    rows = [some.rows_of(part) for parts in missing.values() for part in parts]
    total, done = sum(of_part.stop - of_part.start for of_part in rows), 0
    description = f"{some.facts['kind']} features of {work.run.name}, {some.facts['split']}"
    for start in range(0, len(places), size):
        group = {place: missing[place] for place in places[start : start + size]}
        for images in _extract_group(work, tables, group):
            done += images
            progress(description, done, total)


def _check_folder(folder: Path) -> None:
    """UserError, before any work, where nothing can be kept in the folder of features."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        reason = f"no file can be made there ({error.strerror})"
        raise UserError(f"features go to {folder}", reason, "say with --output where they can be kept") from None


def _networks_at_once(work: Work, table: Table) -> int:
    """How many networks, with the parts that they fill, are held in memory together."""
    weights = sum(tensor.nbytes for tensor in meta_network(work.run.config).state_dict().values())
    part = table.part_rows * table.row_bytes
    return max(1, _NETWORK_BYTES // (weights + 2 * part))  # a part and the bytes of its file


def _extract_group(work: Work, tables: Mapping[Any, Table], group: Mapping[Any, Sequence[int]]) -> Iterator[int]:
    """Fills the parts of a group of places; yields after each chunk how many images went through a network."""
    networks = {place: network_at(work.run, place.arm, place.step, work.pixels.device) for place in group}
    some_table = tables[next(iter(group))]
    parts = sorted({part for of_place in group.values() for part in of_place})
    chunks = [(part, rows) for part in parts for rows in _chunks(work, some_table.rows_of(part))]
    with ExitStack() as stack:
        images = _images(work, [rows for _, rows in chunks], stack)
        embedding = _Embedding(work, stack)
        for part in parts:
            needed = {place: networks[place] for place in group if part in group[place]}
            columns: dict[Any, list[dict[str, Tensor]]] = {place: [] for place in needed}
            for rows in [rows for of, rows in chunks if of == part]:
                for place, of_place in zip(needed, embedding.rows(list(needed.values()), next(images)), strict=True):
                    columns[place].append(of_place)
                yield (rows.stop - rows.start) * len(needed)
            for place, chunk_rows in columns.items():
                tables[place].write(part, _stacked(chunk_rows))


def _chunks(work: Work, rows: slice) -> list[slice]:
    """The rows in pieces whose images are held at a time, each but the last a multiple of a forward's."""
    image = 3 * work.pixels.size**2 * 4 * work.views
    forward = evaluation_chunk(work.run.config)
    size = max(1, _PIXEL_BYTES // image // forward) * forward
    return [slice(start, min(start + size, rows.stop)) for start in range(rows.start, rows.stop, size)]


def _images(work: Work, chunks: Sequence[slice], stack: ExitStack) -> Iterator[Tensor]:
    """The images of each chunk of rows, (V·rows, 3, S, S), view 1 first. Files are decoded ahead, by processes."""
    in_files = isinstance(work.images, FileSplit)
    workers = work.workers if in_files else 0

    def read(number: int) -> Tensor:
        ids = work.ids[chunks[number]]
        if work.words is None:
            return work.pixels.resized(work.images, ids)
        return work.pixels.crops(work.images, ids, work.words[:, chunks[number]])

    ahead = Ahead(read, workers, len(chunks))
    stack.callback(ahead.close)
    for number, rows in enumerate(chunks):
        crops = ahead.at(number)
        if work.words is None:
            yield work.pixels.normalised(crops)
        else:
            yield work.pixels.finished(crops, work.words[:, rows])


class _Embedding:
    """Forward passes of several networks over the same images."""

    def __init__(self, work: Work, stack: ExitStack) -> None:
        self._work, self._pool, self._chunk = work, None, evaluation_chunk(work.run.config)
        if work.pixels.device.type == "cpu":
            threads = torch.get_num_threads()
            stack.enter_context(one_thread())
            pool = ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,))
            self._pool = stack.enter_context(pool)

    def rows(self, networks: Sequence[Network], pixels: Tensor) -> list[dict[str, Tensor]]:
        """What each network makes of the images of a chunk, view 1 first: columns on the CPU, (rows, …)."""
        by_view = pixels.chunk(self._work.views)
        images = [torch.cat(views) for views in zip(*(view.split(self._chunk) for view in by_view), strict=True)]
        calls = (self._pool.map if self._pool else map)(self._of_images, *zip(*product(networks, images), strict=True))
        features = list(calls)
        of_networks = [features[start : start + len(images)] for start in range(0, len(features), len(images))]
        return [{name: torch.cat([piece[name] for piece in pieces]) for name in pieces[0]} for pieces in of_networks]

    def _of_images(self, network: Network, images: Tensor) -> dict[str, Tensor]:
        precision = self._work.run.config.train.precision
        h, z, *stages = embed(network, images, precision, chunk=self._chunk, stages=self._work.stages)
        if stages:
            columns = {f"stage.{k}": stage for k, stage in enumerate(stages)}
        elif self._work.views == 1:
            columns = {"h": h, "z": z}
        else:
            first, second = h.double().chunk(2)
            columns = {"z": torch.stack(z.chunk(2), 1), "h.apart": (first - second).square().sum(1)}
        return {name: values.cpu() for name, values in columns.items()}


def _stacked(chunks: Sequence[Mapping[str, Tensor]]) -> dict[str, np.ndarray]:
    return {name: torch.cat([chunk[name] for chunk in chunks]).numpy() for name in chunks[0]}
