"""What both commands share: one-line errors and exit codes."""

import argparse
import sys
from collections.abc import Callable
from typing import NoReturn

from coupled.errors import RunStopped, UserError


class Parser(argparse.ArgumentParser):
    """Says what was wrong with the arguments in one line, without the usage text."""

    def error(self, message: str) -> NoReturn:
        raise UserError(message, f"see {self.prog} --help")


def guarded(program: str, body: Callable[[], int]) -> int:
    """The exit code of `body`: its own, 2 for the user's mistake, 3 for a run that had to stop, 130 for Ctrl-C."""
    try:
        return body()
    except (UserError, RunStopped) as error:
        print(f"{program}: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print(f"{program}: interrupted; what was committed is intact", file=sys.stderr)
        return 130
