"""Streams that stop no work, and what of a text every encoding can show."""

import errno
import io
import os
import subprocess
import sys

import pytest

from coupled.errors import RunStopped, UserError
from coupled.terminal.entry import guarded
from coupled.terminal.streams import Output, spelled

SURROGATE = os.fsdecode(b"\xff")


@pytest.mark.parametrize(
    ("text", "encoding", "shown"),
    [
        ("‖Δ‖/‖w‖ ≤ 1e-3…", "ascii", "||Delta||/||w|| <= 1e-3..."),
        ("3 × 2 ÷ 1 ± .5", "latin-1", "3 x 2 / 1 +/- .5"),  # as a config that `plan` prints, it must be ASCII or UTF-8
        ("R² of τ, Σ = z zᵀ, −√2", "cp1252", "R^2 of tau, Sigma = z z^T, -sqrt 2"),
        ("Σ", "utf-8", "Σ"),
        ("Σ", "UTF-16", "Σ"),
        ("café", "latin-1", "café"),
        ("café 中", "latin-1", "café \\u4e2d"),
        ("実", "shift_jis", "実"),
        ("nobody's 😀", "ascii", "nobody's \\U0001f600"),
        (SURROGATE, "utf-8", "\\udcff"),
        (SURROGATE, "latin-1", "\\udcff"),
        ("Σ", None, "Σ"),
    ],
)
def test_what_an_encoding_lacks_is_spelled_or_escaped(text, encoding, shown):
    assert spelled(text, encoding) == shown


class Broken(io.StringIO):
    """Takes `room` writes, then fails."""

    def __init__(self, room, number):
        super().__init__()
        self.room, self.number = room, number

    def write(self, text):
        if not self.room:
            raise OSError(self.number, os.strerror(self.number))
        self.room -= 1
        return super().write(text)


def test_after_the_first_failure_nothing_is_shown_and_nothing_is_raised():
    stream = Broken(1, errno.EIO)
    output = Output(stream)
    assert [output.write(text) for text in ("one", "two", "three")] == [3, 3, 5]
    output.flush()
    output.end()
    assert stream.getvalue() == "one" and output.failure is not None and output.failure.errno == errno.EIO


def test_an_output_is_its_stream_in_all_else():
    stream = io.TextIOWrapper(io.BytesIO(), encoding="latin-1")
    output = Output(stream)
    assert (output.encoding, output.isatty(), output.buffer) == ("latin-1", False, stream.buffer)


def fail(error):
    print("said before")
    raise error


@pytest.mark.parametrize(
    ("number", "body", "code", "err"),
    [
        (errno.EPIPE, lambda: print("x") or 0, 141, ""),
        (errno.EPIPE, lambda: print("x") or 1, 141, ""),
        (errno.EPIPE, lambda: 0, 0, ""),  # nothing to show, so nothing was lost
        (errno.EPIPE, lambda: fail(UserError("a", "b")), 2, "p: a; b\n"),
        (errno.EPIPE, lambda: fail(RunStopped("stopped")), 3, "p: stopped\n"),
        (errno.EPIPE, lambda: fail(BrokenPipeError(errno.EPIPE, "of a worker")), 3, "p: [Errno 32] of a worker\n"),
        (errno.EPIPE, lambda: fail(SystemExit(0)), 141, ""),
        (errno.ENOSPC, lambda: print("x") or 1, 3, "p: the output could not be written: No space left on device\n"),
        (errno.EIO, lambda: print("x") or 0, 3, "p: the output could not be written: Input/output error\n"),
        (
            errno.EIO,
            lambda: "data/é".encode("ascii"),
            2,
            "p: 'data/é' has characters that the locale's encoding, ascii, lacks; paths need one that has them, "
            "such as LC_ALL=C.UTF-8\n",
        ),
        (errno.EIO, lambda: fail(UserError("two\nlines", "\x1b[31m")), 2, "p: two\\nlines; \\x1b[31m\n"),
    ],
)
def test_the_exit_code_of_a_command_whose_output_fails(number, body, code, err, monkeypatch, capsys):
    monkeypatch.setattr(sys, "stdout", Broken(0, number))
    assert guarded("p", body) == code
    assert capsys.readouterr().err == err


def test_streams_are_put_back():
    before = sys.stdout, sys.stderr
    with pytest.raises(SystemExit):
        guarded("p", lambda: fail(SystemExit(5)))
    assert (sys.stdout, sys.stderr) == before


CLOSED = """
import os, subprocess, sys
from coupled.terminal.entry import guarded

def body():
    with open(sys.argv[1], "w") as file:
        os.write(1, b"a library's")
        os.write(2, b"a library's")
        print("ours")
        print("ours", file=sys.stderr)
        file.write("whole")
        return subprocess.run(["sh", "-c", "echo x && echo x >&2 && ! read line"]).returncode

os._exit(guarded("p", body))
"""


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_what_goes_to_a_closed_descriptor_lands_in_no_file(closed, tmp_path):
    call = f'"{sys.executable}" -c "$CODE" "{tmp_path}/file" {closed}'
    environment = {**os.environ, "CODE": CLOSED}
    done = subprocess.run(
        ["bash", "-c", call], env=environment, stdin=subprocess.DEVNULL, capture_output=True, check=False
    )
    assert done.returncode == 0 and b"Error" not in done.stderr
    assert (tmp_path / "file").read_text() == "whole"
