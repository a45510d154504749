"""What a run recorded of its inputs, drawn again from their addresses."""

import numpy as np
from torch import Tensor

from coupled.arms.arm import Arm
from coupled.config.traits import Inputs
from coupled.errors import UserError
from coupled.inputs.certificate import integers_digest, weights_digest
from coupled.inputs.source import Batch
from coupled.reading.checkpoints import checkpoints_of, open_checkpoint
from coupled.reading.records import Records
from coupled.recording import checkpoints
from coupled.recording.layout import SHARED
from coupled.recording.observers.pixels import pixel_digests
from coupled.recording.panels import Panels
from coupled.store import Faults, Manifest, StoreError, TensorFile
from coupled.store.manifest import RUN_JSON
from coupled.terminal.counting import Progress
from coupled.verification.rebuilt import Findings, Rebuilt, listed


def check_initial_weights(rebuilt: Rebuilt, manifest: Manifest, faults: Faults) -> Findings:
    """The initial weights are those of the seed: their digest, and every arm's checkpoint of step 0."""
    try:
        arms = rebuilt.arms
    except UserError as error:
        return Findings(unproven=[f"initial weights: not made again ({error})"])
    digest = weights_digest(next(iter(arms.values())).state).hex()
    if rebuilt.initial_weights not in (digest, None):
        why = "the digest of the initial weights is not that of the weights its seed gives at step 0"
        faults.add(StoreError(rebuilt.path / RUN_JSON, why))
    sentence = "one start: the shared initial weights are those that the run's seed gives"
    first = checkpoints_of(rebuilt.path, manifest).get(0)
    if first is not None and 0 in rebuilt.config.checkpoints.keep.upto(0):
        for name, arm in arms.items():
            with faults.noted():
                _check_start(open_checkpoint(rebuilt.path, first, name, rebuilt.facts["fingerprint"]), arm)
        sentence += ", and every arm's checkpoint at step 0 holds them (controls as their kind says)"
    return Findings([sentence])


def _check_start(file: TensorFile, arm: Arm) -> None:
    for name, array in checkpoints.captured(arm).items():
        if name not in file or file[name].tobytes() != array.tobytes():
            raise StoreError(file.path, f"{name} of arm {arm.name} at step 0 is not what the seed gives")


def check_batches(rebuilt: Rebuilt, records: Records, count: int, progress: Progress, faults: Faults) -> Findings:
    """A sample of batches: ids, visits, labels and the words behind both views."""
    if rebuilt.draws is None:
        return Findings(unproven=[f"batches: not drawn again, their order needs the data set ({rebuilt.missing})"])
    recorded = [records.committed_steps(stream, SHARED, "batch") for stream in ("scalars", "similarity")]
    steps, seen = rebuilt.sampled(np.union1d(*recorded), count, "batches"), set()
    for number, step in enumerate(steps, 1):
        for inputs, owner in rebuilt.recorded_inputs():
            seen |= _same_batch(rebuilt, records, step, inputs, owner, faults)
        progress("batches", number, len(steps))
    if not steps:
        return Findings(unproven=["batches: no step is recorded"])
    drawn = ", ".join(part for part in ("ids", "visits", "draws", "labels") if part in seen)
    sentence = f"drawn again: {drawn} of {len(steps)} steps ({listed(steps)}) are what seed {rebuilt.config.seed} gives"
    unseen = [f"labels: not compared, the data set is not here ({rebuilt.missing})"] if rebuilt.source is None else []
    return Findings([sentence], unseen)


def _same_batch(
    rebuilt: Rebuilt, records: Records, step: int, inputs: Inputs | None, owner: str, faults: Faults
) -> set[str]:
    """What an owner has on record of its batch, all of it as its address gives it; a fault where it is not."""
    seen = set()
    for (stream, column), value in _drawn_again(rebuilt, step, inputs).items():
        row = records.row(stream, owner, f"batch.{column}", step)
        if row is None:
            continue
        if row.tobytes() != value:
            path = records.path_of(stream, owner, step)
            faults.add(StoreError(path, f"batch.{column} of step {step} is not what its address gives"), column)
        seen.add("labels" if column.startswith("labels.") else column.partition("_")[0])
    return seen


def _drawn_again(rebuilt: Rebuilt, step: int, inputs: Inputs | None) -> dict[tuple[str, str], bytes]:
    """What (stream, column) must hold at a step of who sees `inputs`."""
    ids, visits, words = rebuilt.drawn(step, inputs)
    expected = {
        ("scalars", "ids_digest"): integers_digest(ids),
        ("scalars", "draws_digest"): integers_digest(words),
        ("similarity", "ids"): _bytes(ids),
        ("similarity", "visits"): _bytes(visits),
    }
    # The run may have been continued, as its drift says, on data that is labelled otherwise.
    same = not any(change.name.startswith("data.") for change in rebuilt.changes(step))
    labels = rebuilt.source.labels if rebuilt.source is not None and same else {}
    return expected | {("similarity", f"labels.{name}"): _bytes(values[ids]) for name, values in labels.items()}


def check_pixels(rebuilt: Rebuilt, records: Records, count: int, progress: Progress, faults: Faults) -> Findings:
    """A sample of the steps whose pixels have digests: both views of every sample, made again."""
    steps = rebuilt.sampled(records.committed_steps("pixels", SHARED, "batch"), count, "pixels")
    if not steps:
        return Findings(unproven=["views: no step has a digest of its pixels"])
    if rebuilt.source is None:
        return Findings(unproven=[f"views: not made again, the data set is not here ({rebuilt.missing})"])
    kinds, same, unproven = list(rebuilt.source.draws), [], []
    for number, step in enumerate(steps, 1):
        others = _other_pixels(rebuilt.source.at(step), rebuilt, records)
        if not others:
            same.append(step)
        elif conditions := rebuilt.conditions(step):
            unproven.append(f"views: the pixels of step {step} differ here, under other conditions: {conditions}")
        else:
            for path in (records.path_of("pixels", owner, step) for owner in others):
                faults.add(StoreError(path, f"the pixels of step {step} are not what their addresses give"), "pixels")
        progress("views", number, len(steps))
    many = 2 * rebuilt.config.batches.size * len(same) * len(kinds)
    sentence = f"made again: {many} views of {len(same)} steps ({listed(same)}) have the recorded pixels, byte for byte"
    return Findings([sentence] if same else [], unproven)


def _other_pixels(batch: Batch, rebuilt: Rebuilt, records: Records) -> list[str]:
    """Whose recorded pixels of a step are not those of the batch that was made again."""
    again = {inputs: pixel_digests(batch.of(inputs).pixels).tobytes() for inputs in batch.integers()}
    others = []
    for inputs, owner in rebuilt.recorded_inputs():
        recorded = records.row("pixels", owner, "batch.pixels_digest", batch.step)
        # Of a run still written, an arm may be a shard behind.
        if (recorded is None and owner == SHARED) or (recorded is not None and recorded.tobytes() != again[inputs]):
            others.append(owner)
    return others


def check_panels(rebuilt: Rebuilt, records: Records, faults: Faults) -> Findings:
    """Ids, labels and draws of both panels, in every shard that holds them."""
    streams = [stream for stream in ("panel", "surrogate") if records.shards.get((stream, SHARED))]
    if not streams:
        return Findings(unproven=["panels: none is recorded"])
    if rebuilt.source is None:
        return Findings(unproven=[f"panels: not drawn again, the data set is not here ({rebuilt.missing})"])
    panels = Panels(rebuilt.config, rebuilt.source, rebuilt.splits["test"])
    for stream in streams:
        expected = panels.fixed(stream)
        for shard in records.shards[stream, SHARED]:
            file = records.open(shard)
            for name, value in expected.items():
                if file[name].tobytes() != value.tobytes() and not rebuilt.changes(shard.last):
                    faults.add(StoreError(file.path, f"{name} of the {stream} is not what its address gives"))
    return Findings([f"panels: ids, labels and draws of {' and '.join(streams)} are what their addresses give"])


def _bytes(values: Tensor) -> bytes:
    return values.numpy().tobytes()
