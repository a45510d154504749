"""`coupled-run watch`: hands over to `coupled-analyze watch`, which has the curves.

Nothing here knows the analysis: this process becomes the other program, so that Ctrl-C and exit codes are its own.
"""

import argparse
import os
import sys
from pathlib import Path

from coupled.sweeps.processes import command_of, environment
from coupled.terminal.entry import Parser


def add(command: Parser) -> None:
    """Adds what the command takes: what `coupled-analyze watch` does."""
    # Not by options.py, which loads torch: the other program loads it once more.
    command.add_argument("run_directory", type=Path, metavar="RUN", help="run directory, such as runs/quickstart")
    command.add_argument("--port", type=int, metavar="N", help="of the page (default: one that is free)")
    command.add_argument("--open", action="store_true", help="open the page in the browser")
    command.add_argument("--stop", action="store_true", help="end when the run is finished (default: stay)")


def run(arguments: argparse.Namespace) -> int:
    """Becomes `coupled-analyze watch`."""
    words = command_of("analysis", *arguments.argv)
    sys.stdout.flush()
    sys.stderr.flush()
    os.execve(words[0], words, environment())
