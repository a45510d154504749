"""The commands of `coupled-run`, one file each: `add` says what it takes, `run` does it and returns the exit code."""

import sys
from collections.abc import Sequence
from typing import Final

from coupled.terminal.entry import Parser, program_parser

COMMANDS: Final = {
    "train": "train every arm of a config and record every step",
    "resume": "go on with an unfinished run, byte for byte as if it had never stopped",
    "sweep": "train every point of a sweep, several at a time; again: what is unfinished",
    "list": "the runs in a folder: how far each is, and how it differs from its config file",
    "watch": "a run's curves on a local page, drawn again while it grows",
    "plan": "what a run would be and take: directory, arms, steps, data, device, memory, disk, time",
    "fields": "what a config may say: every field with its meaning, allowed values and default",
    "schema": "the JSON schema of configs, for editors that complete and check TOML",
    "bench": "time the acts of a step, and the step against the same networks in stock PyTorch",
    "verify": "check every byte of a run and the chain of its inputs, draw a sample again, say what is proven",
    "diff": "where two runs part, by how much, and how their configs differ (exit code 0: equal, 1: different)",
    "export": "write one arm of a checkpoint as a plain state dict (safetensors)",
}


def run(argv: list[str] | None = None) -> int:
    """Run one command; returns its exit code. Raises UserError and RunStopped."""
    arguments = parser().parse_args(argv)
    arguments.argv = without_ranks(sys.argv[1:] if argv is None else argv)
    return arguments.run(arguments)


def parser() -> Parser:
    """The parser of all commands."""
    about = "Train contrastive objectives in lockstep from one seed, one batch stream and identical views."
    return program_parser("coupled-run", about, __name__, COMMANDS)


def without_ranks(argv: Sequence[str]) -> list[str]:
    """The command that every rank is started with."""
    kept = [word for word in argv if not word.startswith("--ranks=")]
    while "--ranks" in kept:
        at = kept.index("--ranks")
        del kept[at : at + 2]
    return kept
