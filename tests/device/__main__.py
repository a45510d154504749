"""`make test-gpu`: what only a GPU can show, in one script; without one, the parts that a CPU can do.

Run by the machine's own Python: `python3 tests/device [GROUP | GROUP/PART …]`. It installs nothing and needs torch;
where torchvision, numpy, safetensors, rich or numba is missing, the parts that need it are left out. Each group of
parts is a process of its own and each part is guarded, so that one failure hides no other. PASS, FAIL or LEFT OUT is
one line a part; a table of all parts and the tables of measurements come last.
"""

import importlib.util
import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent), str(HERE.parent.parent)]

import parts  # noqa: E402

GROUPS = ("kernels", "training", "ranks", "speed")
SECONDS = {"speed": 320}  # that a group may take on a GPU; 180 where nothing is said
PATIENCE = 1 if Path("/dev/nvidia0").exists() else 5  # nobody lends a CPU by the minute


def main(argv: list[str]) -> int:
    """Runs the groups asked for, all by default; 1 if a part failed, 2 where this Python has no torch."""
    if argv[:1] == ["--group"]:
        parts.run_group(argv[1], Path(argv[2]), argv[3:])
        return 0
    if importlib.util.find_spec("torch") is None:
        print(
            f"{sys.executable} has no torch; the device check needs torch 2.11 or later (and torchvision, numpy, "
            "safetensors, rich, numba) and installs nothing: install them there, or name a Python that has them (make "
            "test-gpu PYTHON=.venv/bin/python, after make install)",
            file=sys.stderr,
        )
        return 2
    only = [name for name in argv if "/" in name]
    asked = list(dict.fromkeys(name.partition("/")[0] for name in argv or GROUPS))
    together = [group for group in asked if group != "speed"]
    with ThreadPoolExecutor() as pool:
        results = [row for rows in pool.map(lambda group: _run(group, only), together) for row in rows]
    for group in [group for group in asked if group not in together]:  # alone on the device
        results += _run(group, only)
    print(f"\n{'part':44} {'result':9} {'s':>6}")
    for row in results:
        print(f"{row['group'] + '/' + row['part']:44} {row['result']:9} {row['seconds']:6.1f}  {row['note']}")
    for row in results:
        if row["table"]:
            print("\n" + row["table"])
    counts = {result: sum(row["result"] == result for row in results) for result in ("PASS", "FAIL", "LEFT OUT")}
    print("\n" + ", ".join(f"{count} {result}" for result, count in counts.items()))
    return 1 if counts["FAIL"] else 0


def _run(group: str, only: list[str]) -> list[dict]:
    """The results of one group. A part that ends its process is a failure, and those after it run in another one."""
    own = [name.partition("/")[2] for name in only if name.startswith(f"{group}/")]
    rows: list[dict] = []
    end = time.monotonic() + PATIENCE * SECONDS.get(group, 180)
    while True:
        started = time.monotonic()
        code, lines = _process(group, own, end - started)
        rows += lines[1:]
        if code == "0":
            return rows
        after = [name for name in (lines[0]["coming"] if lines else []) if name not in {row["part"] for row in rows}]
        ended, *hidden = after or ["(the process)"]
        rows.append(parts.row(group, ended, "FAIL", time.monotonic() - started, f"its process ended: {code}"))
        if not hidden or time.monotonic() >= end:
            return rows + [parts.row(group, name, "FAIL", 0, "no time was left for it") for name in hidden]
        own = hidden


def _process(group: str, own: list[str], seconds: float) -> tuple[str, list[dict]]:
    """Runs parts of a group, all if none are named: the exit code or why there is none, and the lines they wrote."""
    file = Path(os.environ.get("OUT") or "/tmp") / f"device-{group}.jsonl"
    file.unlink(missing_ok=True)
    environment = {**os.environ, "CUBLAS_WORKSPACE_CONFIG": ":4096:8", "OMP_WAIT_POLICY": "PASSIVE"}
    environment["CUDA_DEVICE_MAX_CONNECTIONS"] = "32"  # or streams of more than eight arms share queues
    command = [sys.executable, str(HERE), "--group", group, str(file), *own]
    try:
        code = str(subprocess.run(command, env=environment, timeout=seconds, check=False).returncode)
    except subprocess.TimeoutExpired:
        code = "out of time"
    return code, [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
