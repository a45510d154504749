"""`coupled-analyze response`: what comes out over what was put in, by nudges, losses, placebos and kicks."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from analysis.commands import printing
from analysis.divergence import twin_faults
from analysis.output import files
from analysis.response import Response, figure, response, seeds_figure, seeds_table, table
from analysis.response.ranks import joint_ranks
from analysis.response.seeds import seed_curves
from analysis.runs.run import Run, open_run
from analysis.runs.seeds import apart_by_seed
from coupled.errors import printable
from coupled.terminal.console import Console, say
from coupled.terminal.entry import Parser


def add(command: Parser) -> None:
    """Adds what the command takes."""
    command.description = (
        "Writes RUN/analysis/response.csv, response_curves.csv, response.png and response.svg for each run: how far "
        "every arm came for what it put in, flipped units, the ledger's parts of the distance with bounds along the "
        "path, ranks among placebos, and the share of the distance that lies between nudged copies of one loss. Runs "
        "with record.ledger and record.flips tell most: configs/response.toml. Runs that differ in the seed alone are "
        "also joined: means over seeds with intervals, and every arm beside its controls, paired by seed, in "
        "response_seeds.csv, .png and .svg of the first one (configs/controls.toml), and with placebos enough for a "
        "rank the ranks of all seeds together, in response_seeds_ranks.csv (configs/placebos.toml)."
    )
    command.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="run directory, such as runs/response")
    command.add_argument("--markdown", action="store_true", help="print only the tables over seeds, as GitHub markdown")
    printing.add_output(command)
    printing.add_all_steps(command)


def run(options: argparse.Namespace) -> int:
    """Writes the response of each run, and that over seeds of runs that differ in the seed alone, and prints them."""
    # Every path is opened before the first result is written.
    runs = [open_run(path) for path in options.runs]
    # So is what is in them read.
    for group, found in [(group, [response(opened) for opened in group]) for group in apart_by_seed(runs)]:
        for opened, of_run in zip(group, found, strict=True):
            paths = [*table.write(opened, of_run, all_steps=options.all_steps), *figure.save(opened, of_run)]
            # What an earlier call has joined, of other seeds maybe.
            joined = (seeds_table.CSV_NAME, seeds_table.RANKS_NAME, *seeds_figure.NAMES)
            files.remove_others(files.folder(opened.path), joined, ())
            if len(group) == 1 and not options.markdown:
                _print(opened, of_run)
            for fault in twin_faults(opened, of_run.curves):
                printing.warning(f"{opened.name}: {fault}; the run was not in lockstep")
            printing.results(paths, file=sys.stderr if options.markdown else sys.stdout)
        if len(group) > 1:
            _join(group, found, markdown=options.markdown)
    return 0


def _print(run: Run, found: Response) -> None:
    Console().print(table.rich_table(run, found))
    if (bounds := table.bounds_table(found)) is not None:
        Console().print(bounds)
    for line in table.lines(run, found):
        say(line)


def _join(runs: Sequence[Run], found: Sequence[Response], *, markdown: bool) -> None:
    """Writes and prints what holds over the seeds."""
    curves, ranks = seed_curves(runs, found), joint_ranks([of_run.ranks for of_run in found])
    paths = [seeds_table.write(runs, curves), *seeds_figure.save(runs, curves)]
    if ranks:
        paths.append(seeds_table.write_ranks(runs, ranks))
    if markdown:
        print(seeds_table.markdown(runs, curves, ranks))
    else:
        for shown in seeds_table.rich_tables(runs, curves):
            Console().print(shown)
        for line in seeds_table.lines(curves):
            say(line)
    for run, of_run in zip(runs, found, strict=True):
        for line in table.violations(of_run):
            printing.warning(printable(f"seed {run.config.seed}: {line}"))
        for line in [] if markdown else table.rank_lines(of_run):
            say(f"seed {run.config.seed}: {line}")
    if not markdown:
        for line in seeds_table.rank_lines(ranks):
            say(line)
        for line in dict.fromkeys(line for of_run in found for line in of_run.missing):
            lacking = [run for run, of_run in zip(runs, found, strict=True) if line in of_run.missing]
            of = "" if len(lacking) == len(runs) else f"seeds {', '.join(str(run.config.seed) for run in lacking)}: "
            say(f"{of}{line}")
    printing.results(paths, file=sys.stderr if markdown else sys.stdout)
