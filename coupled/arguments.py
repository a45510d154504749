"""The arguments of `coupled-run`: its commands, their options, and the reference of config fields."""

import argparse
import dataclasses
import shutil
import textwrap
from pathlib import Path
from typing import Any, Final, get_type_hints

from coupled.config.fields import Schedule, allowed
from coupled.config.schema import Arm, Config
from coupled.data import known as known_data_sets
from coupled.models import ENCODERS
from coupled.objectives import OBJECTIVES
from coupled.terminal import Parser
from coupled.userfiles import expanded
from coupled.views import RECIPES


def parser() -> argparse.ArgumentParser:
    made = Parser(
        prog="coupled-run",
        description="Train contrastive objectives in lockstep from one seed, one batch stream and identical views.",
    )
    commands = made.add_subparsers(title="commands", required=True, metavar="COMMAND", parser_class=Parser)
    fields = f"config fields (a TOML file holds them; --set overrides them):\n\n{field_reference()}"
    for name, what in (
        ("train", "train every arm of a config and record every step"),
        ("plan", "show what a config would do: resolved config (as TOML), run directory, memory, bytes"),
        ("bench", "time the acts of a step, and the step against bare compute of the same arms"),
    ):
        command = commands.add_parser(name, help=what, description=what, notes=(fields,))
        command.add_argument("config", type=Path, metavar="CONFIG", help="TOML file, such as configs/quickstart.toml")
        command.add_argument(
            "--set",
            action="append",
            default=[],
            metavar="section.field=value",
            help="override a field (a TOML value; a bare word is a string); may be given again",
        )
        command.set_defaults(command=name)
        _add_ranks(command)
        if name == "train":
            command.add_argument("--overwrite", action="store_true", help="replace the run that is there")
            _add_terms(command)
        if name == "bench":
            command.add_argument("--steps", type=int, default=40, help="steps to time (default: 40)")
    _add_resume(commands)
    _add_verify(commands)
    _add_diff(commands)
    _add_export(commands)
    return made


def _add_terms(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--allow-drift", action="store_true", help="go on under other libraries, machine or data; the run records it"
    )
    command.add_argument(
        "--steal", action="store_true", help="take the run's lock from whoever has it (file systems without locks)"
    )


def _add_ranks(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--ranks",
        type=int,
        metavar="N",
        help="processes that share the work (default: one for each arm, as far as cores or GPUs go; docs/ranks.md)",
    )


def _add_resume(commands: Any) -> None:
    what = "go on with an unfinished run, byte for byte as if it had never stopped"
    command = commands.add_parser("resume", help=what, description=what)
    command.add_argument("run_directory", type=Path, metavar="RUN", help="run directory, such as runs/quickstart")
    command.add_argument(
        "--extend", type=int, metavar="STEPS", help="make it a run of this length, where its schedule goes that far"
    )
    command.add_argument(
        "--from", type=int, dest="from_step", metavar="STEP", help="from the newest state at or before this step"
    )
    command.add_argument(
        "--set", action="append", default=[], metavar="section.field=value", help="elastic fields only (paths.data, …)"
    )
    _add_ranks(command)
    _add_terms(command)
    command.set_defaults(command="resume")


def _add_verify(commands: Any) -> None:
    what = "check every byte of a run and the chain of its inputs, draw a sample again, say what is proven"
    command = commands.add_parser("verify", help=what, description=what)
    command.add_argument("run_directory", type=Path, metavar="RUN", help="run directory, such as runs/quickstart")
    command.add_argument("--sample", type=int, default=8, metavar="N", help="steps to draw again (default: 8)")
    command.add_argument("--replay", type=int, default=0, metavar="K", help="stretches to train again (default: 0)")
    command.add_argument(
        "--stretch", type=int, default=10, metavar="STEPS", help="the longest of those stretches (default: 10)"
    )
    command.add_argument(
        "--data", type=expanded, default="", metavar="FOLDER", help="where the data set lies (default: as at training)"
    )
    command.add_argument(
        "--code",
        type=expanded,
        action="append",
        default=[],
        metavar="FILE",
        help="a file of the run's code.files, in their order",
    )
    command.set_defaults(command="verify")


def _add_diff(commands: Any) -> None:
    what = "where two runs part, by how much, and how their configs differ (exit code 0: equal, 1: different)"
    command = commands.add_parser("diff", help=what, description=what)
    command.add_argument("a", type=Path, metavar="A", help="run directory")
    command.add_argument("b", type=Path, metavar="B", help="another one")
    command.set_defaults(command="diff")


def _add_export(commands: Any) -> None:
    what = "write one arm of a checkpoint as a plain state dict (safetensors)"
    command = commands.add_parser("export", help=what, description=what)
    command.add_argument("run_directory", type=Path, metavar="RUN", help="run directory, such as runs/quickstart")
    command.add_argument("--arm", required=True, help="name of the arm")
    command.add_argument("--step", type=int, help="a kept checkpoint's step (default: the last)")
    command.add_argument(
        "--output", type=Path, metavar="FILE", help="default: export/<arm>-step-<t>.safetensors in the run"
    )
    command.set_defaults(command="export")


def field_reference() -> str:
    """Every config field: key, type, default, allowed values, meaning; generated from the dataclasses."""
    lines = []
    for field in dataclasses.fields(Config):
        kind = get_type_hints(Config)[field.name]
        if dataclasses.is_dataclass(kind):
            lines += ["", *_section(f"{field.name}.", kind)]
        elif field.name == "arms":
            lines += ["", *_section("arms.<name>.", Arm)]
        else:
            lines.append(_line(field.name, field))
    lines += [
        "",
        "a schedule is a table, the union of its parts; a part that is not given is off:",
        *_section("", Schedule),
    ]
    return "\n".join(lines)


_REGISTRIES = {
    "data.name": known_data_sets(),
    "views.recipe": RECIPES,
    "model.encoder": ENCODERS,
    "arms.<name>.objective": OBJECTIVES,
}


def _section(prefix: str, cls: Any) -> list[str]:
    return [_line(prefix + field.name, field) for field in dataclasses.fields(cls)]


def _line(key: str, field: dataclasses.Field[Any]) -> str:
    default = field.default if field.default is not dataclasses.MISSING else None
    if field.default_factory is not dataclasses.MISSING:
        parts = dataclasses.asdict(field.default_factory())
        default = "{ " + ", ".join(f"{k} = {str(v).lower()}" for k, v in parts.items() if v) + " }"
    shown = (
        "" if default in (None, "", ()) else f" [{default if not isinstance(default, bool) else str(default).lower()}]"
    )
    limits = allowed(field.metadata)
    if key in _REGISTRIES:
        limits = "one of " + ", ".join(_REGISTRIES[key])
    limits = f" ({limits})" if limits else ""
    return _columns(key, f"{field.metadata['meaning']}{limits}{shown}")


_KEYS_WIDTH: Final = 29  # columns, the space before the meaning included
_LEAST_WIDTH: Final = 40  # of the meaning
_NO_BREAK: Final = "\N{NO-BREAK SPACE}"


def _columns(key: str, meaning: str) -> str:
    """A key and its meaning side by side, as wide as the terminal; a long key has a line of its own."""
    for sign in ("<", "≤"):
        meaning = meaning.replace(f" {sign} ", f"{_NO_BREAK}{sign}{_NO_BREAK}")  # a range stays in one line
    width = max(shutil.get_terminal_size().columns - 2 - _KEYS_WIDTH, _LEAST_WIDTH)
    lines = textwrap.wrap(meaning, width, break_long_words=False, break_on_hyphens=False)
    long = len(key) + 3 > _KEYS_WIDTH
    head = f"  {key}\n{'':{_KEYS_WIDTH}}" if long else f"  {key}".ljust(_KEYS_WIDTH)
    return head + f"\n{'':{_KEYS_WIDTH}}".join(lines).replace(_NO_BREAK, " ")
