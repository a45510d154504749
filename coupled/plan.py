"""What a run will be, before it is one: resolved config, run directory, parameters, bytes. Needs no data."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from coupled.config import Config, digest, resolved
from coupled.config.identity import given
from coupled.layout import Layout, row_bytes, schedule_of
from coupled.run import meta_network, path_of, train_layout


@dataclass(frozen=True)
class Plan:
    """Sizes in bytes of tensor data (headers add a few kB a shard).

    `per_step` is what the streams record that record at every step; `streams` the total of each stream over
    the run; `checkpoints` (count, bytes of one with every arm).
    """

    directory: Path
    digest: str
    parameters: int
    per_step: int
    streams: dict[str, int]
    checkpoints: tuple[int, int]

    @property
    def total(self) -> int:
        return sum(self.streams.values()) + self.checkpoints[0] * self.checkpoints[1]


def plan(config: Config) -> Plan:
    """The plan of a resolved config."""
    streams = train_layout(config)
    network = meta_network(config)
    parameters = sum(p.numel() for p in network.parameters())
    buffers = sum(b.numel() for b in network.buffers())
    real = getattr(torch, config.train.precision).itemsize
    copies = 2 if config.optimiser.momentum else 1
    checkpoint = real * len(config.arms) * (copies * parameters + buffers)
    totals = {stream: _total(config, streams, stream) for stream in streams}
    every = [stream for stream in streams if len(schedule_of(config, stream)) >= config.train.steps]
    return Plan(
        directory=path_of(config),
        digest=digest(config),
        parameters=parameters,
        per_step=sum(_row(streams, stream) for stream in every),
        streams=totals,
        checkpoints=(len(config.checkpoints.keep.upto(config.train.steps)), checkpoint),
    )


def _row(streams: Layout, stream: str) -> int:
    return sum(map(row_bytes, streams[stream].values()))


def _total(config: Config, streams: Layout, stream: str) -> int:
    steps = schedule_of(config, stream)
    of_batches = sum(step < config.train.steps for step in steps)
    return sum(
        column.bytes * (len(steps) if name.startswith("state.") else of_batches)
        for columns in streams[stream].values()
        for name, column in columns.items()
        if not name.startswith("fixed.")
    )


def to_toml(config: Config) -> str:
    """The resolved config as TOML (identity and recorded fields); loading it gives the same digest."""
    tables = resolved(config)
    lines = [f"{key} = {_toml(value)}" for key, value in tables.items() if not isinstance(value, dict | list)]
    for section, table in tables.items():
        if isinstance(table, dict):
            lines += ["", f"[{section}]", *_entries(table)]
    for arm in tables["arms"]:
        lines += ["", f"[arms.{arm['name']}]", *_entries(given(arm))]
    return "\n".join(lines)


def _entries(table: dict[str, Any]) -> list[str]:
    return [f"{key} = {_toml(value)}" for key, value in table.items() if value is not None]


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {_toml(item)}" for key, item in value.items()) + " }"
    return repr(value)


def shown_bytes(count: int) -> str:
    """Bytes for people: "512 B", "1.5 kB", "2.0 GB" (powers of 1000)."""
    size, unit = float(count), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if size < 1000:
            break
        size, unit = size / 1000, larger
    return f"{count} B" if unit == "B" else f"{size:.1f} {unit}"
