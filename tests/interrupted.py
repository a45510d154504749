"""A tiny run of `T` steps, and reporters that end it on the way."""

import signal

import pytest
from helpers import tiny

from coupled.driver.reporter import Silent
from coupled.driver.train import train
from coupled.errors import Preempted

T = 8  # two epochs of 32 images in batches of 8


def config_of(folder, **sections):
    base = {
        "data": {"per_class": 16},
        "train": {"steps": T},
        "batches": {"size": 8},
        "record": {"panel": {"every": 3}},
        "checkpoints": {"keep": {"steps": [0], "last": True}, "recovery": {"steps": [3, 5]}},
        "optimiser": {"horizon": 20},
        "arms": {"cl": {"objective": "dcl"}, "nscl": {"objective": "nscl"}},
    }
    merged = {
        key: {**base.get(key, {}), **sections.get(key, {})} if key != "arms" else sections.get(key, base[key])
        for key in base.keys() | sections.keys()
    }
    return tiny(folder, **merged)


class Stop(Silent):
    """Asks the run to stop, as a signal does, after `step` updates."""

    def __init__(self, step, number=signal.SIGTERM):
        self.step, self.number, self.notes = step, number, []

    def note(self, text):
        self.notes.append(text)

    def begin(self, run):
        self.stepped(run.start)

    def stepped(self, step):
        if step == self.step:
            signal.raise_signal(self.number)


class Crash(Silent):
    """Ends the run as a kill does: no checkpoint, nothing that waits is written."""

    def __init__(self, step):
        self.step = step

    def begin(self, run):
        self.stepped(run.start)

    def stepped(self, step):
        if step == self.step:
            raise KeyboardInterrupt


def stopped(config, reporter):
    with pytest.raises((Preempted, KeyboardInterrupt)):
        train(config, reporter=reporter)
    return config


def path_of(folder):
    return folder / "tiny"
