"""The scoreboard: a table of 80 columns, what each verdict rests on, and claims.csv."""

import csv
import io
import json
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Final

from rich.table import Table

from analysis.claims import Finding
from analysis.claims.parts import alternatives, needs
from analysis.claims.rules import FROM_STEP, Row
from analysis.claims.verdicts import HOLDS, LEAST_SEEDS, VIOLATED, Verdict
from analysis.output import files
from analysis.output.csv import number_cell
from analysis.output.read_back import read_table
from analysis.runs.numbers import ABSENT

CSV_NAME: Final = "claims.csv"
HEADER: Final = (
    "claim", "row", "title", "words", "statement", "source", "kind", "measure", "arms", "axis", "where", "match",
    "state", "side", "margin", "sweep", "scale", "verdict", "reason", "effect", "low", "high", "seeds", "smallest",
    "rsa_effect", "rsa_low", "rsa_high", "by_seed",
)  # fmt: skip
_STATES: Final = {
    "least": f"least value from step {FROM_STEP} on",
    "mean": f"mean from step {FROM_STEP} on",
    "last": "last step",
}
_MATCHES: Final = {
    "samples": "equal samples",
    "rate": "equal cumulative learning rate",
    "motion": "equal distance from the start",
}
_SIDES: Final = {"above": "above +{0:g}", "below": "below -{0:g}", "within": "within +-{0:g}"}


def write(folder: Path, findings: Sequence[Finding]) -> Path:
    """Writes FOLDER/analysis/claims.csv: a row for every finding, full precision, nothing where there is no number."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(HEADER)
    writer.writerows(_cells(finding) for finding in findings)
    return files.write(files.folder(folder) / CSV_NAME, text.getvalue().encode())


def _cells(finding: Finding) -> list[object]:
    claim, row, verdict, rsa = finding.claim, finding.row, finding.verdict, finding.rsa
    where = "; ".join(f"{axis} = {alternatives(value)}" for axis, value in row.where.items())
    rule = (row.kind, row.measure, " ".join(row.arms), row.axis, where, row.match, row.state, row.side, row.margin)
    ends = (verdict.effect, verdict.low, verdict.high)
    by_rsa = ("", "", "") if rsa is None else map(number_cell, (rsa.effect, rsa.low, rsa.high))
    return [
        claim.number, row.id, claim.title, row.words, claim.statement, claim.source, *rule, finding.sweep,
        finding.scale, verdict.verdict, verdict.reason, *map(number_cell, ends), verdict.seeds,
        number_cell(verdict.smallest), *by_rsa, json.dumps({str(k): v for k, v in (verdict.by_seed or {}).items()}),
    ]  # fmt: skip


def read_back(folder: Path) -> list[dict[str, str]]:
    """The rows of FOLDER/analysis/claims.csv, cells by the names of `HEADER`; none where there is no such file.

    UserError where the file is no such table: it is untrusted, like every file that lies in a run.
    """

    def read(lines: Iterator[list[str]]) -> list[dict[str, str]]:
        if tuple(next(lines, [])) != HEADER:
            raise ValueError("its columns are others")
        rows: list[dict[str, str]] = [dict(zip(HEADER, line, strict=True)) for line in lines]
        for name in ("effect", "low", "high", "smallest"):
            _ = [float(row[name] or "nan") for row in rows]  # a ValueError where one is no number
        return rows

    return read_table(files.found(folder, CSV_NAME), "a table of claims", read) or []


def rich_table(findings: Sequence[Finding]) -> Table:
    """The scoreboard for a terminal of 80 columns or more."""
    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("claim", no_wrap=True)
    table.add_column("what", overflow="fold")
    table.add_column("verdict", no_wrap=True)
    table.add_column("effect", justify="right", no_wrap=True)
    table.add_column("95 % interval", justify="right", no_wrap=True)
    table.add_column("seeds", justify="right", no_wrap=True)
    number_of = several(findings)
    for finding in findings:
        row, verdict = finding.row, finding.verdict
        of = f" ({finding.sweep})" if number_of[row.id] > 1 else ""
        seeds = str(verdict.seeds) if verdict.seeds else ABSENT
        table.add_row(row.id, f"{row.words}{of}", verdict.verdict, *numbers(verdict), seeds)
    return table


def several(findings: Sequence[Finding]) -> Counter[str]:
    """How many findings a row has, by its id: where there are several, each is shown with its sweep."""
    return Counter(finding.row.id for finding in findings)


def numbers(verdict: Verdict) -> tuple[str, str]:
    """Effect and interval as they are shown."""
    if math.isnan(verdict.effect):
        return ABSENT, ABSENT
    sign = "" if verdict.verdict in (HOLDS, VIOLATED) else "+"
    effect = format(verdict.effect, _form(verdict.effect, sign))
    if math.isnan(verdict.low):
        return effect, ABSENT
    ends = [format(end, _form(max(abs(verdict.low), abs(verdict.high)), "+")) for end in (verdict.low, verdict.high)]
    return effect, f"{ends[0]} {ends[1]}"


def _form(size: float, sign: str) -> str:
    """Three decimals, or of large numbers fewer: a cell stays a cell."""
    return f"{sign}.3f" if abs(size) < 10 else f"{sign}.0f"


def lines(findings: Sequence[Finding]) -> Iterator[str]:
    """What holds of the whole table, in sentences."""
    counts = Counter(finding.verdict.verdict for finding in findings)
    yield ", ".join(f"{verdict}: {count}" for verdict, count in counts.most_common())
    yield (
        f"A statistical verdict takes {LEAST_SEEDS} seeds, each with all that its rule looks at. --verbose says why a "
        "row is undecided and what was trained, docs/claims.md what the rules are."
    )


def verbose_lines(findings: Sequence[Finding]) -> Iterator[str]:
    """Each finding in full, claim by claim."""
    for claim, of_claim in groupby(findings, lambda finding: finding.claim):
        yield f"{claim.number}. {claim.title}"
        yield f"   {claim.statement} ({claim.source})"
        for row, of_row in groupby(of_claim, lambda finding: finding.row):
            yield f"   {row.id}: {rule_of(row)}"
            for finding in of_row:
                yield from (f"      {line}" for line in _rests_on(finding))


def _rests_on(finding: Finding) -> Iterator[str]:
    verdict, rsa = finding.verdict, finding.rsa
    where = f" in {finding.sweep}" if finding.sweep else ""
    yield f"{verdict.verdict}{where}" + (f": {verdict.reason}" if verdict.reason else "")
    if not math.isnan(verdict.smallest):
        yield f"smallest effect found with 80 %: {verdict.smallest:.3g}"
    if rsa is not None and not math.isnan(rsa.effect):
        effect, interval = numbers(rsa)
        yield f"by RSA, which decides nothing: {effect}, interval {interval}"
    if finding.scale:
        yield f"at this scale: {finding.scale}"


def rule_of(row: Row) -> str:
    """The rule of a row, in words."""
    if row.kind == "few-shot bound":
        return f"bounds on the few-shot error of {' and '.join(row.arms)} in the exact setting; {needs(row)}"
    if row.kind == "drift bound":
        return f"bounds on the drift of the surrogate panel at every step; {needs(row)}"
    if row.kind == "gap bound":
        varying = f", in sweeps that vary {row.axis}" if row.axis else ""
        return f"bounds on the gap of {' and '.join(row.arms)} at every recorded batch{varying}"
    if row.kind == "exponential":
        return f"AIC of every seed prefers one law by more than {row.margin:g}, {row.window} window; {needs(row)}"
    at = _MATCHES.get(row.match) or _STATES[row.state]
    margin = _SIDES[row.side].format(row.margin)
    return f"{row.kind} of {row.measure}, {' less '.join(row.arms)}, {at}: {margin}; {needs(row)}"
