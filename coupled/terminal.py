"""What both commands share: one-line errors and exit codes."""

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from coupled.errors import RunStopped, UserError
from coupled.userfiles import expanded


class Parser(argparse.ArgumentParser):
    """Says what was wrong with the arguments in one line, without the usage text; options are spelled out."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **{"allow_abbrev": False, **options})
        # Of every argument with `type=Path`: shells do not expand --output=~/x, nor what is quoted.
        self.register("type", Path, lambda given: Path(expanded(given)))

    def error(self, message: str) -> NoReturn:
        raise UserError(message, f"see {self.prog} --help")


def guarded(program: str, body: Callable[[], int]) -> int:
    """The exit code of `body`: its own, 2 for the user's mistake, 3 for a run or write that had to stop, 143 for a run
    that was asked to, 130 for Ctrl-C, 141 when the reader of its output has gone.
    """
    try:
        code = body()
        sys.stdout.flush()
    except (UserError, RunStopped) as error:
        if not getattr(error, "quiet", False):
            print(f"{program}: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt as error:
        print(f"{program}: interrupted; whatever was committed is intact and can be analysed", file=sys.stderr)
        return getattr(error, "exit_code", 130)
    except BrokenPipeError:
        # The reader has gone (`| head`). Python would complain once more when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except OSError as error:
        print(f"{program}: {error}", file=sys.stderr)
        return 3
    return code
