"""A sweep on Slurm: one array of jobs, one for each point that is not finished. It returns once they are queued."""

import importlib
import shutil
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr
from dataclasses import dataclass
from functools import partial
from io import StringIO
from pathlib import Path
from typing import Any, Final

from coupled.config.toml import to_toml
from coupled.driver.assembly import is_finished
from coupled.errors import UserError
from coupled.store.errors import naming
from coupled.store.fs import REAL
from coupled.sweeps.cluster import FOLDER, check_fits, parameters
from coupled.sweeps.element import Element
from coupled.sweeps.folder import path_of
from coupled.sweeps.messages import DRIFT
from coupled.sweeps.points import Point, Sweep
from coupled.sweeps.running import opened

_OWN: Final = "submitit"  # the folder of its own files
_MOST_TIMES: Final = 1000  # that a job is queued again after its time was up


@dataclass(frozen=True)
class Submitted:
    """`job`: the id of the array, "" where every point is finished already; `points`: the names of those that are
    queued; `logs`: the folder where what a run prints is in `<point>.log`.
    """

    job: str
    points: tuple[str, ...]
    logs: Path


def submit(sweep: Sweep, executor: Callable[[Path], Any] | None = None, *, allow_drift: bool = False) -> Submitted:
    """Queue every point of a sweep that is not finished. `executor`: makes submitit's executor for this folder, its
    parameters set; default: Slurm's, as the sweep's file says. `allow_drift` is handed on to each run.

    All points are checked before the first is queued. Raises UserError for what the user can mend, among it a sweep
    that another process trains, or whose jobs wait or run.
    """
    slurm = sweep.slurm
    if slurm is None:
        raise UserError("the sweep has no [slurm]", "at least the minutes that one job may take", "such as time = 240")
    submitit = _submitit()
    if executor is None:
        _slurm_is_here()
    with opened(sweep, partial(check_fits, slurm)):
        folder = path_of(sweep) / FOLDER
        points = [point for point in sweep.points if not is_finished(point.config)]
        if not points:
            return Submitted("", (), folder)
        REAL.ensure_directory(folder)
        elements = [_element(point, folder, slurm.ranks, (DRIFT,) if allow_drift else ()) for point in points]
        if executor is None:
            queue = submitit.SlurmExecutor(folder / _OWN, max_num_timeout=_MOST_TIMES)
            queue.update_parameters(**parameters(slurm, [point.config for point in points], path_of(sweep)))
        else:
            queue = executor(folder / _OWN)
        failed = (submitit.core.utils.FailedJobError, submitit.core.utils.FailedSubmissionError)
        try:
            with redirect_stderr(StringIO()):  # what sbatch says is in the error, too
                jobs = queue.submit_array(elements)
        except failed as error:
            lines = (line.removeprefix("sbatch: ").removeprefix("error: ") for line in str(error).splitlines())
            said = ", ".join(filter(None, lines))
            raise UserError(f"sbatch: {said}", "Slurm did not take the jobs", "change [slurm] of the sweep") from None
    return Submitted(str(jobs[0].job_id).partition("_")[0], tuple(point.name for point in points), folder)


def _submitit() -> Any:
    """The library; UserError where it is not installed."""
    try:
        return importlib.import_module("submitit")
    except ImportError:
        given, allowed = "--slurm needs submitit", "it is not installed here"
        raise UserError(given, allowed, "pip install 'coupled[slurm]'") from None


def _slurm_is_here() -> None:
    for program in ("sbatch", "srun"):
        if shutil.which(program) is None:
            raise UserError(f"--slurm needs {program}", "it is not found here", "submit from a machine of the cluster")


def _element(point: Point, folder: Path, ranks: int, words: Sequence[str]) -> Element:
    """The job of a point, and the file that says what it trains."""
    path = folder / f"{point.name}.toml"
    with naming(path):
        path.write_text(to_toml(point.config, elastic=True) + "\n", encoding="utf-8")
    return Element(path, ranks, words)
