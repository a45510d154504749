"""The control that needs no statistics: an exact twin stays at distance 0."""

from coupled.reading.records import Records
from coupled.store import StoreError
from coupled.verification.rebuilt import Findings, Rebuilt


def check_twins(rebuilt: Rebuilt, records: Records) -> Findings:
    """Every recorded distance of an exact twin to the arm it copies, as a whole and by layer, is 0, byte for byte."""
    sentences = []
    for name, arm in rebuilt.config.arms.items():
        if arm.kind != "twin" or arm.reference != arm.of:
            continue
        counts = {stream: _count(rebuilt, records, stream, name) for stream in ("scalars", "layers")}
        if counts["scalars"]:
            sentences.append(f"twin: {name} is at distance 0 from {arm.of} at all {counts['scalars']} recorded steps")
        elif counts["layers"]:
            sentences.append(
                f"twin: every layer of {name} is at distance 0 from {arm.of} at all {counts['layers']} steps"
            )
    return Findings(sentences)


def _count(rebuilt: Rebuilt, records: Records, stream: str, twin: str) -> int:
    """At how many steps the distance is recorded; StoreError where it is not 0."""
    count = 0
    for steps, values in records.committed(stream, twin, "state.distance"):
        for step, value in zip(steps.tolist(), values, strict=True):
            if any(value.tobytes()):
                far, of = float(abs(value).max()), rebuilt.config.arms[twin].of
                path = records.path_of(stream, twin, step)
                raise StoreError(path, f"the exact twin {twin} is {far!r} from {of} at step {step}")
        count += len(steps)
    return count
