"""How two run.json differ, field by field."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from coupled.config.differences import Fact, config_facts
from coupled.reading.environment import DATA_RANKS, changes, environment
from coupled.reading.log import last_ranks
from coupled.store import Manifest


def facts_differing(a: Mapping[str, Any], b: Mapping[str, Any]) -> Iterator[Fact]:
    """Config fields first, in their order, then seed and initial weights, data, versions and machine."""
    if a["schema"] != b["schema"]:
        yield Fact("format", "format", a["schema"], b["schema"])
    yield from config_facts(a["config"], b["config"])
    for change in changes(environment(a), environment(b)):
        yield Fact(change.name, change.name.partition(".")[0], change.then, change.now)


def ranks_of(a: Path, b: Path) -> Iterator[Fact]:
    """Over how many ranks batches were split, by the runs' logs: with other numbers floats agree to rounding only."""
    one, other = (last_ranks(path)[1] for path in (a, b))
    if one != other:
        yield Fact(DATA_RANKS, "elastic", one, other)


def drifts_of(a: Manifest, b: Manifest) -> Iterator[Fact]:
    """The steps from which the runs went on under other conditions, where these are not the same."""
    one, other = ([entry for entry in manifest.entries if entry.kind == "drift"] for manifest in (a, b))
    if [(entry.first, entry.sha256) for entry in one] != [(entry.first, entry.sha256) for entry in other]:
        steps = [[entry.first for entry in side] or None for side in (one, other)]
        yield Fact("other conditions from step", "drift", *steps)
