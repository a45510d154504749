"""What a shard must hold by its run's config: its columns, their dtypes, row shapes and steps. Files are untrusted."""

from collections.abc import Iterator, Mapping
from itertools import chain, islice

from coupled.config import Config
from coupled.recording.layout import GROUPS, Column
from coupled.recording.schedule import due
from coupled.store import StoreError, TensorFile
from coupled.store.errors import one_line
from coupled.store.tensors import DTYPES


def check_shard(
    file: TensorFile, columns: Mapping[str, Column], config: Config, stream: str, first: int, last: int
) -> None:
    """Raises StoreError unless the shard of steps first … last holds exactly `columns`, recorded when they are due."""
    wanted: dict[str, Column] = {name: column for name, column in columns.items() if name.startswith("fixed.")}
    for group in GROUPS:
        own = {name: column for name, column in columns.items() if name.startswith(f"{group}.")}
        count = _check_steps(file, f"{group}.step", due(config, stream, group, first=first, last=last)) if own else 0
        if count:
            wanted[f"{group}.step"] = Column("int64", (count,))
            wanted |= {name: Column(column.dtype, (count, *column.shape)) for name, column in own.items()}
    for name in chain(wanted, file):
        if name not in file:
            raise StoreError(file.path, f"lacks the column {name}")
        if name not in wanted:
            raise StoreError(file.path, f"holds {one_line(name)}, no column of {stream} at these steps")
        info = file.header.tensors[name]
        held = Column(DTYPES[info.dtype].name, info.shape)
        if held != wanted[name]:
            raise StoreError(file.path, f"{name} is {_shown(held)}, the config makes it {_shown(wanted[name])}")


def _check_steps(file: TensorFile, index: str, scheduled: Iterator[int]) -> int:
    """How many steps the file lists, once they are known to be those that are scheduled."""
    info = file.header.tensors.get(index)
    steps: list[int] = []
    if info is not None:  # of what is not there, no step may be due
        if info.dtype != "I64" or len(info.shape) != 1:
            raise StoreError(file.path, f"{index} is {_shown(Column(DTYPES[info.dtype].name, info.shape))}, not steps")
        steps = file[index].tolist()
    wanted = list(islice(scheduled, len(steps) + 1))
    if steps != wanted:
        raise StoreError(file.path, f"{index} holds {brief(steps)}, scheduled are {brief(wanted)}")
    return len(steps)


def brief(steps: list[int]) -> str:
    """Steps on less than a line: "1 2 3 4 … 9"."""
    shown = " ".join(map(str, steps[:4]))
    return f"{shown} … {steps[-1]}" if len(steps) > 4 else shown or "none"


def _shown(column: Column) -> str:
    return f"{column.dtype} {column.shape}"
