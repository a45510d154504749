import json
import zlib

import pytest

from coupled.store import (
    Committed,
    Entry,
    ManifestWriter,
    StoreError,
    canonical_json,
    read_manifest,
    shard_name,
)

SHA = "0123456789abcdef" * 4


def fields(seq, first=0):
    name = f"records/{seq}"
    return {"seq": seq, "kind": "shard", "first": first, "last": first, "name": name, "size": 1, "sha256": SHA}


def shard(seq, first=0, **changes):
    return Entry(**{**fields(seq, first), **changes})


BEGIN = Entry(0, "begin", 0, 0, "run.json", 10, SHA)
ENTRIES = (
    BEGIN,
    Entry(1, "checkpoint", 7, 7, "checkpoints/a/state.json", 12, SHA),
    shard(2, 8),
    Entry(3, "retire", 7, 7, "checkpoints/a/state.json"),
    Entry(4, "drift", 7, 7, "drift/a.json", 12, SHA),
    Entry(5, "finish", 0, 9),
)
WHOLE = b"".join(entry.line() for entry in ENTRIES)


@pytest.fixture
def manifest(tmp_path):
    def read(data):
        (tmp_path / "manifest.jsonl").unlink(missing_ok=True)  # cutting a file to rewrite it waits for the disk
        (tmp_path / "manifest.jsonl").write_bytes(data)
        return read_manifest(tmp_path / "manifest.jsonl")

    return read


def line_of(text):
    return text + b" %08x\n" % zlib.crc32(text)


def test_a_line_is_golden():
    entry = Entry(3, "shard", 0, 9, shard_name("similarity", "cl", 0, 9), 123, SHA)
    text = (
        '{"first":0,"kind":"shard","last":9,"name":"records/similarity/cl/steps-000000000-000000009.safetensors",'
        f'"seq":3,"sha256":"{SHA}","size":123}}'
    )
    assert entry.line() == line_of(text.encode())
    assert Entry(4, "finish", 0, 9).line() == b'{"first":0,"kind":"finish","last":9,"seq":4} a5bf07c2\n'


def test_the_lines_read_back(manifest):
    result = manifest(WHOLE)
    assert result.entries == ENTRIES and not result.torn and result.finished and result.valid_bytes == len(WHOLE)


def test_the_writer_counts_and_the_reader_agrees(tmp_path, watched):
    fs, path = watched(), tmp_path / "run"
    path.touch()
    writer = ManifestWriter(fs, path)
    written = [writer.append("begin", 0, 0, Committed("run.json", 3, SHA)), writer.append("finish", 0, 4)]
    assert read_manifest(path).entries == tuple(written)
    assert fs.acts == ["write .", "sync ."] * 2
    with pytest.raises(StoreError, match="finished"):
        writer.append("finish", 0, 4)


def test_a_failed_append_closes_the_writer(tmp_path, watched):
    (tmp_path / "run").touch()
    writer = ManifestWriter(watched(fail_at=1), tmp_path / "run")
    for reason in ("Input/output error; everything committed", "closed by a failed write"):
        with pytest.raises(StoreError, match=reason):
            writer.append("finish", 0, 4)


def test_every_cut_of_the_last_line_is_torn_and_only_that_line_is_dropped(manifest):
    start = len(WHOLE) - len(ENTRIES[-1].line())
    for end in range(start + 1, len(WHOLE)):
        result = manifest(WHOLE[:end])
        assert result.torn and result.entries == ENTRIES[:-1] and result.valid_bytes == start


@pytest.mark.parametrize("tail", [b"\0" * 512, b"\n", b"{}\n", b"\xff", line_of(b"[]"), line_of(b"{}")], ids=repr)
def test_garbage_at_the_tail_is_torn(manifest, tail):
    result = manifest(WHOLE + tail)
    assert result.torn and result.entries == ENTRIES


def test_an_empty_manifest_holds_nothing(manifest):
    assert manifest(b"").entries == () and not manifest(b"").torn and not manifest(b"").finished


def test_every_single_byte_flip_is_detected(manifest):
    last = len(WHOLE) - len(ENTRIES[-1].line()) - 1  # a flip from the newline before the last line on tears the tail
    for place in range(len(WHOLE)):
        for flip in (1, 0x20, 0x80, WHOLE[place] ^ 10, WHOLE[place]):
            if not flip:
                continue
            damaged = bytearray(WHOLE)
            damaged[place] ^= flip
            if place < last:
                with pytest.raises(StoreError, match=r"manifest.jsonl: line \d"):
                    manifest(bytes(damaged))
            else:
                try:
                    assert manifest(bytes(damaged)).torn
                except StoreError:
                    assert flip == WHOLE[place] ^ 10  # the newline that was put in made two bad lines


def test_a_bad_line_in_the_middle_is_named(manifest):
    lines = WHOLE.splitlines(keepends=True)
    with pytest.raises(StoreError, match=r"line 3: damaged"):
        manifest(b"".join([*lines[:2], lines[2][5:], *lines[3:]]))


@pytest.mark.parametrize(
    ("entries", "reason"),
    [
        ([shard(1)], "line 1: seq is 1, expected 0"),
        ([BEGIN, shard(0)], "line 2: seq is 0, expected 1"),
        ([BEGIN, shard(2)], "line 2: seq is 2, expected 1"),
        ([BEGIN, shard(1), shard(2, name="records/1")], "line 3: records/1 is committed twice"),
        ([BEGIN, Entry(1, "retire", 1, 1, "checkpoints/a/state.json")], "line 2: .* never committed"),
        ([BEGIN, Entry(1, "finish", 0, 1), shard(2)], "line 3: a line after the one that finished"),
        ([shard(0)], "line 1: a manifest begins with the line of run.json"),
        ([BEGIN, Entry(1, "begin", 0, 0, "run.json", 10, SHA)], "line 2: a manifest begins with"),
    ],
)
def test_a_whole_line_in_the_wrong_place_is_refused_even_at_the_tail(manifest, entries, reason):
    with pytest.raises(StoreError, match=reason):
        manifest(b"".join(entry.line() for entry in entries))


@pytest.mark.parametrize(
    "changes",
    [
        {"kind": "shards"}, {"seq": -1}, {"seq": True}, {"seq": 1.0}, {"size": -1}, {"size": 1 << 63}, {"first": 2},
        {"sha256": SHA.upper()}, {"sha256": SHA + "\n"}, {"sha256": None}, {"name": None}, {"name": "run.json"},
        {"name": "records/../x"}, {"name": "checkpoints/x"}, {"kind": "finish"}, {"kind": ["shard"]},
    ],
    ids=str,
)  # fmt: skip
def test_no_entry_can_be_made_or_read_with_a_bad_field(manifest, changes):
    with pytest.raises(ValueError):
        Entry(**{**fields(0), **changes})
    with pytest.raises(StoreError, match="line 1: "):
        manifest(line_of(canonical_json({**fields(0), **changes})) + shard(1).line())


def test_a_line_that_is_not_canonical_or_is_too_long_is_refused(manifest):
    spaced = json.dumps(fields(0)).encode()
    with pytest.raises(StoreError, match=r"line 1: .*canonical"):
        manifest(line_of(spaced) + shard(1).line())
    for length in (2049, 5000):
        with pytest.raises(StoreError, match="line 1: longer than 2048 bytes"):
            manifest(b"x" * length)
