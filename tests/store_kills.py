"""SIGKILL of a process that writes runs, at random times: `python store_kills.py FOLDER COUNT`. Loads no torch."""

import os
import random
import signal
import sys
import time
from pathlib import Path

from pretended import LENGTHS, work

from coupled.store import REAL, read_manifest, tree_hash, verify_object


def main(folder, count):
    folder.mkdir()
    began = time.monotonic()
    work(folder / "golden", REAL, LENGTHS[1])
    took, expected = time.monotonic() - began, tree_hash(folder / "golden")
    rng, killed, runs = random.Random(0), 0, 0
    while killed < count:
        root, runs = folder / str(runs), runs + 1
        code = -1
        while code:
            pid = os.fork()
            if pid == 0:
                try:
                    work(root, REAL, LENGTHS[1])
                    os._exit(0)
                finally:
                    os._exit(1)
            if killed < count:
                time.sleep(rng.uniform(0, 1.2) * took)
                os.kill(pid, signal.SIGKILL)
            code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            assert code in (0, -signal.SIGKILL), code
            killed += code != 0
            if (root / "run.json").exists():
                for entry in read_manifest(root / "manifest.jsonl").entries:
                    if entry.kind in ("begin", "shard"):
                        verify_object(root, entry.committed())
        assert tree_hash(root) == expected, root
    print("killed", killed)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
