"""Both programs share this: exit codes, errors in one line, arguments."""

import argparse
import gc
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from keyword import iskeyword
from pathlib import Path
from typing import Any, Final, NoReturn

import coupled
from coupled.errors import EarlyEnd, UserError, printable
from coupled.terminal import streams
from coupled.userfiles import expanded

EXIT_CODES: Final = """exit codes:
  0    done; of coupled-run diff: equal
  1    of coupled-run diff: different
  2    a mistake in what was asked: one line says what is allowed
  3    a damaged run, a failed write, or a run that had to stop: one line says more
  130  ended at once by Ctrl-C
  141  done, but whoever read the output has gone (| head)
  143  a run that stopped when it was asked to (SIGTERM, SIGUSR2, Ctrl-C): nothing is lost"""


class Parser(argparse.ArgumentParser):
    """Reports a mistake in the arguments in one line, without the usage text; options are spelled out.

    Every help ends with `notes`, which are shown as they are. `fill` adds what is taken when arguments come: of the
    commands of a program only the one that was asked for is loaded.
    """

    def __init__(self, *arguments: Any, fill: Callable[["Parser"], None] = lambda parser: None, **options: Any) -> None:
        super().__init__(*arguments, **{"allow_abbrev": False, **options})
        # Of every argument with `type=Path`: shells do not expand --output=~/x, nor what is quoted.
        self.register("type", Path, _path)
        self.notes: tuple[str, ...] = (EXIT_CODES,)
        self._fill: Callable[[Parser], None] | None = fill
        self.commands: Mapping[str, Parser] = {}

    def fill(self) -> None:
        """Adds what is taken, once."""
        fill, self._fill = self._fill, None
        if fill is not None:
            fill(self)

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        self.fill()
        return super().parse_known_args(args, namespace)

    def format_help(self) -> str:
        return "\n\n".join((super().format_help().rstrip(), *self.notes)) + "\n"

    def error(self, message: str) -> NoReturn:
        raise UserError(message, f"see {self.prog} --help")


def program_parser(program: str, description: str, package: str, purposes: Mapping[str, str]) -> Parser:
    """The parser of a program. Its commands, each with its purpose, are modules of `package`: `add` says what a command
    takes, `run` does it. Most of them load torch, so a module is loaded only when its command was asked for.
    """

    def filling(name: str) -> Callable[[Parser], None]:
        def fill(command: Parser) -> None:
            with _no_collection():
                module = import_module(f"{package}.{name}_" if iskeyword(name) else f"{package}.{name}")
            module.add(command)
            command.set_defaults(run=module.run)

        return fill

    whole = Parser(prog=program, description=description)
    whole.add_argument("--version", action=_Version, nargs=0, help="show the version and exit")
    commands = whole.add_subparsers(title="commands", required=True, metavar="COMMAND", parser_class=Parser)
    for name, purpose in purposes.items():
        commands.add_parser(name, help=purpose, description=purpose, fill=filling(name))
    whole.commands = commands.choices
    return whole


class _Version(argparse.Action):
    """Prints it: looked up when it is asked for alone."""

    def __call__(self, parser: argparse.ArgumentParser, *given: Any) -> NoReturn:
        print(f"{parser.prog} {coupled.__version__}")
        parser.exit()


@contextmanager
def _no_collection() -> Iterator[None]:
    """Inside, Python looks for no garbage. Modules leave none worth the tenth of torch's loading that looking takes."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


def _path(given: str) -> Path:
    if not given:
        raise UserError(
            "an empty path", "the path of a file or a folder is needed", "write it, or leave the option out"
        )
    return Path(expanded(given))


def guarded(program: str, body: Callable[[], int]) -> int:
    """The exit code of `body`: its own, or what `EXIT_CODES` says. If output cannot be shown, the work goes on."""
    # By default threads spin while they wait. On a busy machine that takes the core of the thread they wait for: beside
    # one other job, a fifth of the steps a second. This changes no bits; torch reads it when it is loaded.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    with streams.standard() as output, _warnings_in_a_line(program):
        code = _ended(program, body)
        output.flush()
        # An error that was printed is the more important one.
        if output.failure is None or code not in (0, 1):
            return code
        if isinstance(output.failure, BrokenPipeError):
            return 141
        print(f"{program}: the output could not be written: {output.failure.strerror}", file=sys.stderr)
        return 3


@contextmanager
def _warnings_in_a_line(program: str) -> Iterator[None]:
    """What a user should change in time (FutureWarning) is a line like any other, not a place in the code."""
    with warnings.catch_warnings():
        shown = warnings.showwarning

        def show(message: Warning | str, category: type[Warning], *place: Any, **more: Any) -> None:
            if category is FutureWarning and "TORCHELASTIC_RUN_ID" in os.environ:
                return  # the process that started the ranks has said it
            if category is FutureWarning:
                print(printable(f"{program}: warning: {message}"), file=sys.stderr)
            else:
                shown(message, category, *place, **more)

        warnings.showwarning = show
        yield


def _ended(program: str, body: Callable[[], int]) -> int:
    try:
        return body()
    except EarlyEnd as error:
        if not error.quiet:
            print(printable(f"{program}: {error}"), file=sys.stderr)
        return error.exit_code
    except FutureWarning as error:  # python -W error
        print(printable(f"{program}: {error}"), file=sys.stderr)
        return 2
    except KeyboardInterrupt as error:
        left = getattr(error, "left", "") or "whatever was committed is intact and can be analysed"
        print(printable(f"{program}: interrupted; {left}"), file=sys.stderr)
        return getattr(error, "exit_code", 130)
    except OSError as error:
        print(printable(f"{program}: {error}"), file=sys.stderr)
        return 3
    except UnicodeEncodeError as error:
        given = f"{error.object[:200]!r} has characters that the locale's encoding, {error.encoding}, lacks"
        print(f"{program}: {given}; paths need one that has them, such as LC_ALL=C.UTF-8", file=sys.stderr)
        return 2
    except SystemExit as end:
        if end.code:
            raise
        return 0  # argparse has shown its help
