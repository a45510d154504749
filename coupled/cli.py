"""`coupled-run`: the entry point."""

import os


def main(argv: list[str] | None = None) -> int:
    """Run one command; returns its exit code: 0 done, 2 the user's mistake, 3 the run had to stop."""
    # Before torch loads OpenMP: threads that wait spin by default, which on a busy machine takes the very core that the
    # thread they wait for needs (five times fewer steps a second beside one other job). Changes no bits.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from coupled.commands import run

    return run(argv)
