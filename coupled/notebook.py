"""`coupled.train` and `coupled.resume`: as a script or a notebook calls them, with progress to watch."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal

from coupled.commands.progress import ProgressReporter
from coupled.config import Config, load
from coupled.driver import train as driver
from coupled.driver.reporter import Reporter
from coupled.driver.resuming import ResumeTerms

# What `reporter` is where a caller says nothing; None is silence.
SHOWN: Final = "shown"
_Reporter = Reporter | Literal["shown"] | None


def train(
    config: Config | str | Path,
    overrides: Sequence[str] | Mapping[str, Any] | None = None,
    *,
    overwrite: bool = False,
    allow_drift: bool = False,
    steal: bool = False,
    reporter: _Reporter = SHOWN,
) -> Path:
    """Train every arm of a config, or of a TOML file, in lockstep; returns the run directory.

    overrides: of a file, such as {"train.steps": 50} or ["train.steps=50"]. reporter: None trains in silence; by
    default progress goes to standard error. A finished run is left alone, an unfinished one goes on from its newest
    saved state (allow_drift, steal: where that is refused, docs/recovery.md). Raises UserError for what the user can
    mend, RunStopped where the run had to stop (a loss that is not finite, a full disk), Preempted where it was asked.
    """
    if isinstance(config, str | Path):
        config = load(config, overrides)
    elif overrides:
        raise TypeError("overrides are of a file: coupled.load(path, overrides) gives a config")
    return driver.train(config, overwrite=overwrite, allow_drift=allow_drift, steal=steal, reporter=_shown(reporter))


def resume(
    run: str | Path,
    *,
    extend: int | None = None,
    terms: ResumeTerms | None = None,
    overrides: Sequence[str] = (),
    reporter: _Reporter = SHOWN,
) -> Path:
    """Go on with the run at this path until its end, or until `extend` steps; returns its path.

    `overrides` set elastic fields ("data.workers=4"). A finished run is left alone unless `extend` or `terms.from_step`
    asks for more. `reporter` and errors: as `train`.
    """
    return driver.resume(run, extend=extend, terms=terms, overrides=overrides, reporter=_shown(reporter))


def _shown(reporter: _Reporter) -> Reporter | None:
    return ProgressReporter() if reporter == SHOWN else reporter
