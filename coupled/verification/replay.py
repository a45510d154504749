"""Stretches of a run, trained again from kept checkpoints and compared byte by byte with what was recorded."""

from collections.abc import Callable, Mapping

import numpy as np

from coupled import checkpoints
from coupled.certificate import Certificate
from coupled.driver import advance
from coupled.errors import UserError
from coupled.opened import open_arm
from coupled.recorder import Recorder
from coupled.run import Run, build
from coupled.shards import Shards
from coupled.source import Stream
from coupled.store import Entry, Manifest, Saved, StoreError, TensorFile, read_saved
from coupled.verification.redrawn import Here, Words
from coupled.writer import Writer


class Rehearsal(Run):
    """A run that commits nothing: its rows stay with the recorder."""

    def checkpoint(self, step: int) -> None: ...


def check_stretches(
    here: Here, shards: Shards, manifest: Manifest, count: int, longest: int, told: Callable[[str, int, int], None]
) -> Words:
    """`count` stretches of at most `longest` steps, spread over the checkpoints that are kept."""
    if not count:
        return [], ["floats: that each is right; --replay K trains K stretches again and compares bytes"]
    if here.missing:
        raise UserError("--replay trains again, which needs the data set", here.missing)
    reached = max((entry.last for entry in manifest.entries if entry.kind == "shard"), default=-1)
    stretches = _stretches(here, manifest, min(reached + 1, here.config.train.steps), count, longest)
    if not stretches:
        return [], ["replay: no kept checkpoint has recorded steps behind it"]
    done = []
    for number, (saved, end, at_end) in enumerate(stretches, 1):
        _replay(here, shards, saved, end, at_end)
        done.append(f"{saved.step} to {end}")
        told("replay", number, len(stretches))
    return [f"trained again: steps {', '.join(done)}: every recorded byte of every arm is the same"], []


def _stretches(
    here: Here, manifest: Manifest, last: int, count: int, longest: int
) -> list[tuple[Saved, int, Entry | None]]:
    """(start, end, the checkpoint at the end if one is kept there); starts evenly spread, each once."""
    retired = {entry.name for entry in manifest.entries if entry.kind == "retire"}
    kept = {e.first: e for e in manifest.entries if e.kind == "checkpoint" and e.name not in retired}
    starts = [step for step in kept if step < last]
    chosen = (
        [starts[i] for i in dict.fromkeys(np.linspace(0, len(starts) - 1, count).round().astype(int))] if starts else []
    )
    found = []
    for start in chosen:
        end = min([start + longest, last, *(step for step in kept if step > start)])
        found.append((read_saved(here.path, kept[start]), end, kept.get(end)))
    return found


def _replay(here: Here, shards: Shards, saved: Saved, end: int, at_end: Entry | None) -> None:
    parts = build(here.config)
    writer = Writer(asynchronous=False, limit=1)
    recorder = Recorder(here.config, parts.streams, parts.arms, parts.panels, None, writer, parts.facts["fingerprint"])  # type: ignore[arg-type]
    stream = Stream(parts.source, end)
    run = Rehearsal(
        here.config, parts.arms, parts.source, stream, recorder, Certificate(parts.initial_weights), None,  # type: ignore[arg-type]
        writer, parts.facts["fingerprint"], frozenset(),
    )  # fmt: skip
    for name, arm in run.arms.items():
        checkpoints.restore(arm, open_arm(here.path, saved, name, run.fingerprint), saved.step)
    run.certificate.link = bytes.fromhex(saved.state["chain"])
    try:
        for step in range(saved.step, end):
            advance(run, step)
    finally:
        stream.close()
    rows, _ = recorder.open_rows()
    _compare_rows(here, shards, rows)
    if at_end is not None:
        last = read_saved(here.path, at_end)
        for name, arm in run.arms.items():
            _compare_arm(here, open_arm(here.path, last, name, run.fingerprint), checkpoints.captured(arm), end)


def _compare_rows(here: Here, shards: Shards, rows: Mapping[str, np.ndarray]) -> None:
    differing: list[tuple[int, str]] = []
    for name, values in rows.items():
        stream, owner, column = name.split("/")
        group = column.partition(".")[0]
        if column == f"{group}.step":
            continue
        for step, value in zip(rows[f"{stream}/{owner}/{group}.step"].tolist(), values, strict=True):
            found = shards.row(stream, owner, column, step)
            if found is not None and found.tobytes() != value.tobytes():
                differing.append((step, f"{column} of {stream}/{owner} at step {step}: {_size(found, value)}"))
                break
    if differing:
        _refuse(here, min(differing)[1])


def _compare_arm(here: Here, file: TensorFile, arrays: Mapping[str, np.ndarray], step: int) -> None:
    for name, array in arrays.items():
        if file[name].tobytes() != array.tobytes():
            _refuse(here, f"{name} in {file.path.name} at step {step}: {_size(file[name], array)}")


def _size(recorded: np.ndarray, again: np.ndarray) -> str:
    if recorded.dtype.kind != "f":
        return "other values"
    gap = np.abs(recorded.astype(np.float64) - again.astype(np.float64))
    return f"the largest difference is {float(np.nanmax(gap)) if gap.size else 0.0:.3g}"


def _refuse(here: Here, what: str) -> None:
    why = f"; it was made under other conditions: {here.conditions}" if here.conditions else ""
    raise StoreError(here.path, f"trained again, it is not the same: {what}{why}")
