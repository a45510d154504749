"""What a run that is watched does, in words: state, steps, speed, time left, the last event."""

import time
from collections.abc import Mapping
from typing import Any, Final

from analysis.watch.following import Following
from coupled.errors import printable
from coupled.store.errors import one_line
from coupled.terminal.shell import shell
from coupled.terminal.sizes import duration

_LONGEST: Final = 240  # characters of an event


def facts_of(following: Following) -> list[tuple[str, str]]:
    """Names and values for the head of the page."""
    run, live = following.run, following.live if following.state == "running" else None
    committed = "nothing yet" if run.steps is None else f"to step {run.steps:,}"
    facts = [("steps", f"{following.done:,} of {run.planned_steps:,}"), ("committed", committed)]
    if following.state == "running":
        rate = f"{live.rate:.3g} steps/s" if live is not None and live.rate > 0 else "–"
        facts += [("speed", rate), ("time left", duration(None if live is None else live.left))]
    return [*facts, ("last event", _event_in_words(following.event))]


def words_of(following: Following) -> str:
    """One sentence under the title."""
    if following.state == "finished":
        return f"Finished. coupled-analyze report {shell(following.path)} makes the page that stays."
    if following.state == "running":
        return "Running. Points after the last checkpoint are what the run says; the next checkpoint commits them."
    return f"Not running, and not finished. To go on: coupled-run resume {shell(following.path)}"


def _event_in_words(event: Mapping[str, Any] | None) -> str:
    if event is None:
        return "–"
    said = next((event[key] for key in ("reason", "warning", "note", "signal") if isinstance(event.get(key), str)), "")
    step = f" at step {event['step']:,}" if type(event.get("step")) is int else ""
    when = f", {_clock(event['time'])}" if isinstance(event.get("time"), float) else ""
    words = one_line(f"{event['event']}{step}{f': {said}' if said else ''}")
    return f"{words[: _LONGEST - 1]}…{when}" if len(words) > _LONGEST else f"{words}{when}"


def _clock(seconds: Any) -> str:
    try:
        return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))
    except (OverflowError, ValueError, OSError):
        return "at an unknown time"


def title_of(following: Following) -> str:
    """The run's name, for people."""
    return printable(following.run.name)
