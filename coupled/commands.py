"""The commands of `coupled-run`: train, resume, plan, bench, verify, diff, export."""

import argparse
import dataclasses
from pathlib import Path
from typing import Any, get_type_hints

from rich.console import Console
from rich.table import Table

from coupled.bench import bench
from coupled.comparison import diff
from coupled.comparison.shown import show
from coupled.config import load
from coupled.config.fields import Schedule, allowed
from coupled.config.schema import Arm, Config
from coupled.data import known as known_data_sets
from coupled.driver import is_finished, resume, train
from coupled.errors import UserError
from coupled.exports import export
from coupled.models import ENCODERS
from coupled.objectives import OBJECTIVES
from coupled.plan import plan, shown_bytes, to_toml
from coupled.progress import Counting, ProgressReporter
from coupled.resuming import Terms
from coupled.store import state
from coupled.terminal import Parser
from coupled.vacuity import DELTA, shown, vacuities
from coupled.verification import Verified, verify
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
        ("plan", _plan, "show what a config would do: resolved config (as TOML), run directory, memory, bytes"),
        ("bench", _bench, "time the acts of a step, and the step against bare compute of the same arms"),
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
            _add_terms(command)
        if name == "bench":
            command.add_argument("--steps", type=int, default=40, help="steps to time (default: 40)")
    _add_resume(commands)
    _add_verify(commands)
    _add_diff(commands)
    _add_export(commands)
    return parser


def _add_terms(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--allow-drift", action="store_true", help="go on under other libraries, machine or data; the run records it"
    )
    command.add_argument(
        "--steal", action="store_true", help="take the run's lock from whoever has it (file systems without locks)"
    )


def _add_resume(commands: Any) -> None:
    what = "go on with an unfinished run, byte for byte as if it had never stopped"
    command = commands.add_parser("resume", help=what, description=what)
    command.add_argument("run_directory", metavar="RUN", help="run directory, such as runs/quickstart")
    command.add_argument(
        "--extend", type=int, metavar="STEPS", help="make it a run of this length, where its schedule goes that far"
    )
    command.add_argument(
        "--from", type=int, dest="from_step", metavar="STEP", help="from the newest state at or before this step"
    )
    command.add_argument(
        "--set", action="append", default=[], metavar="section.field=value", help="elastic fields only (paths.data, …)"
    )
    _add_terms(command)
    command.set_defaults(run=_resume)


def _add_verify(commands: Any) -> None:
    what = "check every byte of a run and the chain of its inputs, draw a sample again, say what is proven"
    command = commands.add_parser("verify", help=what, description=what)
    command.add_argument("run_directory", metavar="RUN", help="run directory, such as runs/quickstart")
    command.add_argument("--sample", type=int, default=8, metavar="N", help="steps to draw again (default: 8)")
    command.add_argument("--replay", type=int, default=0, metavar="K", help="stretches to train again (default: 0)")
    command.add_argument(
        "--stretch", type=int, default=10, metavar="STEPS", help="the longest of those stretches (default: 10)"
    )
    command.add_argument(
        "--data", default="", metavar="FOLDER", help="where the data set lies (default: as at training)"
    )
    command.add_argument(
        "--code", action="append", default=[], metavar="FILE", help="a file of the run's code.files, in their order"
    )
    command.set_defaults(run=_verify)


def _add_diff(commands: Any) -> None:
    what = "where two runs part, by how much, and how their configs differ (exit code 0: equal, 1: different)"
    command = commands.add_parser("diff", help=what, description=what)
    command.add_argument("a", metavar="A", help="run directory")
    command.add_argument("b", metavar="B", help="another one")
    command.set_defaults(run=_diff)


def _add_export(commands: Any) -> None:
    what = "write one arm of a checkpoint as a plain state dict (safetensors)"
    command = commands.add_parser("export", help=what, description=what)
    command.add_argument("run_directory", metavar="RUN", help="run directory, such as runs/quickstart")
    command.add_argument("--arm", required=True, help="name of the arm")
    command.add_argument("--step", type=int, help="a kept checkpoint's step (default: the last)")
    command.add_argument("--output", metavar="FILE", help="default: export/<arm>-step-<t>.safetensors in the run")
    command.set_defaults(run=_export)


def _train(arguments: argparse.Namespace) -> int:
    config = load(arguments.config, arguments.set)
    finished = not arguments.overwrite and is_finished(config)
    path = train(
        config,
        overwrite=arguments.overwrite,
        allow_drift=arguments.allow_drift,
        steal=arguments.steal,
        reporter=ProgressReporter(),
    )
    done = "already finished, nothing to do" if finished else "done"
    print(f"{done}: records and checkpoints are in {path}; next: coupled-analyze curves {path}")
    return 0


def _resume(arguments: argparse.Namespace) -> int:
    terms = Terms(arguments.from_step, allow_drift=arguments.allow_drift, steal=arguments.steal)
    nothing = arguments.extend is None and arguments.from_step is None
    finished = nothing and state(Path(arguments.run_directory)) == "finished"
    path = resume(
        arguments.run_directory,
        extend=arguments.extend,
        terms=terms,
        overrides=arguments.set,
        reporter=ProgressReporter(),
    )
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
    held, active = shown_bytes(made.arm_memory), shown_bytes(made.step_memory)
    print(f"# memory per arm   {held} held, and {active} more in its turn of a step (activations)")
    print(
        f"# memory in all    {shown_bytes(made.memory)} for {len(config.arms)} arms in turns; recording and views apart"
    )
    print(f"# recorded a step  {shown_bytes(made.per_step)} (streams that record every step)")
    for stream, total in made.streams.items():
        print(f"#   {stream:<15}{shown_bytes(total)} in all")
    print(f"# checkpoints      {count} of {shown_bytes(size)}")
    print(f"# in all           {shown_bytes(made.total)} for {config.train.steps} steps")
    _print_vacuities(config)
    return 0


def _print_vacuities(config: Config) -> None:
    """From which step on the drift bounds say nothing."""
    n = config.panel.surrogate_size
    try:
        every = vacuities(config)
    except UserError as error:
        print(f"# bounds vacuous   not known: {error}")
        return
    for found in every:
        pair, shares = found.pair, found.shares
        print(f"# bounds vacuous   {pair.arm} against {pair.anchor}: {shown(found)}")
        print(f"#   of             Σ of the surrogate panel, {n} × 2 views as one batch; limit {4 * n}; δ = {DELTA}")
        print(f"#   class shares   {pair.labelling}: largest {shares.largest:.3g} ({shares.said})")


def _bench(arguments: argparse.Namespace) -> int:
    config = load(arguments.config, arguments.set)
    made = bench(config, arguments.steps)
    table = Table("act", "ms a step", "of the step", box=None, header_style="bold", padding=(0, 2))
    for act, seconds in made.acts.items():
        table.add_row(act, f"{seconds * 1e3:.2f}", f"{seconds / made.step:.1%}")
    table.add_row("step", f"{made.step * 1e3:.2f}", "")
    table.add_row("bare compute", f"{made.bare * 1e3:.2f}", "")
    Console().print(table)
    print(
        f"views: {made.views * 1e3:.0f} ms a batch, made ahead of the step unless on a GPU: data is the wait for them"
    )
    print(f"panels: {made.panel * 1e3:.0f} ms an observation, not in the step")
    print(f"ratio to the same run with nothing recorded: {made.recording:.3f} (a checkpoint every 10 steps, on disk)")
    train = config.train
    print(
        f"ratio to bare compute: {made.ratio:.3f} ({len(config.arms)} arms, B = {config.batches.size}, "
        f"{train.precision}, {train.memory_format}, {train.threads} threads, {train.device}, {made.steps} steps)"
    )
    return 0


def _verify(arguments: argparse.Namespace) -> int:
    with Counting() as counting:
        found = verify(
            arguments.run_directory,
            sample=arguments.sample,
            replay=arguments.replay,
            stretch=arguments.stretch,
            data=arguments.data,
            code=arguments.code,
            progress=counting.told,
        )
    for word in found.proven:
        print(f"proven      {word}")
    for word in found.unproven:
        print(f"not proven  {word}")
    print(_verdict(found, replayed=arguments.replay > 0))
    return 0


def _verdict(found: Verified, *, replayed: bool) -> str:
    far = "no step yet" if found.reached is None else f"step {found.reached}"
    length = "" if found.finished else f", up to {far}: it is not finished"
    but = ", but for what is not proven above" if found.unproven else ""
    steps = f"coupled-run verify {found.path} --replay 3" if not replayed else f"coupled-analyze report {found.path}"
    follow = steps if found.finished else f"coupled-run resume {found.path}, unless it is at work"
    return f"verified: {found.path} is the run that its config and seed give{length}{but}; next: {follow}"


def _diff(arguments: argparse.Namespace) -> int:
    found = diff(arguments.a, arguments.b)
    console = Console()
    if not console.is_terminal:
        console.width = 140  # a file has room
    show(found, console)
    return 0 if found.equal else 1


def _export(arguments: argparse.Namespace) -> int:
    path = export(arguments.run_directory, arguments.arm, step=arguments.step, output=arguments.output)
    print(f"done: the state dict is in {path}; read it with safetensors.torch.load_file")
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
    return f"  {key:<27}{field.metadata['meaning']}{limits}{shown}"
