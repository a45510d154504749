"""The controls that need no statistics: an exact twin stays at distance 0, an arm that is nudged late until then."""

from coupled.config import Arm
from coupled.config.resolved import Nudged
from coupled.reading.records import Records
from coupled.store import StoreError
from coupled.verification.rebuilt import Findings, Rebuilt


def check_twins(rebuilt: Rebuilt, records: Records) -> Findings:
    """Every recorded distance of an exact twin to the arm it copies, as a whole and by layer, is 0, byte for byte; of
    an arm that is nudged late, every one before that.
    """
    sentences = []
    for name, arm in rebuilt.config.arms.items():
        before = _moves_at(arm)
        if before == 0 or arm.reference != arm.of:
            continue
        label = "twin" if before is None else "nudged late"
        when = "recorded steps" if before is None else f"recorded steps before {before}, where it is nudged"
        counts = {stream: _count(rebuilt, records, stream, name, before) for stream in ("scalars", "layers")}
        if counts["scalars"]:
            sentences.append(f"{label}: {name} is at distance 0 from {arm.of} at all {counts['scalars']} {when}")
        elif counts["layers"]:
            when = when.removeprefix("recorded ")
            sentences.append(
                f"{label}: every layer of {name} is at distance 0 from {arm.of} at all {counts['layers']} {when}"
            )
    return Findings(sentences)


def _moves_at(arm: Arm) -> int | None:
    """The first step at which an arm may differ from the arm that it copies; None: at no step."""
    if arm.kind == "twin":
        return None
    return arm.at if isinstance(arm, Nudged) else 0


def _count(rebuilt: Rebuilt, records: Records, stream: str, twin: str, before: int | None) -> int:
    """At how many steps the distance is recorded; StoreError where it is not 0."""
    count = 0
    for steps, values in records.committed(stream, twin, "state.distance"):
        for step, value in zip(steps.tolist(), values, strict=True):
            if before is not None and step >= before:
                return count
            if any(value.tobytes()):
                far, of = float(abs(value).max()), rebuilt.config.arms[twin].of
                path, what = records.path_of(stream, twin, step), "exact twin" if before is None else "copy"
                raise StoreError(path, f"the {what} {twin} is {far!r} from {of} at step {step}")
            count += 1
    return count
