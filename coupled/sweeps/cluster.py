"""What a sweep's jobs are given on a Slurm cluster, and which of them wait or run."""

import hashlib
import shlex
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from coupled.config import Config
from coupled.errors import UserError
from coupled.ranks.placement import place
from coupled.sweeps.element import SAVING_S
from coupled.sweeps.processes import environment
from coupled.sweeps.slurm import Slurm

FOLDER: Final = ".slurm"  # in the sweep's folder; `*/` in a shell does not take it for a run
_MARGIN_S: Final = 30  # beside the run's own time to save its state


def check_fits(slurm: Slurm, config: Config) -> None:
    """UserError where a run does not fit into a job."""
    place(config, slurm.ranks)
    threads = slurm.ranks * config.train.threads
    if config.train.device == "cpu" and slurm.cpus is not None and slurm.cpus < threads:
        allowed = f"slurm.ranks × train.threads is {threads}"
        raise UserError(f"slurm.cpus = {slurm.cpus}", allowed, "raise it, or leave it out")
    if config.train.device == "cuda" and slurm.gpus is not None and slurm.gpus < slurm.ranks:
        raise UserError(
            f"slurm.gpus = {slurm.gpus}", f"each of {slurm.ranks} ranks has one", "raise it, or leave it out"
        )


def parameters(slurm: Slurm, configs: Sequence[Config], folder: Path) -> dict[str, Any]:
    """What submitit's executor for Slurm is given. `configs`: of all jobs; `folder`: the sweep's."""
    on_gpus = any(config.train.device == "cuda" for config in configs)
    cores = slurm.ranks * max(config.train.threads + config.data.workers for config in configs)
    gpus = slurm.gpus if slurm.gpus is not None else slurm.ranks if on_gpus else 0
    given = {
        "job_name": job_name(folder),
        "time": slurm.time,
        "partition": slurm.partition,
        "account": slurm.account,
        "constraint": slurm.constraint,
        "nodes": 1,
        "ntasks_per_node": 1,
        "cpus_per_task": slurm.cpus or cores,
        "gpus_per_node": gpus or None,
        "mem": None if slurm.memory is None else f"{slurm.memory}GB",
        "array_parallelism": slurm.at_a_time or len(configs),
        "signal_delay_s": int(SAVING_S) + _MARGIN_S,
        "stderr_to_stdout": True,
        "setup": [f"export PYTHONPATH={shlex.quote(environment()['PYTHONPATH'])}"],
        "additional_parameters": {"requeue": True},
    }
    return {key: value for key, value in given.items() if value is not None}


def job_name(folder: Path) -> str:
    """What the jobs of the sweep in this folder are called, and those of no other."""
    return f"coupled-{folder.name}-{hashlib.sha256(bytes(folder.resolve())).hexdigest()[:8]}"


def refuse_queued(folder: Path) -> None:
    """UserError while jobs of the sweep in this folder wait or run, as far as this machine can know."""
    if not (folder / FOLDER).is_dir() or shutil.which("squeue") is None:
        return
    command = ["squeue", "--noheader", "--format=%i", f"--name={job_name(folder)}"]
    asked = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if asked.returncode:
        reason = " ".join(asked.stderr.split()) or f"exit code {asked.returncode}"
        raise UserError(f"squeue: {reason}", f"it says whether jobs of {folder} wait or run", "try again later")
    if jobs := asked.stdout.split():
        cancel = " ".join(dict.fromkeys(job.partition("_")[0] for job in jobs))
        shown = ", ".join(jobs[:4]) + (f" and {len(jobs) - 4} more" if len(jobs) > 4 else "")
        do = f"wait for them, or scancel {cancel}"
        raise UserError(f"{folder} has jobs that wait or run: {shown}", "one process at a time trains a sweep", do)
