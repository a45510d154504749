"""The first sentence of a report: what came out, in numbers."""

from analysis.curves import table
from analysis.report import wording
from analysis.report.content import Content
from analysis.runs.curve import pick
from analysis.runs.numbers import number
from analysis.runs.run import HEADLINE
from coupled.config import Arm


def opening(content: Content) -> str:
    """How aligned an arm is with its reference and how far apart their weights are at the last step, beside what its
    first control reaches; "" where no arm was compared with another by its loss.
    """
    arm = _arm(content)
    rows = [row for row in table.rows(content.run, content.curves) if row.arm == arm]
    if arm is None or not rows:
        return ""
    step, run = rows[-1].step, content.run
    aligned, apart = (pick(content.curves, measure, arm, **HEADLINE[measure]) for measure in ("cka", "weight_gap"))
    cka, gap = (None if curve is None else curve.at(step) for curve in (aligned, apart))
    if cka is None and gap is None:
        return ""
    parts = []
    if aligned is not None and cka is not None:
        between = wording.interval_at(aligned, step)
        parts.append(f"have a CKA of {number(cka)}{between and f' ({between})'}")
    if gap is not None:
        parts.append(f"are {number(gap)} apart in their weights (0: equal, 2: the most)")
    of = "" if run.finished else f" of {run.planned_steps:,}"
    over = f", means over {len(content.runs)} seeds" if len(content.runs) > 1 else ""
    reached = _control(content, arm, ("cka",) * (cka is not None) + ("weight_gap",) * (gap is not None))
    return f"After {step:,}{of} steps {arm} and {run.arms[arm].reference} {' and '.join(parts)}{over}{reached}."


def _arm(content: Content) -> str | None:
    """The arm of NSCL if there is one, else the first that has a loss of its own and a reference."""

    def order(item: tuple[str, Arm]) -> bool:
        return item[1].objective != "nscl"

    own = ((name, spec) for name, spec in content.run.arms.items() if spec.kind == "objective" and spec.reference)
    return next((name for name, _ in sorted(own, key=order)), None)


def _control(content: Content, arm: str, measures: tuple[str, ...]) -> str:
    """What the arm's first control reaches at its own last step, a mean over seeds."""
    row = next((row for row in content.comparisons if row.arm == arm), None)
    if row is None:
        return ""
    pairs = [row.values.get(measure, []) for measure in measures]
    if not all(pairs):
        return ""
    means = [sum(its for _, its in of) / len(of) for of in pairs]
    return f"; its control ({row.named}) comes to {' and '.join(map(number, means))}"
