"""The control that needs no statistics: an arm that differs in nothing from its reference stays at distance 0."""

from coupled.config.traits import traits_of
from coupled.reading.records import Records
from coupled.store import StoreError
from coupled.verification.rebuilt import Findings, Rebuilt


def check_twins(rebuilt: Rebuilt, records: Records) -> Findings:
    """Every recorded distance of an exact twin, as a whole and by layer, is 0, byte for byte.

    A twin is an arm that has all traits of its reference, whatever its kind: equal traits make equal bits.
    """
    sentences, arms = [], rebuilt.config.arms
    for name, arm in arms.items():
        if arm.reference is None or traits_of(arms, name) != traits_of(arms, arm.reference):
            continue
        counts = {stream: _count(rebuilt, records, stream, name) for stream in ("scalars", "layers")}
        if counts["scalars"]:
            many = counts["scalars"]
            sentences.append(f"twin: {name} is at distance 0 from {arm.reference} at all {many} recorded steps")
        elif counts["layers"]:
            many = counts["layers"]
            sentences.append(f"twin: every layer of {name} is at distance 0 from {arm.reference} at all {many} steps")
    return Findings(sentences)


def _count(rebuilt: Rebuilt, records: Records, stream: str, twin: str) -> int:
    """At how many steps the distance is recorded; StoreError where it is not 0."""
    count = 0
    for steps, values in records.committed(stream, twin, "state.distance"):
        for step, value in zip(steps.tolist(), values, strict=True):
            if any(value.tobytes()):
                far, reference = float(abs(value).max()), rebuilt.config.arms[twin].reference
                path = records.path_of(stream, twin, step)
                raise StoreError(path, f"the exact twin {twin} is {far!r} from {reference} at step {step}")
        count += len(steps)
    return count
