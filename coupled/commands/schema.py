"""`coupled-run schema`: the JSON schema of configs, for editors that complete and check TOML."""

import argparse
import json

from coupled.commands.reference import REGISTRIES
from coupled.config.json_schema import json_schema
from coupled.terminal.entry import Parser


def add(command: Parser) -> None:
    """Adds what the command takes: nothing."""


def run(arguments: argparse.Namespace) -> int:
    """Prints the schema; its own errors are no replacement for `plan`, which sees what fields mean together."""
    print(json.dumps(json_schema(REGISTRIES), indent=1))
    return 0
