"""The commands of `coupled-run`: train, plan."""

import argparse
import dataclasses
from typing import Any, get_type_hints

from coupled.config import load
from coupled.config.fields import Schedule, allowed
from coupled.config.schema import Arm, Config
from coupled.data import DATASETS
from coupled.driver import is_finished, train
from coupled.models import ENCODERS
from coupled.objectives import OBJECTIVES
from coupled.plan import plan, shown_bytes, to_toml
from coupled.progress import ProgressReporter
from coupled.terminal import Parser
from coupled.views import RECIPES


def run(argv: list[str] | None = None) -> int:
    """Run one command; returns its exit code. Raises UserError and RunStopped."""
    arguments = _parser().parse_args(argv)
    return arguments.run(arguments)


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="coupled-run",
        description="Train contrastive objectives in lockstep from one seed, one batch stream and identical views.",
    )
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND", parser_class=Parser)
    fields = "config fields (a TOML file holds them; --set overrides them):\n\n" + field_reference()
    for name, run, what in (
        ("train", _train, "train every arm of a config and record every step"),
        ("plan", _plan, "show what a config would do: resolved config (as TOML), run directory, parameters, bytes"),
    ):
        command = commands.add_parser(
            name, help=what, description=what, epilog=fields, formatter_class=argparse.RawDescriptionHelpFormatter
        )
        command.add_argument("config", metavar="CONFIG", help="TOML file, such as configs/quickstart.toml")
        command.add_argument(
            "--set",
            action="append",
            default=[],
            metavar="section.field=value",
            help="override a field (a TOML value; a bare word is a string); may be given again",
        )
        command.set_defaults(run=run)
        if name == "train":
            command.add_argument("--overwrite", action="store_true", help="replace the run that is there")
    return parser


def _train(arguments: argparse.Namespace) -> int:
    config = load(arguments.config, arguments.set)
    finished = not arguments.overwrite and is_finished(config)
    path = train(config, overwrite=arguments.overwrite, reporter=ProgressReporter())
    done = "already finished, nothing to do" if finished else "done"
    print(f"{done}: records and checkpoints are in {path}; next: coupled-analyze curves {path}")
    return 0


def _plan(arguments: argparse.Namespace) -> int:
    config = load(arguments.config, arguments.set)
    made = plan(config)
    count, size = made.checkpoints
    print(to_toml(config))
    print(f"\n# run directory    {made.directory}")
    print(f"# config digest    {made.digest}")
    print(f"# parameters       {made.parameters:,} per arm, {len(config.arms)} arms")
    print(f"# recorded a step  {shown_bytes(made.per_step)} (streams that record every step)")
    for stream, total in made.streams.items():
        print(f"#   {stream:<15}{shown_bytes(total)} in all")
    print(f"# checkpoints      {count} of {shown_bytes(size)}")
    print(f"# in all           {shown_bytes(made.total)} for {config.train.steps} steps")
    return 0


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
    "data.name": DATASETS,
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
    return f"  {key:<27}{field.metadata['meaning']}{limits}{shown}"
