"""What panels cost: forwards in evaluation mode beside the steps they look at. From a config alone."""

from dataclasses import dataclass
from typing import Final

from coupled.arms.network import forward_on_shapes
from coupled.config import Config
from coupled.config.own_streams import stream_name
from coupled.planning.ranks import rate_of, seconds
from coupled.recording.schedule import due

_FORWARD: Final = 2  # floating-point operations of a multiply-add
# Above this share of a run's computing, panels are worth thinning out.
MUCH: Final = 0.1


@dataclass(frozen=True)
class PanelCost:
    """Observations of the two panels over a run, and about how long the longest takes, in seconds; `share`: of all
    computing of the run, panels included.
    """

    observations: int
    seconds: float
    share: float


def panel_cost(config: Config) -> PanelCost:
    """Estimated from multiply-adds at a fixed rate, one process for all arms; the share does not depend on the rate."""
    images = {"panel": config.panel.size, "surrogate": 2 * config.panel.surrogate_size}
    steps = {stream: set(due(config, stream, "state")) for stream in images}
    # A stream of one's own takes a forward of the panel where nothing else does.
    for name, own in config.record.own.items():
        steps["panel"] |= set(due(config, stream_name(name), "state")) if own.of == "panel" else set()
    counts = {stream: len(of) for stream, of in steps.items()}
    an_image = _FORWARD * forward_on_shapes(config).multiply_adds * len(config.arms) / rate_of(config)
    panels = sum(counts[stream] * images[stream] for stream in images) * an_image
    at_once = sum(images[stream] for stream in images if counts[stream])
    whole = panels + seconds(config, len(config.arms))
    return PanelCost(max(counts.values()), at_once * an_image, panels / whole if whole else 0.0)
