"""How two run.json differ, field by field."""

from collections.abc import Iterator, Mapping
from typing import Any

from coupled.config.differences import Fact, config_facts
from coupled.drift import changes, environment


def facts_differing(a: Mapping[str, Any], b: Mapping[str, Any]) -> Iterator[Fact]:
    """Config fields first, in their order, then seed and initial weights, data, versions and machine."""
    yield from config_facts(a["config"], b["config"])
    for change in changes(environment(a), environment(b)):
        yield Fact(change.name, change.name.partition(".")[0], change.then, change.now)
