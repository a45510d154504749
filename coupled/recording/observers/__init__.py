"""Observers: each looks at every scheduled step for one stream. A new one is a file here and a line in this table.

Streams of a user's own have one each, which runs the function that was registered.
"""

from typing import Final

from coupled.recording.observation import Observer, Setting
from coupled.recording.observers.flips import Flips
from coupled.recording.observers.layers import Layers
from coupled.recording.observers.ledger import Split
from coupled.recording.observers.motion import Motion
from coupled.recording.observers.own import Own
from coupled.recording.observers.panels import Panel, Surrogate
from coupled.recording.observers.pixels import Pixels
from coupled.recording.observers.scalars import Scalars
from coupled.recording.observers.similarity import Similarity

OBSERVERS: Final[list[type[Observer]]] = [
    Scalars,
    Layers,
    Motion,
    Similarity,
    Panel,
    Surrogate,
    Flips,
    Pixels,
    Split,
]


def observers_of(setting: Setting) -> list[Observer]:
    """One observer for every stream, those of a user's own last."""
    return [*(observer(setting) for observer in OBSERVERS), *(Own(setting, name) for name in setting.config.record.own)]
