import os
import subprocess
import sys
import threading

import pytest

from coupled.threads import share


@pytest.mark.parametrize("threads", [0, 1, 2, 3, 20])
@pytest.mark.parametrize("count", [0, 1, 7])
def test_every_number_is_taken_once(count, threads):
    parts = []
    share(lambda start, stop: parts.append(range(start, stop)), count, threads)
    assert sorted(i for part in parts for i in part) == list(range(count))
    assert len(parts) == max(1, min(threads, count))


def test_threads_are_kept():
    names = set()
    most = 1 + (os.cpu_count() or 1)
    for _ in range(3 * most):
        share(lambda start, _: names.add(threading.current_thread().name), 2, 2)
    assert 2 <= len(names) <= most


def test_an_error_of_any_thread_is_the_callers():
    def kernel(start, _):
        if start:
            raise ValueError(start)

    with pytest.raises(ValueError, match="1"):
        share(kernel, 2, 2)


def test_a_forked_process_has_threads_of_its_own():
    code = (
        "import os; from coupled.threads import share\n"
        "share(print, 2, 2)\n"
        "pid = os.fork()\n"
        "share(print, 2, 2)\n"
        "if pid: assert os.waitpid(pid, 0)[1] == 0\n"
    )
    run = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60)
    assert len(run.stdout.splitlines()) == 6
