"""Stretches of a run, trained again from kept checkpoints and compared byte by byte with what was recorded."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np

from coupled.driver.assembly import Parts, build
from coupled.driver.guard import Guard
from coupled.driver.loop import advance
from coupled.driver.mirrors import Mirrors
from coupled.driver.resuming import restored
from coupled.driver.run import Run
from coupled.errors import RunStopped, UserError
from coupled.inputs.source import Stream
from coupled.ranks.mesh import ALONE
from coupled.reading.checkpoints import checkpoints_of, open_arm
from coupled.reading.records import Records
from coupled.recording import checkpoints
from coupled.recording.commits import Commits
from coupled.recording.observation import Setting
from coupled.recording.observers import observers_of
from coupled.recording.recorder import Recorder
from coupled.recording.writer import Writer
from coupled.runtime import runs_behind
from coupled.store import Entry, Faults, Manifest, Objects, Saved, StoreError, TensorFile, read_saved
from coupled.terminal.counting import Progress
from coupled.verification.rebuilt import Findings, Rebuilt

_CODE: Final = "versions.coupled"


class Stretch(NamedTuple):
    """From a kept checkpoint to step `end`, where another may be kept."""

    start: Saved
    end: int
    at_end: Entry | None

    def __str__(self) -> str:
        return f"{self.start.step} to {self.end}"


class Differences:
    """What training again gave otherwise: `faults`, and `by_code` where floats differ by other code than the run's."""

    def __init__(self, rebuilt: Rebuilt, faults: Faults) -> None:
        self._rebuilt = rebuilt
        self.faults, self.by_code = faults, list[str]()

    def add(self, path: Path, step: int, difference: str, *, of_floats: bool) -> None:
        """`difference`: what differs first in the file at `path`, in words."""
        conditions = self._rebuilt.conditions(step)
        if of_floats and _CODE in conditions:
            self.by_code.append(
                f"floats: trained again by other code they are others, which need not be damage: {difference}, "
                f"first in {path}; {conditions}. The code that made the run can tell"
            )
        else:
            why = f"; it was made under other conditions: {conditions}" if conditions else ""
            self.faults.add(StoreError(path, f"trained again, it is not the same: {difference}{why}"), "again")


class Rehearsal(Run):
    """A stretch of a run trained again, for verify: it commits nothing, and its rows stay with the recorder."""

    def checkpoint(self, step: int) -> None: ...


def check_stretches(
    rebuilt: Rebuilt, records: Records, manifest: Manifest, count: int, longest: int, progress: Progress, faults: Faults
) -> Findings:
    """`count` stretches of at most `longest` steps, spread over the checkpoints that are kept by `manifest`."""
    if not count:
        return Findings(unproven=["floats: that each is right; --replay K trains K stretches again and compares bytes"])
    if rebuilt.data_ranks > 1:
        split = f"floats: that each is right; {rebuilt.data_ranks} ranks shared a batch, and only as many give the same"
        return Findings(unproven=[f"{split} bytes: train the run again so, and compare both with coupled-run diff"])
    if rebuilt.missing:
        raise UserError("--replay trains again, which needs the data set and the run's own code", rebuilt.missing)
    stretches = list(_stretches(rebuilt, manifest, count, longest))
    if not stretches:
        return Findings(
            unproven=["floats: that each is right; no checkpoint that is kept has recorded steps behind it"]
        )
    differences = Differences(rebuilt, faults)
    findings = _trained_again(rebuilt, records, stretches, progress, differences)
    return Findings(unproven=differences.by_code[:1]) if differences.by_code else findings


def _trained_again(
    rebuilt: Rebuilt, records: Records, stretches: Sequence[Stretch], progress: Progress, differences: Differences
) -> Findings:
    parts = build(rebuilt.config)
    done, total, rows, size = 0, sum(of.end - of.start.step for of in stretches), 0, 0
    for stretch in stretches:
        with differences.faults.noted():
            run = _rehearsal(rebuilt, parts, stretch)
            for step in _trained(rebuilt, run, stretch):
                progress("replay", done + step - stretch.start.step, total)
            again = {name: values for of in run.recorder.open_rows()[0].values() for name, values in of.items()}
            same_rows, same_size = _compare_rows(records, again, differences)
            rows, size = rows + same_rows, size + same_size
            if stretch.at_end is not None:
                size += _compare_arms(rebuilt, run, read_saved(rebuilt.path, stretch.at_end), differences)
        done += stretch.end - stretch.start.step
    ends = sum(of.at_end is not None for of in stretches)
    sentence = (
        f"trained again: steps {', '.join(map(str, stretches))}: all {rows} recorded rows of them"
        + (f" and {ends} checkpoint{'s' * (ends != 1)} at their ends" if ends else "")
        + f" have the same {size / 1e6:.1f} MB, byte for byte"
    )
    if not size:
        return Findings(unproven=[f"floats: steps {', '.join(map(str, stretches))} have nothing on record"])
    return Findings([sentence])


def _stretches(rebuilt: Rebuilt, manifest: Manifest, count: int, longest: int) -> Iterator[Stretch]:
    """Starts evenly spread over the checkpoints, each once; none goes beyond what is committed."""
    reached = max((entry.last for entry in manifest.entries if entry.kind == "shard"), default=-1)
    kept = checkpoints_of(rebuilt.path, manifest)
    last = min(max(reached + 1, *kept, 0), rebuilt.config.train.steps) if kept else 0
    starts = [step for step in kept if step < last]
    if not starts:
        return
    for i in dict.fromkeys(np.linspace(0, len(starts) - 1, count).round().astype(int).tolist()):
        start = starts[i]
        end = min([start + longest, last, *(step for step in kept if step > start)])
        yield Stretch(read_saved(rebuilt.path, kept[start]), end, kept.get(end))


def _rehearsal(rebuilt: Rebuilt, parts: Parts, stretch: Stretch) -> Run:
    """A run that commits nothing, at the start of the stretch."""
    fingerprint = parts.facts["fingerprint"]
    commits = Commits(ALONE, Objects(rebuilt.path), None)
    writer = Writer(asynchronous=False, limit=1)
    observers = observers_of(Setting(rebuilt.config, parts.panels, parts.ledger))
    guard = Guard(rebuilt.config, parts.arms, commits, writer, behind=runs_behind(parts.device))
    recorder = Recorder(rebuilt.config, parts.streams, parts.arms, observers, commits, writer, fingerprint, guard)
    chains = restored(rebuilt.path, stretch.start, parts.arms, parts.ledger, rebuilt.config, fingerprint)
    stream = Stream(parts.source, stretch.end)
    return Rehearsal(
        config=rebuilt.config,
        root=rebuilt.path,
        arms=parts.arms,
        audits=parts.audits,
        ledger=parts.ledger,
        moves=parts.moves,
        source=parts.source,
        stream=stream,
        recorder=recorder,
        guard=guard,
        chains=chains,
        commits=commits,
        writer=writer,
        mirrors=Mirrors(rebuilt.config, rebuilt.path, ALONE, recorder, writer),
        fingerprint=fingerprint,
        checkpoint_steps=frozenset(),
    )


def _trained(rebuilt: Rebuilt, run: Run, stretch: Stretch) -> Iterator[int]:
    """Step through the stretch by the driver's own acts; the state at its end is looked at too."""
    try:
        for step in range(stretch.start.step, stretch.end):
            advance(run, step)
            yield step + 1
        run.recorder.observe_state(stretch.end)
        run.guard.read()
    except StoreError:
        raise
    except RunStopped as error:
        raise StoreError(rebuilt.path, f"trained again from step {stretch.start.step}, it stops: {error}") from None
    finally:
        run.stream.close()


def _compare_rows(records: Records, rows: Mapping[str, np.ndarray], differences: Differences) -> tuple[int, int]:
    """How many rows, and bytes, are on record; of every shard where they are not the same, the first difference."""
    first: dict[Path, tuple[bool, int, int, str]] = {}
    many = size = 0
    for name, values in rows.items():
        stream, owner, column = name.split("/")
        group = column.partition(".")[0]
        if column == f"{group}.step":
            continue
        for step, value in zip(rows[f"{stream}/{owner}/{group}.step"].tolist(), values, strict=True):
            recorded = records.row(stream, owner, column, step)
            if recorded is None:  # beyond the last commit
                continue
            many, size = many + 1, size + value.nbytes
            if recorded.tobytes() != value.tobytes():
                difference = f"{column} of {stream}/{owner} at step {step}: {_size(recorded, value)}"
                # Integers first, for they differ by damage alone; of one step in the order of streams: a loss before
                # the panel of the same weights.
                floats = value.dtype.kind == "f" and recorded.shape == value.shape and recorded.dtype == value.dtype
                order = list(records.layout).index(stream)
                path, place = records.path_of(stream, owner, step), (floats, step, order, difference)
                first[path] = min(first.get(path, place), place)
                break
    for path, (of_floats, step, _, difference) in sorted(first.items(), key=lambda item: item[1]):
        differences.add(path, step, difference, of_floats=of_floats)
    return many, size


def _compare_arms(rebuilt: Rebuilt, run: Run, saved: Saved, differences: Differences) -> int:
    """How many bytes a checkpoint has; of every file of it, the first tensor that is not the same."""
    size = 0
    again = {name: checkpoints.captured(arm) for name, arm in run.arms.items()} | run.ledger.captured()
    for name, arrays in again.items():
        file: TensorFile = open_arm(rebuilt.path, saved, name, run.fingerprint)
        if file.keys() != arrays.keys():
            differences.faults.add(
                StoreError(file.path, f"its tensors are not those of arm {name} at step {saved.step}")
            )
            continue
        for key, array in arrays.items():
            if file[key].tobytes() != array.tobytes():
                difference = f"{key} of arm {name} at step {saved.step}: {_size(file[key], array)}"
                of_floats = (file[key].shape, file[key].dtype) == (array.shape, array.dtype)
                differences.add(file.path, saved.step, difference, of_floats=of_floats)
                break
            size += array.nbytes
    return size


def _size(recorded: np.ndarray, again: np.ndarray) -> str:
    if recorded.shape != again.shape or recorded.dtype.kind != "f":
        return "other values"
    both = np.isfinite(recorded) & np.isfinite(again)
    gap = np.abs(recorded[both].astype(np.float64) - again[both].astype(np.float64))
    size = f"the largest difference is {gap.max():.3g}" if gap.size else "none of its numbers is finite in both"
    odd = int((~both).sum())
    return size + (f" ({odd} numbers are not finite)" if odd and gap.size else "")
