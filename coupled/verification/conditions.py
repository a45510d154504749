"""What a run was made under, where that is not what is here or did not stay the same: said, not judged."""

from itertools import pairwise

from coupled.reading import environment
from coupled.store import Manifest
from coupled.verification.rebuilt import Rebuilt, Words


def elsewhere(here: Rebuilt) -> Words:
    """Whether the same bytes are promised here at all."""
    found = here.conditions(0)
    return [], [f"floats here: the run was made under other conditions, so they may differ: {found}"] if found else []


def continued(here: Rebuilt, manifest: Manifest) -> Words:
    """The steps at which the run went on under other conditions than before (--allow-drift), and which."""
    entries = [entry for entry in manifest.entries if entry.kind == "drift"]
    environments = [
        environment.environment(here.facts),
        *(environment.read_drift(here.path, entry) for entry in entries),
    ]
    said = []
    for entry, (then, now) in zip(entries, pairwise(environments), strict=True):
        found = environment.changes(then, now)
        # Two lines of one step: a resume that was itself resumed.
        what = "; ".join(map(str, found)) or "the same conditions"
        said.append(f"one set of conditions: from step {entry.first} on the run was continued under others: {what}")
    return [], said
