# PYTHON_ARGCOMPLETE_OK: a shell that completes asks this module; torch is not loaded for that.
"""`coupled-run`: the entry point, and what the process needs before torch is loaded."""

import os
import sys

from coupled.memory import tune_memory
from coupled.terminal.completion import complete
from coupled.terminal.entry import guarded


def main(argv: list[str] | None = None) -> int:
    """Run one command; returns its exit code: 0 done, 2 the user's mistake, 3 the run had to stop."""
    tune_memory()

    def body() -> int:
        # Loading torch takes seconds: Ctrl-C meanwhile is no traceback either.
        from coupled.commands import parser, run

        complete(parser)
        return run(argv)

    code = guarded("coupled-run", body)
    if code and int(os.environ.get("WORLD_SIZE", "1")) > 1 and "TORCHELASTIC_RUN_ID" in os.environ:
        # One rank of several: its threads wait for messages that will not come, and tidying up would abort.
        sys.stderr.flush()
        os._exit(code)
    return code
