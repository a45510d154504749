"""The control that needs no statistics: an exact twin stays at distance 0."""

from coupled.reading.shards import Shards
from coupled.store import StoreError
from coupled.verification.rebuilt import Rebuilt, Words


def check_twins(here: Rebuilt, shards: Shards) -> Words:
    """Every recorded distance of an exact twin to the arm it copies, as a whole and by layer, is 0, byte for byte."""
    said = []
    for name, arm in here.config.arms.items():
        if arm.kind != "twin" or arm.reference != arm.of:
            continue
        counts = {stream: _count(here, shards, stream, name) for stream in ("scalars", "layers")}
        if counts["scalars"]:
            said.append(f"twin: {name} is at distance 0 from {arm.of} at all {counts['scalars']} recorded steps")
        elif counts["layers"]:
            said.append(f"twin: every layer of {name} is at distance 0 from {arm.of} at all {counts['layers']} steps")
    return said, []


def _count(here: Rebuilt, shards: Shards, stream: str, twin: str) -> int:
    """At how many steps the distance is recorded; StoreError where it is not 0."""
    count = 0
    for steps, values in shards.blocks(stream, twin, "state.distance"):
        for step, value in zip(steps.tolist(), values, strict=True):
            if any(value.tobytes()):
                far, of = float(abs(value).max()), here.config.arms[twin].of
                path = shards.path_of(stream, twin, step)
                raise StoreError(path, f"the exact twin {twin} is {far!r} from {of} at step {step}")
        count += len(steps)
    return count
