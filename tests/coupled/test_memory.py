"""What `tune_memory` tells the C library."""

import subprocess
import sys

# A block above glibc's largest mmap threshold, filled and freed: what stays resident of it, MiB.
KEPT = """
import sys, numpy
if sys.argv[1] == "tuned":
    from coupled.memory import tune_memory
    assert tune_memory()
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096 >> 20
before = resident()
block = numpy.ones(96 << 17)  # 96 MiB
assert resident() - before >= 90
del block
print(resident() - before)
"""


def kept(style):
    ended = subprocess.run([sys.executable, "-c", KEPT, style], capture_output=True, text=True, check=True)
    return int(ended.stdout)


def test_a_freed_block_of_any_size_stays_with_the_process_only_where_that_was_asked_for():
    assert kept("tuned") >= 90 and kept("plain") < 10


def test_it_can_be_told_from_python():
    import coupled

    assert "tune_memory" in coupled.__all__ and callable(coupled.tune_memory)
