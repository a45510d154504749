"""What a run adds to a comparison of many: the curves of its arms, kept under its analysis/ and made once."""

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

import analysis
import coupled
from analysis.aggregation.gap import Gap
from analysis.aggregation.matching import AXES, Array, Progress, Steps, match
from analysis.divergence.growth import cumulative_rate
from analysis.output import files
from analysis.runs.own_measures import OwnCodeError, registered
from analysis.runs.processes import in_processes
from analysis.runs.recorded import check_steps
from analysis.runs.run import Run, open_run
from analysis.runs.seeds import shared_facts
from coupled.config import resolved
from coupled.config.formats import IMPORTED
from coupled.errors import UserError, unknown
from coupled.inputs.dataset import data_info
from coupled.store import REAL, StoreError, TensorFile, canonical_json, digest, open_tensors, to_bytes
from coupled.store.canonical import strict_json
from coupled.store.manifest import MANIFEST
from coupled.store.objects import hash_file
from coupled.store.rundir import PREEMPT, STATE

FORMAT: Final = 1
FOLDER: Final = "summary"
# By name: a measure of `Run.curve`, and its options.
QUANTITIES: Final[dict[str, tuple[str, dict[str, Any]]]] = {
    "cka": ("cka", {}),
    "rsa": ("rsa", {}),
    "batch_cka": ("cka", {"source": "batch"}),
    "batch_rsa": ("rsa", {"source": "batch"}),
    "weight_gap": ("weight_gap", {}),
    "distance": ("distance", {}),
    "loss": ("loss", {}),
    "gap": ("gap", {}),
    "mass": ("mass", {}),
    "motion": ("motion", {}),
    "motion_cosine": ("motion_cosine", {}),
    "similarity_motion": ("similarity_motion", {}),
}
# Batches are recorded at every step: comparing all of them takes far longer than all else, and is asked for by name.
DEFAULT: Final = tuple(name for name, (_, options) in QUANTITIES.items() if not options)

# What arms are matched by and how far they have moved belongs to whatever is looked at.
ALWAYS: Final = ("loss", "motion", "similarity_motion")


@dataclass(frozen=True, eq=False)
class Summary:
    """The quantities of every arm of a run, float64 over int64 steps, and what they are matched by.

    `about`: what was said of the run when it was summarised: its seed, its resolved config and that one's digest, the
    facts that seeds have in common, steps per epoch, training images and number of classes by labelling (None where the
    data set is not known here), each arm's ‖w_0‖ (None where it is not recorded), the last recorded and the planned
    step.
    """

    path: Path
    about: Mapping[str, Any]
    tensors: Mapping[str, NDArray[Any]]
    _progress: dict[tuple[str, str], Progress | Gap] = field(default_factory=dict, init=False, repr=False)

    @property
    def seed(self) -> int:
        return self.about["seed"]

    def series(self, quantity: str, arm: str) -> tuple[Steps, Array] | Gap:
        """Steps and values of a quantity of an arm, or why there are none. UserError for one that was not asked for."""
        if quantity not in self.about["quantities"]:
            raise unknown("quantity of this summary", quantity, self.about["quantities"])
        key = f"{quantity}.{arm}"
        if f"{key}.steps" in self.tensors:
            return self.tensors[f"{key}.steps"], self.tensors[f"{key}.values"]
        return Gap(self.about["missing"].get(key, f"no arm {arm}"))

    def progress(self, axis: str, arm: str) -> Progress | Gap:
        """How far the arm had come, by one of `AXES`; UserError for another."""
        if axis not in AXES:
            raise unknown("axis", axis, AXES)
        if (axis, arm) not in self._progress:
            self._progress[axis, arm] = self._made_progress(axis, arm)
        return self._progress[axis, arm]

    def _made_progress(self, axis: str, arm: str) -> Progress | Gap:
        if axis in ("motion", "loss"):
            series = self.series(axis, arm)
            return series if isinstance(series, Gap) else Progress.of(axis, *series)
        steps, per_epoch = np.arange(self.about["planned"] + 1), self.about["steps_per_epoch"]
        if axis == "rate":
            return Progress.of(axis, steps, self.tensors["rate"])
        if axis == "epoch" and per_epoch is None:
            return Gap("how many steps an epoch has is not known: the data set is not known here")
        return Progress.of(axis, steps, steps / (per_epoch if axis == "epoch" else 1))

    def value(self, quantity: str, arm: str, axis: str, target: float) -> float | Gap:
        """The quantity where the arm had first come to `target` of an axis: `analysis.aggregation.matching`."""
        series, progress = self.series(quantity, arm), self.progress(axis, arm)
        if isinstance(series, Gap):
            return series
        if isinstance(progress, Gap):
            return progress
        value = match(progress, *series, target)
        if isinstance(value, Gap) and self.about["last"] != self.about["planned"]:
            return Gap(f"{value.reason} (unfinished: {self.about['last']} of {self.about['planned']} steps)")
        return value


def summaries(
    paths: Iterable[str | Path], quantities: Iterable[str] = DEFAULT, progress: Callable[[int, int], None] | None = None
) -> list[Summary]:
    """The summaries of runs in the order given; what is not kept is made, as many at once as torch would use threads.
    `progress` is told how many are there, of how many.

    A quantity that a run does not record is a gap of it. Raises UserError for what is no run, for imported checkpoints,
    for an unknown quantity and for a measure of the user's own that fails, StoreError for a run that is damaged.
    """
    paths, names = [Path(path) for path in paths], tuple(quantities)
    for name in names:
        if name not in QUANTITIES and name not in registered:
            raise unknown("quantity", name, [*QUANTITIES, *registered])
    known = [_kept(path, names) for path in paths]
    lacking = [path for path, summary in zip(paths, known, strict=True) if summary is None]
    counted = count(len(known) - len(lacking) + 1)

    def done() -> None:
        if progress is not None:
            progress(next(counted), len(known))

    made = iter(in_processes(lacking, lambda path: _made(path, names), done) if lacking else [])
    return [summary or next(made) for summary in known]


def _kept(path: Path, quantities: tuple[str, ...]) -> Summary | None:
    """The summary of the run as it is now, by this code; None if there is none, or its bytes are not what they were."""
    if not (path / MANIFEST).is_file() or not _can_be_kept(quantities):
        return None  # opening the run says what is wrong
    for file in sorted((files.folder(path) / FOLDER).glob(f"{_name(path, quantities)}-*.safetensors")):
        try:
            tensors: TensorFile = open_tensors(file)
            if file.stem.rpartition("-")[2] == hash_file(file, REAL)[1]:
                return Summary(path, tensors.metadata, dict(tensors.items()))
        except (StoreError, OSError):
            continue
    return None


def _made(path: Path, quantities: tuple[str, ...]) -> Summary:
    # Named before it is opened: a run that grows meanwhile is summarised again. Opening says what is wrong with no run.
    name = _name(path, quantities) if (path / MANIFEST).is_file() else ""
    summary = _of(open_run(path), quantities)
    if not _can_be_kept(quantities):
        return summary
    data = to_bytes(summary.tensors, summary.about)
    folder = files.folder(path) / FOLDER
    for old in folder.glob("*.safetensors"):
        # Of another state of the run or of the code, or these very quantities, damaged.
        if old.name.split("-")[0] != name.split("-")[0] or old.name.startswith(name):
            old.unlink(missing_ok=True)
    files.write(folder / f"{name}-{hashlib.sha256(data).hexdigest()}.safetensors", data)
    return summary


def _name(path: Path, quantities: tuple[str, ...]) -> str:
    """What a summary depends on: the run by its manifest and the code, then the quantities, those of a user's own by
    the file that registered them.
    """
    run = {"format": FORMAT, "manifest": hash_file(path / MANIFEST, REAL)[1], "code": _code()}
    # Rows that are not committed count too: a run may stop twice with the same manifest.
    run["preempt"] = {state.parent.name: hash_file(state, REAL)[1] for state in (path / PREEMPT).glob(f"*/{STATE}")}
    files = {name: registered[name].sha256 for name in quantities if name not in QUANTITIES}
    return f"{digest(run)[:24]}-{digest([list(quantities), files])[:12]}"


def _can_be_kept(quantities: tuple[str, ...]) -> bool:
    """Is there a file for each measure of a user's own? What a notebook has defined is known by no name that lasts."""
    return all(name in QUANTITIES or registered[name].sha256 for name in quantities)


@cache
def _code() -> str:
    """A digest of the source of both packages: the version alone stays the same while the code changes."""
    roots = [Path(package.__path__[0]) for package in (analysis, coupled)]
    sources = [(root, path) for root in roots for path in sorted(root.rglob("*.py"))]
    return digest([[str(path.relative_to(root)), hash_file(path, REAL)[1]] for root, path in sources])


def _of(run: Run, quantities: tuple[str, ...]) -> Summary:
    if IMPORTED in run.facts:
        check_steps(run)  # which says what imported checkpoints lack
    tensors: dict[str, NDArray[Any]] = {"rate": cumulative_rate(run)}
    missing: dict[str, str] = {}
    names = tuple(dict.fromkeys((*quantities, *ALWAYS)))
    for quantity in names:
        measure, options = QUANTITIES.get(quantity, (quantity, {}))
        for arm in run.arms:
            try:
                curve = run.curve(measure, arm=arm, **options)
            except OwnCodeError:
                raise
            except UserError as error:
                missing[f"{quantity}.{arm}"] = str(error)
                continue
            tensors |= {f"{quantity}.{arm}.steps": curve.steps, f"{quantity}.{arm}.values": curve.values}
    config = resolved(run.config)
    about = {
        "seed": run.config.seed,
        "config": config,
        "digest": run.facts["config_digest"],
        "shared": shared_facts(run),
        "quantities": list(names),
        "missing": missing,
        **_of_data(run),
        "start": {arm: _start(run, arm) for arm in run.arms},
        "last": run.steps,
        "planned": run.planned_steps,
    }
    # As it will be read back: a summary is the same, made or kept.
    return Summary(run.path, strict_json(canonical_json(about)), tensors)


def _of_data(run: Run) -> dict[str, Any]:
    try:
        info = data_info(run.config)
    except UserError:
        return dict.fromkeys(("steps_per_epoch", "images", "classes"))
    labellings = {spec.labelling for spec in run.arms.values() if spec.labelling in info.classes}
    return {
        "steps_per_epoch": info.train_size // run.config.batches.size,
        "images": info.train_size,
        "classes": {labelling: info.classes[labelling] for labelling in sorted(map(str, labellings))},
    }


def _start(run: Run, arm: str) -> float | None:
    """The norm of all weights at step 0."""
    norm = run.row("scalars", arm, "state.norm", 0)
    return None if norm is None else float(norm)
