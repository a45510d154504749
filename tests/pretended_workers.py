"""Workers that only pretend: what they say of a point stands in a table."""

import signal
from multiprocessing import Pipe
from types import SimpleNamespace

from coupled.sweeps import crew
from coupled.sweeps.messages import Message

KILLED = "killed"


class Pretended(crew.Worker):
    """A worker that ends every point as `outcomes` says (default: finished), if it is one of `open`."""

    def __init__(self, number, descriptor, words):
        self.connection, self.other = Pipe()
        self.process = SimpleNamespace(
            poll=lambda: self.code, wait=lambda timeout=None: self.code, kill=lambda: None, send_signal=self._signal
        )
        self.point, self.code, self.number = None, None, number
        self.played.started.append(number)
        self.played.words.append([*words])

    def train(self, point, config):
        self.point = point
        self.played.trained.append((self.number, point.name))
        self.played.at_once = max(self.played.at_once, len(self.played.trained) - self.played.ended)
        if point.name in self.played.held:
            return
        self._end(self.played.outcomes.get(point.name, Message("finished", step=point.total)))

    def _end(self, outcome):
        self.played.ended += 1
        if outcome == KILLED:
            self.code = -signal.SIGKILL
            self.other.close()
        else:
            self.other.send(outcome)

    def _signal(self, number):
        self.played.signals.append(number)
        self._end(Message("stopped"))


def pretend(monkeypatch):
    """From here on workers pretend. What they do, and what was asked of them."""
    monkeypatch.setattr(crew, "Worker", Pretended)
    monkeypatch.setattr(crew, "_LOOK_S", 0.01)
    Pretended.played = SimpleNamespace(
        outcomes={}, held=(), started=[], words=[], trained=[], signals=[], at_once=0, ended=0
    )
    return Pretended.played
