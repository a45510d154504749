"""Streams of a user's own by the config: what their functions were registered as, and when they record."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from coupled import streams
from coupled.config.fields import Schedule
from coupled.config.resolved import Config
from coupled.config.schema_stream import OwnStream
from coupled.errors import UserError, unknown
from coupled.userfiles import NAMES, is_name

# How the names of their streams begin in records; the others have no such sign in theirs.
PREFIX: Final = "own."


def stream_name(name: str) -> str:
    """The stream of [record.own.<name>]."""
    return f"{PREFIX}{name}"


def own_stream(config: Config, stream: str) -> OwnStream | None:
    """What the config says of a stream of one's own; None for any other."""
    return config.record.own.get(stream.removeprefix(PREFIX)) if stream.startswith(PREFIX) else None


def resolve_own(
    own: Mapping[str, OwnStream], arms: Mapping[str, Any], panel: Schedule, *, elsewhere: bool = False
) -> dict[str, OwnStream]:
    """Every stream of [record.own] that records at any step, filled in, by name. UserError where one does not fit.

    `panel`: the schedule of record.panel. `elsewhere`: they were resolved before, and their functions may not be here.
    """
    resolved = {name: _resolved(name, own[name], arms, panel, elsewhere) for name in sorted(own)}
    return {name: stream for name, stream in resolved.items() if stream.schedule != Schedule()}


def _resolved(name: str, given: OwnStream, arms: Mapping[str, Any], panel: Schedule, elsewhere: bool) -> OwnStream:
    where = f"record.own.{name}"
    _check_name(name, where)
    stream = _as_filled_in(given, where) if elsewhere else _as_registered(name, given, where)
    for arm in stream.arms:
        if arm not in arms:
            raise unknown(f"arm in {where}.arms", arm, arms)
    named = tuple(arm for arm in arms if arm in stream.arms)
    stream = replace(stream, arms=() if len(named) == len(arms) else named)
    if stream.every is None:
        stream = _by_default(stream, panel, where)
    if stream.last and stream.of == "step":
        raise UserError(f"{where}.last = true", "it only counts with streams of the panel: the last state has no batch")
    return stream


def refuse_no_arms(raw: Mapping[str, Any]) -> None:
    """UserError where a table of [record.own] names no arm. Resolution writes so for all of them, and fills in `of`."""
    record = raw.get("record")
    own = record.get("own") if isinstance(record, Mapping) else None
    for name, table in own.items() if isinstance(own, Mapping) else ():
        if isinstance(table, Mapping) and table.get("arms") in ([], ()) and "of" not in table:
            raise UserError(
                f"record.own.{name}.arms = []",
                "at least one arm is needed",
                f"leave arms out for all of them, or set record.own.{name}.every = 0 for none",
            )


def _check_name(name: str, where: str) -> None:
    if not is_name(name):
        raise UserError(f"{where!a} names a stream", NAMES)


def _as_registered(name: str, given: OwnStream, where: str) -> OwnStream:
    known = streams.registered(name)
    if known is None:
        error = unknown("stream", name, streams.known(), "record.own.") if streams.known() else None
        raise error or UserError(
            f"unknown stream {where}", "no file in code.files registers one", "use coupled.register_stream there"
        )
    facts: dict[str, Any] = {"of": known.of, "shape": known.shape, "dtype": known.dtype}
    for key, value in facts.items():
        if getattr(given, key) not in (None, (), value):
            raise UserError(
                f"{where}.{key} = {getattr(given, key)!a}", f"it was registered with {value!a}", f"remove {key}"
            )
    return replace(given, **facts)


def _as_filled_in(given: OwnStream, where: str) -> OwnStream:
    """A stream that resolution filled in before, as somebody's file has it."""
    for key in ("of", "dtype", "every"):
        if getattr(given, key) is None:
            raise UserError(f"{where}.{key} is missing", "a resolved config names it")
    streams.check_shape(given.shape, f"{where}.")
    return given


def _by_default(stream: OwnStream, panel: Schedule, where: str) -> OwnStream:
    """With a number for `every`; where nothing else is written either, the default schedule."""
    if replace(stream, every=0).schedule != Schedule():
        return replace(stream, every=0)
    if stream.of == "step":
        return replace(stream, every=1)
    if panel == Schedule():
        raise UserError(f"{where} has no schedule", "nor has record.panel, its default", "give it one, such as every")
    return replace(stream, every=panel.every, log=panel.log, steps=panel.steps, last=panel.last)
