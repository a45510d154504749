"""The controls that need no statistics: an arm stays at distance 0 until it differs from its reference in something."""

from dataclasses import replace
from itertools import takewhile

from coupled.config.traits import Traits, traits_of
from coupled.reading.records import Records
from coupled.store import Faults, StoreError
from coupled.verification.rebuilt import Findings, Rebuilt


def check_twins(rebuilt: Rebuilt, records: Records, faults: Faults) -> Findings:
    """Every recorded distance of an exact twin, as a whole and by layer, is 0, byte for byte; of an arm that is moved
    late, every one before that.

    A twin is an arm that has all traits of its reference, whatever its kind: equal traits make equal bits.
    """
    sentences, arms = [], rebuilt.config.arms
    for name, arm in arms.items():
        before = 0 if arm.reference is None else _apart_at(traits_of(arms, name), traits_of(arms, arm.reference))
        if before == 0:
            continue
        label, when = ("twin", "") if before is None else ("moved late", f" before {before}, where it is moved")
        counts = {stream: _count(rebuilt, records, stream, name, before, faults) for stream in ("scalars", "layers")}
        if many := counts["scalars"]:
            sentences.append(
                f"{label}: {name} is at distance 0 from {arm.reference} at all {many} recorded steps{when}"
            )
        elif many := counts["layers"]:
            sentences.append(
                f"{label}: every layer of {name} is at distance 0 from {arm.reference} at all {many} steps{when}"
            )
    return Findings(sentences)


def _apart_at(own: Traits, other: Traits) -> int | None:
    """The first step at which arms may differ; None: at no step."""
    if own == other:
        return None
    if replace(own, nudges=(), kicks=()) != replace(other, nudges=(), kicks=()):
        return 0
    common = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(own.nudges, other.nudges, strict=False)))
    moves = [nudge.at for nudge in (*own.nudges[common:], *other.nudges[common:])]
    return min([*moves, *([1] if own.kicks != other.kicks else [])])


def _count(rebuilt: Rebuilt, records: Records, stream: str, arm: str, before: int | None, faults: Faults) -> int:
    """At how many steps the distance is recorded; a fault where it is not 0."""
    count = 0
    for steps, values in records.committed(stream, arm, "state.distance"):
        for step, value in zip(steps.tolist(), values, strict=True):
            if before is not None and step >= before:
                return count
            if any(value.tobytes()):
                far, reference = float(abs(value).max()), rebuilt.config.arms[arm].reference
                path, what = records.path_of(stream, arm, step), "exact twin" if before is None else "copy"
                faults.add(StoreError(path, f"the {what} {arm} is {far!r} from {reference} at step {step}"), "far")
            count += 1
    return count
