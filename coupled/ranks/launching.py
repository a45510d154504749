"""Starting the ranks of a run on this machine, by torch's own elastic launcher: what --ranks does."""

import logging
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

from coupled.errors import RunStopped
from coupled.supervision import SIGNALS, let_in, stop_with_supervisor


def launch(argv: Sequence[str], ranks: int, *, supervised: bool = False) -> int:
    """Run `coupled-run` with these arguments as `ranks` processes; returns the exit code that all agreed on.

    SIGTERM, SIGUSR2 and Ctrl-C are passed on to every rank, which has the 30 s that are torch's default to make its
    state durable (older torch has no option for it; Slurm kills after 30 s as well). `supervised`: another process
    started this one, with signals blocked; the first one counts, none is a second one. Raises RunStopped, naming it,
    where a rank was killed.
    """
    from torch.distributed.elastic.multiprocessing import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=ranks,
        run_id="coupled",
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        local_addr="localhost",
        max_restarts=0,
        monitor_interval=0.1,
        signals_to_handle=",".join(["SIGHUP", "SIGQUIT", *([] if supervised else [s.name for s in SIGNALS])]),
    )
    with _quiet_launcher():
        try:
            if supervised:
                _heed_the_first_signal()
            elastic_launch(config, sys.executable)("-m", "coupled", *argv)
        except SignalException:
            return 143  # all ranks got it too, and made their state durable
        except ChildFailedError as error:
            rank, failure = error.get_first_failure()
            if failure.exitcode < 0:
                name = signal.Signals(-failure.exitcode).name
                raise RunStopped(f"rank {rank} (process {failure.pid}) was ended by {name}") from None
            return failure.exitcode
    return 0


def _heed_the_first_signal() -> None:
    """The first signal ends the launch as torch's own handler would. A scheduler signals every process of a job, and
    who started this one passes the signal on: while all ranks stop, a second one would cut that short.
    """
    from torch.distributed.elastic.multiprocessing import SignalException

    def heed(number: int, frame: FrameType | None) -> None:
        for each in SIGNALS:
            signal.signal(each, signal.SIG_IGN)
        name = signal.Signals(number)
        raise SignalException(f"{name.name} has come", sigval=name)

    for each in SIGNALS:
        signal.signal(each, heed)
    let_in()
    stop_with_supervisor()


@contextmanager
def _quiet_launcher() -> Iterator[None]:
    """Silence the launcher: it logs every exit code but 0, and the ranks have printed the reason already."""
    logging.disable(logging.ERROR)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)
