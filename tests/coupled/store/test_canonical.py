import hashlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coupled.store import canonical_json, digest
from coupled.store.canonical import strict_json

LEAVES = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text("aé\n😀")
)
VALUES = st.recursive(LEAVES, lambda inner: st.lists(inner) | st.dictionaries(st.text("aé"), inner), max_leaves=8)


@given(VALUES)
def test_canonical_json_reads_back_as_the_value(value):
    assert json.loads(canonical_json(value)) == value


def test_canonical_json_is_golden():
    value = {"b": (1, 1.0, 1e-7, True, None), "a": {"é": "\n", "Z": -0.0}}
    assert canonical_json(value).decode() == '{"a":{"Z":-0.0,"é":"\\n"},"b":[1,1.0,1e-07,true,null]}'


def test_the_digest_is_the_sha256_of_the_canonical_bytes_whatever_the_key_order():
    assert digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1}) == hashlib.sha256(b'{"a":1,"b":2}').hexdigest()


@pytest.mark.parametrize("value", [float("nan"), [float("inf")], {"a": -float("inf")}, "\ud800"])
def test_what_json_cannot_say_is_a_value_error(value):
    with pytest.raises(ValueError):
        canonical_json(value)


@pytest.mark.parametrize("value", [{1: 2}, [{None: 1}], {"a": object()}, {"a": {1, 2}}])
def test_keys_that_are_not_strings_and_foreign_types_are_a_type_error(value):
    with pytest.raises(TypeError):
        canonical_json(value)


@pytest.mark.parametrize("text", [b'{"a":1,"a":2}', b"NaN", b"[-Infinity]", b"\xff", b"[" * 100_000, b"9" * 5000, b""])
def test_strict_json_refuses_what_readers_disagree_on(text):
    with pytest.raises(ValueError):
        strict_json(text)
