import json
import os
import struct
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import load

from coupled.store import StoreError, open_tensors, read_header, to_bytes

CODES = ["f8", "f4", "f2", "i8", "i4", "i2", "i1", "u8", "u4", "u2", "u1", "?"]
SAME_FILE = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150, deadline=None)


def file_of(header, payload=b""):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + payload


def tensor(dtype="F32", shape=(1,), offsets=(0, 4)):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


@pytest.mark.parametrize("code", CODES)
@pytest.mark.parametrize("shape", [(), (0,), (3, 0, 2), (5,), (2, 3)], ids=str)
def test_arrays_come_back_as_they_were(tmp_path, code, shape):
    array = (np.arange(np.prod(shape)).reshape(shape) % 2).astype(code)
    (tmp_path / "f").write_bytes(to_bytes({"x": array, "y": np.ones(3)}, {"a": [1, "é"]}))
    file = open_tensors(tmp_path / "f")
    assert list(file) == sorted(file, key=lambda n: file.header.tensors[n].start)
    assert file.metadata == {"a": [1, "é"]}
    assert file["x"].dtype == array.dtype and file["x"].shape == shape
    assert file["x"].tobytes() == array.tobytes()


def test_the_files_are_safetensors(tmp_path):
    data = to_bytes({"b": np.arange(3.0), "a": np.int8(1).reshape(())}, {})
    assert {k: v.tolist() for k, v in load(data).items()} == {"a": 1, "b": [0, 1, 2]}


def test_memory_layout_and_byte_order_do_not_reach_the_file():
    plain = np.arange(6.0).reshape(2, 3)
    written = to_bytes({"x": plain}, {})
    for other in (np.asfortranarray(plain), plain.astype(">f8"), np.repeat(plain, 2, axis=1)[:, ::2]):
        assert to_bytes({"x": other}, {}) == written


def test_bytes_do_not_depend_on_insertion_order_or_on_the_hash_seed():
    code = (
        "import sys, numpy as np; from coupled.store import to_bytes;"
        "names = list({f'n{i}' for i in range(20)});"
        "t = {n: np.arange(int(n[1:]), dtype=('f4', 'i8')[len(n) % 2]) for n in names};"
        "sys.stdout.buffer.write(to_bytes(t, {n: [n] for n in names}))"
    )
    files = {
        subprocess.run(
            [sys.executable, "-c", code], env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True, check=True
        ).stdout
        for seed in ("0", "1", "2", "3")
    }
    assert len(files) == 1 and len(files.pop()) > 1000


def test_mapped_arrays_are_read_only_and_hold_no_open_file(tmp_path):
    (tmp_path / "f").write_bytes(to_bytes({"x": np.arange(3.0)}, {}))
    file = open_tensors(tmp_path / "f")
    with pytest.raises(ValueError, match="read-only"):
        file["x"][0] = 1
    (tmp_path / "f").write_bytes(to_bytes({"x": np.arange(2.0)}, {}))
    with pytest.raises(StoreError, match="size changed"):
        file["x"]


def test_bf16_is_read_as_its_bit_patterns(tmp_path):
    (tmp_path / "f").write_bytes(file_of({"x": tensor("BF16", (2,), (0, 4))}, b"\x80\x3f\x00\xc0"))
    assert open_tensors(tmp_path / "f")["x"].tolist() == [0x3F80, 0xC000]


@pytest.mark.parametrize(
    ("tensors", "metadata", "error"),
    [
        ({"x": np.zeros(1, complex)}, {}, TypeError),
        ({"x": np.array(["a"])}, {}, TypeError),
        ({"__metadata__": np.zeros(1)}, {}, ValueError),
        ({}, {"a": float("nan")}, ValueError),
        ({}, {"a": "x" * (1 << 20)}, ValueError),
    ],
    ids=["complex", "text", "reserved name", "nan", "long metadata"],
)
def test_what_could_not_be_read_back_is_not_written(tensors, metadata, error):
    with pytest.raises(error):
        to_bytes(tensors, metadata)


HUGE = 1 << 62
HOSTILE = {
    "empty file": (b"", "cut short"),
    "half a length": (b"\x01\0\0", "cut short"),
    "huge header": (struct.pack("<Q", (1 << 64) - 1), "header of 18446744073709551615 bytes"),
    "header just too long": (struct.pack("<Q", (1 << 20) + 1) + b" " * 10, "1048576 allowed"),
    "header cut": (struct.pack("<Q", 100) + b"{}", "cut short"),
    "no header": (file_of(b""), "not a safetensors"),
    "not json": (file_of(b"{"), "not a safetensors"),
    "not utf-8": (file_of(b'{"\xff":1}'), "not a safetensors"),
    "nested deeply": (file_of(b"[" * 500_000), "nested too deeply"),
    "nested in a field": (file_of(b'{"x":' + b"[" * 900 + b"]" * 900 + b"}"), "not described"),
    "a list": (file_of([]), "not a JSON object"),
    "twice the same name": (file_of(b'{"x":1,"x":2}'), "twice"),
    "entry not an object": (file_of({"x": 1}), "not described"),
    "field too many": (file_of({"x": {**tensor(), "more": 1}}, bytes(4)), "not described"),
    "unknown dtype": (file_of({"x": tensor("F4")}, bytes(4)), "unknown dtype"),
    "dtype not text": (file_of({"x": tensor(["F32"])}, bytes(4)), "unknown dtype"),
    "negative shape": (file_of({"x": tensor(shape=(-1, -1))}, bytes(4)), "shape"),
    "fractional shape": (file_of({"x": tensor(shape=(1.0,))}, bytes(4)), "shape"),
    "boolean shape": (file_of({"x": tensor(shape=(True,))}, bytes(4)), "shape"),
    "shape past 64 bits": (file_of({"x": tensor(shape=(1 << 64,))}, bytes(4)), "shape"),
    "shape overflows to 0": (file_of({"x": tensor(shape=(HUGE, 4), offsets=(0, 0))}), "larger than any file"),
    "huge and empty": (file_of({"x": tensor(shape=(0, HUGE, 4), offsets=(0, 0))}), "larger than any file"),
    "many axes": (file_of({"x": tensor(shape=(1,) * 65)}, bytes(4)), "shape"),
    "very many axes": (file_of({"x": tensor(shape=(9,) * 300_000)}, bytes(4)), "shape"),
    "shape needs more": (file_of({"x": tensor(shape=(2,))}, bytes(4)), "needs 8 bytes"),
    "offsets backwards": (file_of({"x": tensor(offsets=(4, 0))}, bytes(4)), "needs 4 bytes"),
    "negative offset": (file_of({"x": tensor(offsets=(-4, 0))}, bytes(4)), "two positions"),
    "three offsets": (file_of({"x": tensor(offsets=(0, 4, 8))}, bytes(8)), "two positions"),
    "overlap": (file_of({"x": tensor(), "y": tensor()}, bytes(8)), "starts at byte"),
    "gap": (file_of({"x": tensor(), "y": tensor(offsets=(8, 12))}, bytes(12)), "starts at byte"),
    "payload cut": (file_of({"x": tensor()}, bytes(3)), "the file at"),
    "payload too long": (file_of({"x": tensor()}, bytes(5)), "the file at"),
    "metadata not an object": (file_of({"__metadata__": 1}), "__metadata__"),
    "two metadata keys": (file_of({"__metadata__": {"coupled": "{}", "format": "pt"}}), "__metadata__"),
    "metadata not text": (file_of({"__metadata__": {"coupled": {}}}), "__metadata__"),
    "metadata not json": (file_of({"__metadata__": {"coupled": "{"}}), "not a safetensors"),
    "metadata a list": (file_of({"__metadata__": {"coupled": "[]"}}), "not a JSON object"),
    "escape codes in a name": (file_of({"\x1b[2J\n": 1}), "not described"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_file_is_refused_in_one_line_with_file_and_reason(tmp_path, case):
    data, reason = HOSTILE[case]
    (tmp_path / "f").write_bytes(data)
    with pytest.raises(StoreError, match=reason) as refused:
        read_header(tmp_path / "f")
    assert str(refused.value).startswith(str(tmp_path / "f")) and str(refused.value).isprintable()


def test_what_is_not_a_regular_file_is_refused_and_does_not_block(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "f").write_bytes(to_bytes({}, {}))
    (tmp_path / "link").symlink_to(tmp_path / "f")
    for name in ("pipe", "link", ".", "missing"):
        with pytest.raises(StoreError):
            read_header(tmp_path / name)


@SAME_FILE
@given(cut=st.integers(0, 10**6), flips=st.lists(st.tuples(st.integers(0, 10**6), st.integers(1, 255)), max_size=4))
def test_damaged_files_read_consistently_or_raise_store_error(tmp_path, cut, flips):
    data = bytearray(to_bytes({"x": np.arange(6.0).reshape(2, 3), "y": np.zeros((0, 2), "i4")}, {"a": 1}))
    for place, flip in flips:
        data[place % len(data)] ^= flip
    (tmp_path / "f").unlink(missing_ok=True)
    (tmp_path / "f").write_bytes(data[: len(data) - (cut % len(data) if cut % 2 else 0)])
    try:
        file = open_tensors(tmp_path / "f")
        assert all(array.nbytes <= len(data) for array in file.values())
    except StoreError:
        pass


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.sampled_from(["F32", "I8", "{}", "é"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["coupled", "x"]), inner, max_size=2),
    max_leaves=4,
)
ENTRY = st.fixed_dictionaries({"dtype": JUNK, "shape": JUNK | st.just([1]), "data_offsets": JUNK | st.just([0, 4])})


@SAME_FILE
@given(st.dictionaries(st.sampled_from(["__metadata__", "x", "y"]), ENTRY | JUNK, max_size=3), st.binary(max_size=8))
def test_any_header_reads_consistently_or_raises_store_error(tmp_path, header, payload):
    (tmp_path / "f").unlink(missing_ok=True)
    (tmp_path / "f").write_bytes(file_of(header, payload))
    try:
        file = open_tensors(tmp_path / "f")
        assert sum(array.nbytes for array in file.values()) == len(payload)
    except StoreError:
        pass


def test_malformed_input_takes_less_than_256_megabytes(tmp_path):
    million = 1 << 20
    cut = json.dumps({f"{i:x}": tensor(offsets=(0, 0), shape=(0,)) for i in range(15_000)}).encode()[:-1]
    lists = [b"[" + item * ((million - 9) // len(item)) + item[:-1] + b"]" for item in (b"{},", b"0,", b"[[]],")]
    for number, text in enumerate([b"[" * million, cut, *lists]):
        (tmp_path / f"tensors-{number}").write_bytes(file_of(text[:million]))
    for name, start in (("tensors-long", b"\xff" * 8), ("tensors-hole", file_of({"x": tensor()})), ("lines", b"{")):
        with (tmp_path / name).open("wb") as file:
            file.write(start)
            file.truncate(4 << 30)
    code = (
        "import re, sys; from pathlib import Path; from coupled.store import *\n"
        "for path in sorted(Path(sys.argv[1]).iterdir()):\n"
        "    try: (read_manifest if path.name == 'lines' else open_tensors)(path); print('accepted', path)\n"
        "    except StoreError: pass\n"
        "print(re.search(r'VmHWM:\\s+(\\d+)', Path('/proc/self/status').read_text())[1])"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True)
    assert "accepted" not in done.stdout and int(done.stdout) < 256 << 10
