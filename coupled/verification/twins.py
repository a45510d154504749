"""The controls that need no statistics: an exact twin stays at distance 0, an arm that is nudged late until then."""

from dataclasses import replace

from coupled.config import Config
from coupled.config.traits import Traits, traits_of
from coupled.reading.records import Records
from coupled.store import StoreError
from coupled.verification.rebuilt import Findings, Rebuilt


def check_twins(rebuilt: Rebuilt, records: Records) -> Findings:
    """Every recorded distance of an exact twin, as a whole and by layer, is 0, byte for byte; of an arm that differs
    from its reference in late nudges alone, every one before the first.

    A twin is an arm that has all traits of its reference, whatever its kind: equal traits make equal bits.
    """
    sentences = []
    for name, arm in rebuilt.config.arms.items():
        before = _apart_at(rebuilt.config, name)
        if before == 0:
            continue
        label = "twin" if before is None else "nudged late"
        when = "recorded steps" if before is None else f"recorded steps before {before}, where it is nudged"
        counts = {stream: _count(rebuilt, records, stream, name, before) for stream in ("scalars", "layers")}
        if counts["scalars"]:
            sentences.append(f"{label}: {name} is at distance 0 from {arm.reference} at all {counts['scalars']} {when}")
        elif counts["layers"]:
            many, when = counts["layers"], when.removeprefix("recorded ")
            sentences.append(
                f"{label}: every layer of {name} is at distance 0 from {arm.reference} at all {many} {when}"
            )
    return Findings(sentences)


def _apart_at(config: Config, name: str) -> int | None:
    """From which step on an arm may be away from its reference: None for never, 0 for the start."""
    reference = config.arms[name].reference
    if reference is None:
        return 0
    own, other = traits_of(config.arms, name), traits_of(config.arms, reference)
    if own == other:
        return None
    if _unmoved(own) != _unmoved(other):
        return 0
    common = sum(1 for a, b in zip(own.nudges, other.nudges, strict=False) if a == b)
    return min(nudge.at for nudge in (*own.nudges[common:], *other.nudges[common:]))


def _unmoved(traits: Traits) -> Traits:
    return replace(traits, nudges=())


def _count(rebuilt: Rebuilt, records: Records, stream: str, arm: str, before: int | None) -> int:
    """How many recorded distances there are, before a step. Raises StoreError for one that is not 0."""
    count = 0
    for steps, values in records.committed(stream, arm, "state.distance"):
        for step, value in zip(steps.tolist(), values, strict=True):
            if before is not None and step >= before:
                return count
            if any(value.tobytes()):
                far, reference = float(abs(value).max()), rebuilt.config.arms[arm].reference
                path, what = records.path_of(stream, arm, step), "exact twin" if before is None else "copy"
                raise StoreError(path, f"the {what} {arm} is {far!r} from {reference} at step {step}")
            count += 1
    return count
