"""The device check as a script: what a CPU can do of it, parts that end their process, a Python that lacks torch."""

import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent

ENDING = """
import os
from parts import check, part

@part(gpu=False)
def first() -> str:
    return "done"

@part(gpu=False)
def ends_its_process() -> str:
    os.abort()

@part(gpu=False)
def fails() -> str:
    check(False, "not so")

@part()
def asks_for_a_gpu() -> str:
    return ""

@part(gpu=False)
def needs_more() -> str:
    import no_such_library.part

@part(gpu=False)
def needs_what_we_lost() -> str:
    import coupled.no_such_module

@part(gpu=False)
def last() -> str:
    return "done as well"
"""


def script(folder, *parts, python=(sys.executable,), **environment):
    given = {**os.environ, "OUT": str(folder), "PYTHONPATH": str(folder), **environment}
    command = [*python, str(HERE / "device"), *parts]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=given, timeout=300)


def test_a_part_that_ends_its_process_hides_no_other(tmp_path):
    (tmp_path / "ending_parts.py").write_text(ENDING)
    ended = script(tmp_path, "ending")
    assert ended.returncode == 1
    rows = [line.split(maxsplit=3) for line in ended.stdout.splitlines() if line.startswith("ending/")]
    assert [(row[0].partition("/")[2], row[1]) for row in rows] == [
        ("first", "PASS"),
        ("ends_its_process", "FAIL"),
        ("fails", "FAIL"),
        ("asks_for_a_gpu", "LEFT"),
        ("needs_more", "LEFT"),
        ("needs_what_we_lost", "FAIL"),
        ("last", "PASS"),
    ]
    assert "its process ended: -6" in rows[1][3] and "not so" in rows[2][3]
    assert "no_such_library is not installed" in rows[4][3]
    assert ended.stdout.splitlines()[-1] == "2 PASS, 3 FAIL, 2 LEFT OUT"


def test_a_group_that_needs_a_library_which_is_missing_is_left_out_by_its_name(tmp_path):
    (tmp_path / "wanting_parts.py").write_text("import no_such_library\n")
    ended = script(tmp_path, "wanting")
    assert ended.returncode == 0 and "no_such_library is not installed" in ended.stdout
    assert ended.stdout.splitlines()[-1] == "0 PASS, 0 FAIL, 1 LEFT OUT"


def test_parts_of_a_cpu_pass(tmp_path):
    ended = script(tmp_path, "kernels/versions", "kernels/objectives_are_those_of_float64", "ranks/every_message")
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.splitlines()[-1].startswith("2 PASS, 0 FAIL")


def test_a_python_that_lacks_torch_gets_a_line(tmp_path):
    ended = script(tmp_path, python=(sys.executable, "-S", "-E"))
    assert ended.returncode == 2 and len(ended.stderr.splitlines()) == 1
    assert "has no torch" in ended.stderr and "installs nothing" in ended.stderr and not ended.stdout
