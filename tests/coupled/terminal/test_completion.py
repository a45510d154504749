"""A shell asks how a line goes on, as argcomplete's shell function does; without argcomplete nothing changes."""

import os
import subprocess
import sys

import pytest

from coupled.commands.reference import field_names
from coupled.config.schema import Written


def asked(module, line, tmp_path):
    """What the program answers, through the file that stands in for the shell's channel."""
    answer = tmp_path / "answer"
    asking = {"_ARGCOMPLETE": "1", "COMP_LINE": line, "COMP_POINT": str(len(line)), "_ARGCOMPLETE_IFS": "\n"}
    asking |= {"_ARGCOMPLETE_STDOUT_FILENAME": str(answer), "COMP_TYPE": "9", "_ARGCOMPLETE_SUPPRESS_SPACE": "1"}
    command, env = [sys.executable, "-m", module], os.environ | asking
    done = subprocess.run(command, env=env, check=True, capture_output=True, text=True)
    assert not done.stdout
    return [word.strip() for word in answer.read_text().split("\n")]


@pytest.mark.parametrize(
    ("module", "line", "wanted"),
    [
        ("coupled", "coupled-run ver", ["verify"]),
        ("coupled", "coupled-run l", ["list"]),
        ("analysis", "coupled-analyze div", ["divergence"]),
        ("coupled", "coupled-run schema --", ["--help"]),
        ("coupled", "coupled-run plan x.toml --set train.th", ["train.threads="]),
    ],
)
def test_commands_are_completed(module, line, wanted, tmp_path):
    assert asked(module, line, tmp_path) == wanted


def test_every_field_has_its_dotted_name():
    names = field_names()
    assert {"name", "train.threads", "arms.<name>.objective", "record.panel", "paths.data"} <= set(names)
    assert len(names) == len(set(names)) and len({name.partition(".")[0] for name in names}) == len(
        Written.__dataclass_fields__
    )


@pytest.mark.parametrize("file", ["coupled/cli.py", "analysis/cli.py"])
def test_the_marker_stands_where_argcomplete_looks_for_it(file, request):
    assert "PYTHON_ARGCOMPLETE_OK" in (request.config.rootpath / file).read_text("utf-8")[:1024]
