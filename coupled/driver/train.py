"""The driver: every arm through the same steps, in lockstep."""

import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from coupled.config import Config
from coupled.config.identity import path_of
from coupled.driver import preflight
from coupled.driver.assembly import Parts, build, is_finished, start_run
from coupled.driver.loop import lockstep
from coupled.driver.reporter import Reporter, Silent
from coupled.driver.resuming import ResumeTerms, config_of, go_on
from coupled.driver.run import Run
from coupled.driver.signals import LeftAtOnce, Preemption
from coupled.errors import RunStopped
from coupled.ranks.joining import joined, rank_here
from coupled.ranks.mesh import Mesh
from coupled.ranks.placement import Placement
from coupled.reading.imported import refuse_imported
from coupled.reading.run_json import refuse_earlier_format
from coupled.store import is_half_extended, mend
from coupled.terminal.shell import shell

_MENDING_S = 30.0  # it is two renames


def train(
    config: Config,
    *,
    overwrite: bool = False,
    allow_drift: bool = False,
    steal: bool = False,
    reporter: Reporter | None = None,
    preemption: Preemption | None = None,
) -> Path:
    """Train every arm of `config` in lockstep; returns the run directory.

    A finished run is left alone, an unfinished one goes on from its newest saved state (`ResumeTerms` says what
    `allow_drift` and `steal` do there). `preemption`: one that the caller has entered; default: one of its own. Raises
    UserError for what the user can mend, RunStopped when the run had to stop (a non-finite loss, a full disk),
    Preempted when it was asked to.
    """
    with joined(config, _lost(path_of(config))) as mesh:
        state = mesh.on_first(lambda: preflight.state_of(config, overwrite=overwrite))
        if state == "finished":
            return path_of(config)
        terms = ResumeTerms(allow_drift=allow_drift, steal=steal) if state == "unfinished" else None
        return _drive(config, mesh, terms, overwrite, reporter or Silent(), preemption)


def resume(
    run: str | Path,
    *,
    extend: int | None = None,
    terms: ResumeTerms | None = None,
    overrides: Sequence[str] = (),
    reporter: Reporter | None = None,
) -> Path:
    """Go on with the run at this path until its end, or until `extend` steps; returns its path.

    `overrides` set elastic fields ("data.workers=4"). A finished run is left alone unless `extend` or `terms.from_step`
    asks for more. Raises like `train`.
    """
    path, watching, terms = Path(run), reporter or Silent(), terms or ResumeTerms()
    refuse_earlier_format(path)
    refuse_imported(path)
    mended(path)
    config, notes = config_of(path, extend=extend, overrides=overrides)
    with joined(config, _lost(path_of(config))) as mesh:
        if mesh.is_first:
            for note in notes:
                watching.note(note)
        if mesh.on_first(lambda: extend is None and terms.from_step is None and is_finished(config)):
            return path
        return _drive(config, mesh, terms, False, watching)


def mended(path: Path) -> None:
    """Complete an extension that was killed in its commit: rank 0 does, the others wait for it. Until then the files of
    the run do not fit together.
    """
    if rank_here() == 0:
        mend(path)
    ends = time.monotonic() + _MENDING_S
    while is_half_extended(path) and time.monotonic() < ends:
        time.sleep(0.1)


def _drive(
    config: Config,
    mesh: Mesh,
    terms: ResumeTerms | None,
    overwrite: bool,
    reporter: Reporter,
    given: Preemption | None = None,
) -> Path:
    """Build, check, open the directory (`terms`: the one that is there), step to the end."""
    path, reporter = path_of(config), reporter if mesh.is_first else Silent()
    with nullcontext(given) if given is not None else Preemption(mesh) as preemption:
        try:
            if mesh.placement is not None:
                reporter.note(f"ranks: {mesh.placement}")
            parts = build(config, mesh)
            mesh.on_first(lambda: preflight.fits_on_disk(config, preflight.size_of(path) if terms else 0))
            if line := preflight.room_on_device(config, mesh.placement.world if mesh.placement else 1):
                reporter.note(line)
            mesh.together(lambda: preflight.repeats_its_bytes(parts))
            if parts.source.left_out:
                reporter.note(f"left out of {config.data.name}: {parts.source.left_out}")
            reporter.note("determinism: self-check passed (one step twice, equal bytes)")
            run = start_run(parts, overwrite=overwrite) if terms is None else _gone_on(parts, terms, reporter)
            if run is not None:
                with run:
                    run.log(_start_event(run))
                    lockstep(run, reporter, preemption)
        except LeftAtOnce as error:
            error.left = f"what was committed of {path} stands; next: coupled-run resume {shell(path)}"
            raise
        except torch.OutOfMemoryError as error:
            raise RunStopped(
                f"out of memory ({str(error).splitlines()[0]}); coupled-run plan says what a step needs; "
                "lower batches.size or use a larger device"
            ) from error
        finally:
            reporter.end()
    return path


def _lost(path: Path) -> str:
    """The end of the line about a lost rank: what is left, and what to do."""
    return f"; what was committed stands; next: coupled-run resume {shell(path)}"


def _gone_on(parts: Parts, terms: ResumeTerms, reporter: Reporter) -> Run:
    run, position = go_on(parts, terms)
    for note in position.notes:
        reporter.note(note)
        run.log({"event": "recovered", "note": note})
    reporter.note(f"resumed at step {run.start}" if run.restored else "no saved state yet: from the beginning")
    return run


def _start_event(run: Run) -> dict[str, Any]:
    config, placement = run.config, run.mesh.placement or Placement((tuple(run.config.arms),))
    # A log is JSON in UTF-8: what is not UTF-8 of a name is escaped. All else stays, for `resume` reads the path.
    name, data = (text.encode("utf-8", "backslashreplace").decode() for text in (config.name, config.paths.data))
    graphs = run.graphs.why_not or ("on, side by side" if run.graphs.at_once else "on")
    elastic = {"name": name, "paths": {"data": data}, "workers": config.data.workers, "graphs": graphs}
    elastic["trackers"] = list(config.log.trackers)
    return {
        "event": "resume" if run.restored else "start",
        "step": run.start,
        "writing": asdict(config.writing),
        "ranks": {"arms": len(placement.groups), "data": placement.data},
        **elastic,
    }
