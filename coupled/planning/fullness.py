"""Whether what a run takes leaves a device the room that equal bits need."""

from typing import Final

from coupled.planning.plan import Plan
from coupled.terminal.sizes import shown_bytes

# Above this share of a device's memory cuDNN's workspaces, recording and views may not fit beside what is counted.
FULL: Final = 0.85


def fullness(forecast: Plan, device: int) -> str:
    """A line where the rank that takes most takes more than `FULL` of a device of so many bytes, else ""."""
    most = max(map(forecast.memory_of, range(forecast.placement.world)))
    if most <= FULL * device:
        return ""
    less = "set train.side_by_side = false, use" if forecast.graphs.beside else "use"
    return (
        f"memory: {shown_bytes(most)} are {most / device:.0%} of the GPU's {shown_bytes(device)}: above {FULL:.0%} "
        f"cuDNN may choose another algorithm where its workspace does not fit, and bits differ; {less} more ranks, or "
        "lower batches.size"
    )
