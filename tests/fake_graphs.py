"""CUDA graphs on a CPU: the act that was captured is run again, with whatever its tensors hold by then."""

from coupled import graphs


class Again(graphs.Graphs):
    """Counts what is captured and what is replayed; what is replayed reads nothing that came after the capture but
    tensors.
    """

    def __init__(self):
        super().__init__()
        self.captured, self.replayed = [], []

    def _first(self, act):
        return graphs._clones(act())

    def _captured(self, key, act, outputs):
        self.captured.append(key)

        def replay():
            self.replayed.append(key)
            graphs._copy(outputs, act())

        return replay
