"""`coupled-run export`: one arm of a checkpoint as a plain state dict."""

import argparse
from pathlib import Path

from coupled.commands.options import add_run
from coupled.errors import printable
from coupled.reading.export import export
from coupled.terminal.entry import Parser


def add(command: Parser) -> None:
    """Adds what the command takes."""
    add_run(command)
    command.add_argument("--arm", required=True, help="name of the arm")
    command.add_argument("--step", type=int, help="a kept checkpoint's step (default: the last)")
    command.add_argument(
        "--output", type=Path, metavar="FILE", help="default: export/<arm>-step-<t>.safetensors in the run"
    )


def run(arguments: argparse.Namespace) -> int:
    """Writes the state dict."""
    path = export(arguments.run_directory, arguments.arm, step=arguments.step, output=arguments.output)
    print(printable(f"done: the state dict is in {path}; read it with safetensors.torch.load_file"))
    return 0
