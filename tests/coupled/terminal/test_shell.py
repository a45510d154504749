import os
import subprocess
import sys
from pathlib import Path

import pytest

from coupled.terminal.shell import shell

WORDS = {
    "runs/quickstart-1a2b3c4d": "runs/quickstart-1a2b3c4d",
    "/a_b/C.d+e@f%g,h:i=j": "/a_b/C.d+e@f%g,h:i=j",
    "run (copy)": "'run (copy)'",
    ".hidden": ".hidden",
    "-x": "./-x",
    "--from": "./--from",
    "-a b": "'./-a b'",
    "it's": """'it'"'"'s'""",
    "it's\n": r"$'it\047s\012'",
    "$HOME;`id`*": "'$HOME;`id`*'",
    "~": "'~'",
    'quo"te\\': "'quo\"te\\'",
    "café": "'café'",
    "cafe\u0301": "'cafe\u0301'",
    "実験": "'実験'",
    "tab\tend": r"$'tab\011end'",
    "\x1b[31m\\": r"$'\033[31m\134'",
    "rtl\u202etxt": r"$'rtl\342\200\256txt'",
    "1\n2": r"$'1\0122'",
    os.fsdecode(b"caf\xe9"): r"$'caf\351'",
}


@pytest.mark.parametrize("path", WORDS)
def test_a_path_as_a_word_of_a_command(path):
    assert shell(path) == shell(Path(path)) == WORDS[path]


def test_a_shell_reads_every_word_as_that_very_path():
    call = "printf '%s\\0' " + " ".join(map(shell, WORDS))
    done = subprocess.run(["bash", "-c", call], capture_output=True, check=True)
    read = [os.fsdecode(word) for word in done.stdout.split(b"\0")[:-1]]
    assert list(map(os.path.normpath, read)) == list(map(os.path.normpath, WORDS))


@pytest.mark.parametrize(("path", "word"), [("café", "'café'"), ("Σ", r"$'\316\243'"), ("a b", "'a b'")])
def test_what_stdout_cannot_show_is_written_in_bytes(path, word, monkeypatch):
    with open(os.devnull, "w", encoding="latin-1") as stdout:  # noqa: PTH123
        monkeypatch.setattr(sys, "stdout", stdout)
        assert shell(path) == word
        assert shell(path, "utf-8") == f"'{path}'"
