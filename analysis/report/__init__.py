"""One self-contained HTML page of a run, or of one config at several seeds."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from analysis.output import files as output
from analysis.report.content import Content, check, combine, content_of
from analysis.report.gather import gather
from analysis.report.page import page
from analysis.runs.run import Run, open_run
from coupled.userfiles import output_path

NAME: Final = "report.html"

__all__ = ["NAME", "Content", "check", "combine", "content_of", "gather", "page", "page_path", "report", "write"]


def report(runs: Run | str | Path | Sequence[Run | str | Path], *, output: str | Path | None = None) -> Path:
    """Writes the report of a run, or of runs that differ in the seed alone, and returns its path.

    runs: run directories, or runs opened by `open_run`. output: default is analysis/report.html in the first one.
    Raises UserError for runs that cannot be reported together or have no committed step yet, StoreError for damage.
    """
    path = None if output is None else page_path(output)
    given = [runs] if isinstance(runs, Run | str | Path) else list(runs)
    return write(content_of([run if isinstance(run, Run) else open_run(run) for run in given]), path)


def page_path(path: str | Path) -> Path:
    """The path of a page that a user names; UserError, before any work, where no page can have that name."""
    return output_path(Path(path), ".html", "a report")


def write(content: Content, path: Path | None = None, files: Mapping[str, Sequence[str]] | None = None) -> Path:
    """Writes the page of a content; without a path where it belongs. `files`: names of what lies in the first run's
    folder of results, by section: the page links to them.
    """
    results = output.folder(content.run.path)
    where = results / NAME if path is None else path
    beside = os.path.relpath(results, where.parent)
    links = {section: [Path(beside, name).as_posix() for name in names] for section, names in (files or {}).items()}
    return output.write(where, page(content, links).encode(errors="backslashreplace"))
