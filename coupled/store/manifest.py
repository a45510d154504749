"""`manifest.jsonl`: the one list of what a run holds. An object without a line does not exist.

A line is one canonical JSON object, a space, the CRC-32 of the JSON bytes as eight lower-case hex digits, a newline.
"""

import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import Any, Final

from coupled.store.canonical import canonical_json, strict_json
from coupled.store.errors import INTACT, Faults, StoreError, naming, one_line
from coupled.store.fs import REAL, FileSystem
from coupled.store.objects import Committed, check_name

MANIFEST: Final = "manifest.jsonl"
MAX_LINE: Final = 2048  # bytes, the newline included
MAX_ENTRIES: Final = 1 << 17  # keeps what a hostile manifest can occupy in memory near 130 MB
_TAIL: Final = len(" 01234567\n")
_MAX_COUNT: Final = (1 << 63) - 1

_RANGE: Final = frozenset({"seq", "kind", "first", "last"})
_OBJECT: Final = _RANGE | {"name", "size", "sha256"}
_FIELDS: Final[Mapping[str, frozenset[str]]] = {
    "begin": _OBJECT,
    "shard": _OBJECT,
    "checkpoint": _OBJECT,
    "drift": _OBJECT,
    "retire": _RANGE | {"name"},
    "finish": _RANGE,
}
RUN_JSON: Final = "run.json"
_FOLDERS: Final = {
    "begin": RUN_JSON, "shard": "records/", "checkpoint": "checkpoints/", "retire": "checkpoints/", "drift": "drift/"
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Entry:
    """One line: the kind of event and the steps [first, last], both included, that it is about.

    begin: run.json, first = last = 0; the first line and no other. shard: a file of records/. checkpoint: a state.json,
    first = last = its step. retire: the checkpoint of that name is superseded; its files are a spare until the next
    checkpoint (no size, no sha256). drift: the facts that had changed when the run was resumed at that step. finish:
    the run is complete, first = 0, last = its last step (no object).
    """

    seq: int
    kind: str
    first: int
    last: int
    name: str | None = None
    size: int | None = None
    sha256: str | None = None

    def __post_init__(self) -> None:
        fault = _fault({key: value for key in sorted(_OBJECT) if (value := getattr(self, key)) is not None})
        if fault:
            raise ValueError(fault)

    def line(self) -> bytes:
        """The line's bytes, newline included."""
        text = canonical_json({key: getattr(self, key) for key in _FIELDS[self.kind]})
        return b"%s %08x\n" % (text, zlib.crc32(text))

    def committed(self) -> Committed:
        """The object of a shard or checkpoint line."""
        assert self.name is not None and self.size is not None and self.sha256 is not None
        return Committed(self.name, self.size, self.sha256)


@dataclass(frozen=True, slots=True)
class Manifest:
    """The committed lines; whether a torn one was dropped; where in the file (bytes) the committed lines end."""

    entries: tuple[Entry, ...]
    torn: bool
    valid_bytes: int

    @property
    def finished(self) -> bool:
        return bool(self.entries) and self.entries[-1].kind == "finish"


class ManifestWriter:
    """Appends durable lines to a manifest that ends in a whole line. Not for use by two threads at a time."""

    def __init__(self, fs: FileSystem, path: Path, next_seq: int = 0) -> None:
        self._fs = fs
        self._path = path
        self._next = next_seq
        self._closed = ""

    def append(self, kind: str, first: int, last: int, of: Committed | str | None = None) -> Entry:
        """Commits one line about an object, a retired checkpoint's name, or nothing. Raises StoreError.

        After a failed append the end of the file is unknown, and every further append is refused.
        """
        if self._closed or self._next >= MAX_ENTRIES:
            raise StoreError(self._path, self._closed or f"full: {MAX_ENTRIES} lines; use longer shards")
        if isinstance(of, Committed):
            entry = Entry(self._next, kind, first, last, of.name, of.size, of.sha256)
        else:
            entry = Entry(self._next, kind, first, last, of)
        self._closed = "closed by a failed write; a resume mends it"
        with naming(self._path, INTACT):
            self._fs.append(self._path, entry.line(), "manifest")
        self._closed = "the run is finished" if kind == "finish" else ""
        self._next += 1
        return entry


def read_manifest(path: Path, fs: FileSystem = REAL, faults: Faults | None = None) -> Manifest:
    """Reads and checks every line; the file is untrusted.

    A bad last line is an append that was cut short: dropped and reported as `torn`. A bad line before the last, a
    sequence other than 0, 1, 2, …, an object named twice or a line after "finish" is StoreError; with `faults`, which
    takes it, a line that is bad is left out, and one is believed behind others that are lost.
    """
    entries: list[Entry] = []
    names: set[str] = set()
    valid = number = 0
    with naming(path), BufferedReader(fs.reader(path)) as file:
        while line := file.readline(MAX_LINE + 1):
            number += 1
            try:
                entry = parse_line(line)
                if faults is not None and entry.seq >= number:
                    faults.add(StoreError(path, f"line {number}: seq is {entry.seq}, expected {number - 1}"), "line")
                    number = entry.seq + 1
                _check_place(number, entry, entries, names)
            except _PlaceError as error:
                _refuse(path, number, error, faults)
            except ValueError as error:
                if len(line) <= MAX_LINE and not file.peek(1):
                    return Manifest(tuple(entries), True, valid)
                _refuse(path, number, error, faults)
            else:
                entries.append(entry)
                valid += len(line)
    return Manifest(tuple(entries), False, valid)


class _PlaceError(ValueError):
    """A whole line that stands where it cannot."""


def _refuse(path: Path, number: int, why: ValueError, faults: Faults | None) -> None:
    error = StoreError(path, f"line {number}: {why}")
    if faults is None:
        raise error from None
    faults.add(error, "line")


def parse_line(line: bytes) -> Entry:
    """The entry of one line, newline included. Raises ValueError unless it is whole, as `Entry.line` writes it."""
    text, tail = line[:-_TAIL], line[-_TAIL:]
    if len(line) > MAX_LINE:
        raise ValueError(f"longer than {MAX_LINE} bytes")
    if tail != b" %08x\n" % zlib.crc32(text):
        raise ValueError("damaged: it does not end in the CRC-32 of its text")
    parsed = strict_json(text)
    if not isinstance(parsed, dict):
        raise ValueError("not a JSON object")
    fault = _fault(parsed)
    if fault:
        raise ValueError(fault)
    if canonical_json(parsed) != text:
        raise ValueError("its JSON is not canonical")
    return Entry(**parsed)


def _check_place(number: int, entry: Entry, before: list[Entry], names: set[str]) -> None:
    """_PlaceError unless a line, the `number`-th, can stand behind those before it; takes in its name."""
    if entry.seq != number - 1:
        raise _PlaceError(f"seq is {entry.seq}, expected {number - 1}")
    if entry.seq >= MAX_ENTRIES:
        raise _PlaceError(f"more than {MAX_ENTRIES} lines")
    if (entry.kind == "begin") != (number == 1):
        raise _PlaceError(f"a manifest begins with the line of {RUN_JSON}, which stands nowhere else")
    if before and before[-1].kind == "finish":
        raise _PlaceError("a line after the one that finished the run")
    if entry.name is not None and (entry.name in names) != (entry.kind == "retire"):
        state = "was never committed or is retired already" if entry.kind == "retire" else "is committed twice"
        raise _PlaceError(f"{one_line(entry.name)} {state}")
    if entry.name is not None:
        (names.remove if entry.kind == "retire" else names.add)(entry.name)


def _fault(fields: Mapping[str, Any]) -> str:
    """What is wrong with the fields of a line; "" if nothing is."""
    kind, name = fields.get("kind"), fields.get("name")
    if not isinstance(kind, str) or kind not in _FIELDS:
        return f"the kind is not one of {', '.join(_FIELDS)}"
    if fields.keys() != _FIELDS[kind]:
        return f"a {kind} line holds {', '.join(sorted(_FIELDS[kind]))} and nothing else"
    counts = [fields[key] for key in ("seq", "first", "last", "size") if key in fields]
    if not all(type(count) is int and 0 <= count <= _MAX_COUNT for count in counts):
        return "seq, first, last and size are counts"
    if fields["first"] > fields["last"]:
        return f"the steps end ({fields['last']}) before they start ({fields['first']})"
    if "sha256" in fields and not (
        isinstance(fields["sha256"], str) and re.fullmatch("[0-9a-f]{64}", fields["sha256"])
    ):
        return "sha256 is not 64 hex digits"
    if name is None:
        return ""
    if not isinstance(name, str) or not name.startswith(_FOLDERS[kind]):
        return f"the name of a {kind} starts with {_FOLDERS[kind]}"
    if kind == "begin" and name != RUN_JSON:
        return f"a run begins with {RUN_JSON}"
    try:
        check_name(name)
    except StoreError as error:
        return str(error)
    return ""
