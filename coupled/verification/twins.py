"""The control that needs no statistics: an exact twin stays at distance 0."""

from coupled.shards import Shards
from coupled.store import StoreError
from coupled.verification.redrawn import Here, Words


def check_twins(here: Here, shards: Shards) -> Words:
    """Every recorded distance of an exact twin to the arm it copies is 0, byte for byte."""
    said = []
    for name, arm in here.config.arms.items():
        if arm.kind != "twin" or arm.anchor != arm.of:
            continue
        count = 0
        for steps, values in shards.blocks("scalars", name, "state.distance"):
            for step, value in zip(steps.tolist(), values, strict=True):
                if any(value.tobytes()):
                    raise StoreError(
                        here.path, f"the exact twin {name} is {float(value)!r} from {arm.of} at step {step}"
                    )
            count += len(steps)
        if count:
            said.append(f"twin: {name} is at distance 0 from {arm.of} at all {count} recorded steps")
    return said, []
