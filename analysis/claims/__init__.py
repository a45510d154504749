"""What the papers claim, each decided by a rule that was written down before the runs were made: `rules.toml`."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from analysis.aggregation.gap import Gap
from analysis.claims.bounds import JUDGES
from analysis.claims.effects import MAKERS
from analysis.claims.parts import Part, select
from analysis.claims.rules import Claim, Row, rules
from analysis.claims.scale import scale_of
from analysis.claims.sweeps import Sweep, read
from analysis.claims.verdicts import Verdict, judged, judged_by_every_seed, undecided
from coupled.terminal.counting import Progress

__all__ = ["Finding", "claims", "decide"]


@dataclass(frozen=True)
class Finding:
    """What came of a row of a claim in a sweep. `sweep` is "" where no sweep given has what the row needs.

    `rsa`: where CKA decides, the same effect by RSA, which decides nothing. `scale`: what was trained, in words.
    """

    claim: Claim
    row: Row
    sweep: str
    scale: str
    verdict: Verdict
    rsa: Verdict | None = None


def claims(paths: Iterable[str | Path], progress: Progress | None = None) -> list[Finding]:
    """The findings of every row of every claim in the sweeps of these folders: one for each sweep that has what the row
    needs, or one that says that none has. `progress(work, done, all)` is told how far summaries and evaluation are;
    features of checkpoints are kept under each run's analysis/. Raises what `analysis.claims.sweeps.read` raises,
    StoreError for a damaged checkpoint too.
    """
    return decide(read(paths, progress))


def decide(sweeps: Sequence[Sweep]) -> list[Finding]:
    """The findings in sweeps that were read."""
    return [finding for claim in rules() for row in claim.rows for finding in _of_row(claim, row, sweeps)]


def _of_row(claim: Claim, row: Row, sweeps: Sequence[Sweep]) -> list[Finding]:
    if row.kind in JUDGES:
        return [_of_bounds(claim, row, sweeps)]
    parts = [select(row, sweep) for sweep in sweeps]
    findings = [_finding(claim, row, part) for part in parts if not isinstance(part, Gap)]
    if findings:
        return findings
    given = "; ".join(part.reason for part in parts if isinstance(part, Gap))
    return [Finding(claim, row, "", "", undecided(f"no such sweep was given: {given}"))]


def _finding(claim: Claim, row: Row, part: Part) -> Finding:
    make = MAKERS[row.kind]
    effects = make(row, part, row.measure)
    if row.kind == "exponential":
        verdict = judged_by_every_seed(effects, row.margin, ("exponential", "a power law"))
    else:
        verdict = judged(effects, row.margin, row.side)
    rsa = judged(make(row, part, "rsa"), row.margin, row.side) if row.measure == "cka" else None
    return Finding(claim, row, part.sweep, scale_of(part.runs), verdict, rsa)


def _of_bounds(claim: Claim, row: Row, sweeps: Sequence[Sweep]) -> Finding:
    """One finding of all sweeps together that have what the row needs; of bounds on the gap all do."""
    any_sweep = row.kind == "gap bound" and not row.axis
    chosen = [sweep for sweep in sweeps if any_sweep or not isinstance(select(row, sweep), Gap)]
    runs = [run for sweep in chosen for run in sweep.runs]
    if not runs:
        return Finding(claim, row, "", "", undecided("no such sweep was given"))
    names = ", ".join(sweep.name for sweep in chosen)
    return Finding(claim, row, names, scale_of(runs), JUDGES[row.kind](row, runs))
