"""What other commands have kept beside the runs of a sweep, as series of their summaries: nothing is computed.

"accuracy" is of a classifier of h on test, fitted to all samples, under the labels of the arm (`coupled-analyze probe`,
else `accuracy`). "whole_cka_train" and "whole_cka_test" are the CKA of h on whole splits (`coupled-analyze alignment`).
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from analysis.aggregation.matching import Array, Steps
from analysis.aggregation.summary import Summary
from analysis.evaluation.alignment.table import CSV_NAME as ALIGNMENT
from analysis.evaluation.probe.curves import AccuracyCurve
from analysis.output.read_back import read_curves
from analysis.report.usefulness import AlignedAccuracy, read_usefulness
from analysis.runs.run import Run
from coupled.errors import UserError

ACCURACY: Final = "accuracy"
WHOLE: Final = {"train": "whole_cka_train", "test": "whole_cka_test"}
_CLASSIFIERS: Final = ("linear", "centre", "knn10", "knn5", "knn20")  # the first that is there, of all runs alike
Series = dict[tuple[str, str], tuple[Steps, Array]]


def with_kept(runs: Sequence[tuple[Run, Summary]]) -> list[Summary]:
    """The summaries with what is kept beside the runs; `about["kept"]` has in words what accuracy is, and reasons why a
    file is not taken.
    """
    useful = [read_usefulness(run) for run, _ in runs]
    of_probe = [found.accuracies for found, _ in useful]
    points = [point for found, _ in useful for point in found.points]
    classifier = _classifier(of_probe, points)
    by_run: dict[str, list[AlignedAccuracy]] = {}
    for point in points:
        by_run.setdefault(point.run, []).append(point)
    extended = []
    for (run, summary), curves, (_, reasons) in zip(runs, of_probe, useful, strict=True):
        series = dict(_of_probe(run, curves, classifier)) or dict(_of_accuracy(by_run.get(run.name, []), classifier))
        whole, reason = _of_alignment(run)
        about = {"accuracy": f"classifier: {classifier}" if series else "", "reasons": [*reasons, *reason]}
        extended.append(_extended(summary, series | whole, about))
    return extended


def _extended(summary: Summary, series: Series, about: dict[str, object]) -> Summary:
    tensors: dict[str, NDArray] = dict(summary.tensors)
    for (quantity, arm), (steps, values) in series.items():
        tensors |= {f"{quantity}.{arm}.steps": steps, f"{quantity}.{arm}.values": values}
    quantities = [*summary.about["quantities"], ACCURACY, *WHOLE.values()]
    missing = dict(summary.about["missing"])
    for quantity, command in ((ACCURACY, "probe"), *((name, "alignment") for name in WHOLE.values())):
        for arm in summary.about["config"]["arms"]:
            missing.setdefault(f"{quantity}.{arm['name']}", f"coupled-analyze {command} was not called for it")
    return replace(
        summary, tensors=tensors, about={**summary.about, "quantities": quantities, "missing": missing, "kept": about}
    )


def _classifier(curves: Iterable[Sequence[AccuracyCurve]], points: Iterable[AlignedAccuracy]) -> str:
    there = {curve.classifier for of_run in curves for curve in of_run if _is_of_all(curve)}
    there |= {point.classifier for point in points if point.shots is None}
    return next((name for name in _CLASSIFIERS if name in there), "")


def _is_of_all(curve: AccuracyCurve) -> bool:
    return (curve.measure, curve.split, curve.feature, curve.shots) == (ACCURACY, "test", "h", None)


def _of_probe(
    run: Run, curves: Sequence[AccuracyCurve], classifier: str
) -> Iterator[tuple[tuple[str, str], tuple[Steps, Array]]]:
    for arm, spec in run.arms.items():
        # Under its own labels alone: other labels make other classes, and another accuracy.
        of_arm = [curve for curve in curves if curve.arm == arm and curve.labelling == spec.labelling]
        its = [curve for curve in of_arm if curve.classifier == classifier and _is_of_all(curve)]
        if its:
            yield (ACCURACY, arm), (its[0].steps, its[0].values)


def _of_accuracy(
    points: Sequence[AlignedAccuracy], classifier: str
) -> Iterator[tuple[tuple[str, str], tuple[Steps, Array]]]:
    chosen = [p for p in points if p.classifier == classifier and p.feature == "h" and p.shots is None]
    for arm in dict.fromkeys(point.arm for point in chosen):
        by_step = {point.step: point.accuracy[0] for point in chosen if point.arm == arm}
        steps = sorted(by_step)
        yield (ACCURACY, arm), (np.array(steps, np.int64), np.array([by_step[step] for step in steps], np.float64))


def _of_alignment(run: Run) -> tuple[Series, list[str]]:
    try:
        curves = read_curves(run, ALIGNMENT) or []
    except UserError as error:
        return {}, [f"{error}."]
    series: Series = {}
    for curve in curves:
        own = curve.measure == "cka" and curve.feature == "h" and curve.reference == run.arms[curve.arm].reference
        increasing = len(curve.steps) > 0 and bool((np.diff(curve.steps) > 0).all())
        if own and curve.split in WHOLE and increasing:
            series.setdefault((WHOLE[curve.split], curve.arm), (curve.steps, curve.values))
    return series, []
