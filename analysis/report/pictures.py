"""picture.csv, read back: what `coupled-analyze picture` has left beside a run, untrusted like every file there."""

import csv
import io
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from analysis.evaluation.picture import FEATURES, Picture, Pictures
from analysis.evaluation.picture.embedding import METHODS
from analysis.evaluation.picture.table import CSV_NAME, HEADER
from analysis.evaluation.samples import SPLITS
from analysis.output import files
from analysis.output.read_back import LARGEST
from analysis.runs.run import Run
from coupled.errors import UserError
from coupled.store import REAL

_OF_ALL: Final = ("feature", "split", "method", "labelling", "settings", "flags")
_OF_SAMPLE: Final = ("id", "class", "class_name")


@dataclass
class _Rows:
    """The rows of a place: their points, and what is the same in all."""

    share: float
    distance: float
    points: list[tuple[float, float]] = field(default_factory=list)


def read_pictures(run: Run) -> tuple[Pictures | None, list[str]]:
    """The pictures that lie beside the run, None where there are none; and, for a file that is not what the command
    writes, why.
    """
    path = files.found(run.path, CSV_NAME)
    if not path.is_file():
        return None, []
    try:
        lines = csv.reader(io.StringIO(REAL.read(path, LARGEST).decode(), newline=""), strict=True)
        return _pictures(run, lines), []
    except (OSError, ValueError, OverflowError, StopIteration, csv.Error) as error:
        reason = f"{path} is not a table of pictures of this run ({error})"
        told = UserError(reason, "coupled-analyze picture makes it again", "or remove it")
        return None, [f"{told}."]


def _pictures(run: Run, lines: Iterator[list[str]]) -> Pictures:
    if tuple(next(lines)) != HEADER:
        raise ValueError("its columns are others")
    facts: dict[str, str] = {}
    samples: list[tuple[str, ...]] = []
    places: dict[tuple[str, int], _Rows] = {}
    for cells in lines:
        row = dict[str, str](zip(HEADER, cells, strict=True))
        facts = facts or {name: row[name] for name in _OF_ALL}
        if any(row[name] != facts[name] for name in _OF_ALL):
            raise ValueError("its rows are of different pictures")
        rows = places.setdefault(
            (row["arm"], int(row["step"])), _Rows(_number(row["share"]), _number(row["procrustes"]))
        )
        own = tuple(row[name] for name in _OF_SAMPLE)
        if len(places) == 1:
            samples.append(own)
        elif len(rows.points) == len(samples) or samples[len(rows.points)] != own:
            raise ValueError("its pictures are of different samples")
        rows.points.append((float(row["x"]), float(row["y"])))
    _check(run, facts, places, len(samples))
    names = {int(label): name for _, label, name in samples}
    return Pictures(
        feature=facts["feature"],
        split=facts["split"],  # type: ignore[arg-type]
        method=facts["method"],  # type: ignore[arg-type]
        settings=facts["settings"],
        labelling=facts["labelling"],
        ids=np.array([int(index) for index, _, _ in samples], np.int64),
        classes=np.array([int(label) for _, label, _ in samples], np.int64),
        names=dict(sorted(names.items())),
        pictures=[
            Picture(arm, step, np.array(rows.points), rows.share, rows.distance) for (arm, step), rows in places.items()
        ],
        flags=tuple(facts["flags"].split("; ")) if facts["flags"] else (),
    )


def _check(run: Run, facts: Mapping[str, str], places: Mapping[tuple[str, int], _Rows], n: int) -> None:
    """ValueError where the rows are not those of every arm at the same steps, each with the same n samples."""
    if not places:
        raise ValueError("it has no rows")
    known = {"feature": FEATURES, "split": SPLITS, "method": METHODS}
    if any(facts[name] not in values for name, values in known.items()):
        raise ValueError("a feature, split or method that is unknown")
    arms, steps = {arm for arm, _ in places}, np.array(sorted({step for _, step in places}), np.int64)
    if not arms <= set(run.arms):
        raise ValueError("its arms are others")
    if len(places) != len(arms) * len(steps) or steps[0] < 0:
        raise ValueError("its steps are not those of each arm")
    if any(len(rows.points) != n for rows in places.values()):
        raise ValueError("its pictures are of different samples")
    if not all(np.isfinite(rows.points).all() for rows in places.values()):
        raise ValueError("points that are not finite")


def _number(cell: str) -> float:
    return float(cell) if cell else math.nan
