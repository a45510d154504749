"""What a run was made under, where that is not what is here or did not stay the same: said, not judged."""

from itertools import pairwise
from pathlib import Path

from coupled.reading import environment
from coupled.store import Faults, Manifest
from coupled.verification.rebuilt import Findings, Rebuilt


def check_drifts(path: Path, manifest: Manifest, faults: Faults) -> None:
    """Can every record of drift be read?"""
    for entry in manifest.entries:
        if entry.kind == "drift":
            with faults.noted():
                environment.read_drift(path, entry)


def elsewhere(rebuilt: Rebuilt) -> Findings:
    """Whether the same bytes are promised here at all."""
    conditions = rebuilt.conditions(0)
    sentence = f"floats here: the run was made under other conditions, so they may differ: {conditions}"
    return Findings(unproven=[sentence] if conditions else [])


def continued(rebuilt: Rebuilt, manifest: Manifest) -> Findings:
    """The steps at which the run went on under other conditions than before (--allow-drift), and which."""
    entries = [entry for entry in manifest.entries if entry.kind == "drift"]
    environments = [
        environment.environment(rebuilt.facts),
        *(environment.read_drift(rebuilt.path, entry) for entry in entries),
    ]
    sentences = []
    for entry, (then, now) in zip(entries, pairwise(environments), strict=True):
        # Two lines of one step: a resume that was itself resumed.
        others = "; ".join(map(str, environment.changes(then, now))) or "the same conditions"
        sentences.append(
            f"one set of conditions: from step {entry.first} on the run was continued under others: {others}"
        )
    return Findings(unproven=sentences)
