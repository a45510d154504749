"""What mirrors cost a step: the live file and TensorBoard, against neither.

    OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE python tests/benchmarks/bench_mirrors.py FOLDER [CONFIG]

Between two looks a step pays for one question about the clock; a look is paid every `log.seconds` at most. Both are
timed in this process, where they are made: the first as such, the second with as many points as the live file keeps.
A step is that of the config (default: configs/quickstart.toml). Printed is what both add to a step, as a ratio.
"""

import sys
import time
from pathlib import Path

from coupled.config import load
from coupled.driver.assembly import assemble
from coupled.driver.loop import advance

STEPS, LOOKS, ASKED = 12, 300, 100_000


def main() -> None:
    folder, config = sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else "configs/quickstart.toml"
    settings = {"paths.runs": folder, "name": "mirrored", "log.trackers": ["tensorboard"]}
    run = assemble(load(config, settings), overwrite=True)
    assert run is not None
    with run:
        run.begin()
        run.log({"event": "start"})
        run.mirrors.begin(0, print, run.log)
        for step in range(2):
            advance(run, step)
        began = time.perf_counter()
        for step in range(2, 2 + STEPS):
            advance(run, step)
        of_step = (time.perf_counter() - began) / STEPS
        run.mirrors.look(2 + STEPS)
        began = time.perf_counter()
        for _ in range(ASKED):
            run.mirrors.is_due(1)
        of_question = (time.perf_counter() - began) / ASKED
        cpu = time.process_time()
        began = time.perf_counter()
        for _ in range(LOOKS):
            run.mirrors._looked = -1  # as if the step were a new one
            run.mirrors.look(2 + STEPS)
        run.writer.drain()
        of_look, all_threads = (time.perf_counter() - began) / LOOKS, (time.process_time() - cpu) / LOOKS
    seconds = run.config.log.seconds
    print(f"a step {1e3 * of_step:.2f} ms; asked at each {1e6 * of_question:.2f} us; a look {1e3 * of_look:.2f} ms")
    print(f"a look with its threads: {1e3 * all_threads:.2f} ms of CPU, every {seconds:g} s at most")
    print(f"step x {1 + of_question / of_step + max(of_look, all_threads) / seconds:.5f} ({Path(config).name})")


if __name__ == "__main__":
    main()
