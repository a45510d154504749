"""The table [slurm] of a sweep's file: what each job of a cluster is given. It changes no run and is in no digest."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Final

from coupled.errors import UserError, unknown

_LEAST_MINUTES: Final = 5  # a job is told two minutes before its end to save and go
_MOST_MINUTES: Final = 366 * 24 * 60


@dataclass(frozen=True)
class Slurm:
    """What a job has. `time`: minutes, after which it is queued again; `memory`: GB; `at_a_time`: jobs of the array,
    None: as many as there is room for. Where `cpus` or `gpus` is None, what the runs use.
    """

    time: int
    partition: str | None = None
    account: str | None = None
    constraint: str | None = None
    ranks: int = 1
    cpus: int | None = None
    gpus: int | None = None
    memory: int | None = None
    at_a_time: int | None = None


def slurm_of(table: Mapping[str, Any]) -> Slurm:
    """[slurm] as it is written. Raises UserError."""
    names = [field.name for field in fields(Slurm)]
    for key, value in table.items():
        if key not in names:
            raise unknown("key", key, names, "slurm.")
        if key in ("partition", "account", "constraint"):
            if not isinstance(value, str) or not value:
                raise UserError(f"slurm.{key} = {value!a}", "a string, as sbatch takes it")
        elif type(value) is not int or value < (0 if key == "gpus" else 1):
            raise UserError(f"slurm.{key} = {value!a}", f"an integer from {0 if key == 'gpus' else 1}")
    if not _LEAST_MINUTES <= table.get("time", 0) <= _MOST_MINUTES:
        given = f"slurm.time = {table['time']}" if "time" in table else "[slurm] has no time"
        raise UserError(
            given, f"the minutes that one job may take, from {_LEAST_MINUTES} to a year", "such as time = 240"
        )
    return Slurm(**table)
