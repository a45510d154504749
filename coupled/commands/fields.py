"""`coupled-run fields`: what a config may say."""

import argparse
from collections.abc import Iterable

from coupled.commands.reference import sections
from coupled.errors import printable, unknown
from coupled.terminal.entry import Parser


def add(command: Parser) -> None:
    """Adds what the command takes."""
    command.add_argument(
        "section",
        nargs="?",
        metavar="SECTION",
        help="a section, such as train, or the start of a field's name",
    )


def run(arguments: argparse.Namespace) -> int:
    """Prints fields with meaning, allowed values and default."""
    text = sections()
    if arguments.section is None:
        _show("\n\n".join(text.values()).splitlines())
        return 0
    section, _, field = arguments.section.partition(".")
    if section == "arms" and field:
        field = field.rpartition(".")[2]  # arms.nscl.temperature is a field of every arm
    if section == "record" and field.startswith("own."):
        field = ".".join(["own", "<name>", *field.split(".")[2:]])  # likewise
    if section not in text:
        raise unknown("section", section, text)
    lines = text[section].splitlines() if not field else _of(text[section], field)
    if not lines:
        raise unknown(f"field of {section}", field, _names(text[section]))
    _show(lines)
    return 0


def _show(lines: Iterable[str]) -> None:
    for line in lines:
        print(printable(line))


def _names(text: str) -> list[str]:
    """The fields of a section by their last names."""
    keys = (line.split()[0] for line in text.splitlines() if line.startswith("  ") and line[2] != " ")
    return [key.rpartition(".")[2] for key in keys]


def _of(text: str, field: str) -> list[str]:
    """The lines of the fields of a section whose names begin so."""
    lines, chosen = [], False
    for line in text.splitlines():
        if line.startswith("  ") and line[2] != " ":
            key = line.split()[0]
            chosen = key.rpartition(".")[2].startswith(field) or key.partition(".")[2].startswith(field)
        elif not line.startswith(" "):
            chosen = False
        if chosen:
            lines.append(line)
    return lines
