"""What a rank runs whose messages return at once, as nccl's do: after one meeting its main thread never fails.

    watched.py spins|blocks FOLDER

It writes a file of its rank in FOLDER once it is there.
"""

import os
import sys
import threading
from pathlib import Path

sys.path.append(str(Path(__file__).parents[2]))  # as pytest has it; this file is run as a script
from helpers import tiny

from coupled.ranks.joining import joined


def main(way, folder):
    arms = {name: {"objective": "dcl"} for name in "abc"}
    with joined(tiny(folder, arms=arms), "; next: go on") as mesh:
        mesh.most(0)
        Path(folder, os.environ["RANK"]).touch()
        while way == "spins":
            pass
        threading.Event().wait()


if __name__ == "__main__":
    main(*sys.argv[1:])
