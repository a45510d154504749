"""[record.own.<name>]: what is filled in, and what is refused."""

import tomllib

import own_functions
import pytest
from helpers import tables, tiny

from coupled import register_stream
from coupled.config import digest, fingerprint, from_resolved, from_tables, resolved
from coupled.config.differences import config_facts
from coupled.config.fields import Schedule
from coupled.config.toml import to_toml
from coupled.errors import UserError
from coupled.recording.layout import train_layout
from coupled.streams import known


@pytest.fixture(autouse=True, scope="module")
def _registered():
    own_functions.register()
    yield
    own_functions.withdraw()


def own(**streams):
    return tiny("unused", record={"own": streams})


def test_streams_are_filled_in_and_sorted_by_name():
    config = own(rank={}, norms={"log": 1, "arms": ["nscl", "cl"]}, centres={})
    assert list(config.record.own) == ["centres", "norms", "rank"]
    rank, norms, centres = (config.record.own[name] for name in ("rank", "norms", "centres"))
    assert (rank.schedule, rank.of, rank.shape, rank.dtype) == (Schedule(every=1), "step", (), "float64")
    assert (norms.schedule, norms.arms, norms.shape) == (Schedule(log=1), ("cl", "nscl"), ("layers",))
    assert centres.schedule == config.record.panel and centres.of == "panel"


def test_sizes_of_shapes_are_those_of_the_config():
    config = own(norms={"arms": ["nscl"]}, centres={"every": 2}, odd={})
    layout = train_layout(config)
    layers = layout["layers"]["cl"]["state.norm"].shape
    assert layout["own.norms"] == {"nscl": {"batch.value": layout["own.norms"]["nscl"]["batch.value"]}}
    assert layout["own.norms"]["nscl"]["batch.value"].shape == layers
    assert layout["own.centres"]["cl"]["state.value"].shape == (2, layout["panel"]["cl"]["state.h"].shape[1])
    assert layout["own.odd"]["cl"]["batch.value"].shape == (2, config.batches.size)


def test_they_change_the_digest_and_not_which_training_it_is():
    with_it, without = own(rank={}), own()
    assert digest(with_it) != digest(without) and fingerprint(with_it) == fingerprint(without)
    assert "own" not in resolved(without)["record"]


def test_every_arm_by_name_is_every_arm():
    arms = list(own().arms)
    assert digest(own(rank={"arms": arms[::-1]})) == digest(own(rank={}))


def test_the_resolved_config_is_read_back_from_toml_and_without_the_code():
    config = own(rank={}, norms={"every": 2, "arms": ["nscl"]}, centres={"log": 1})
    again = from_tables(tomllib.loads(to_toml(config)) | {"name": "tiny"})
    assert digest(again) == digest(config)
    own_functions.withdraw()
    assert known() == [] and digest(from_resolved(resolved(config))) == digest(config)
    own_functions.register()


REFUSED = {
    "an unknown one": (
        {"rnak": {}},
        r"unknown stream record\.own\.rnak; .*did you mean record\.own\.rank\?",
    ),
    "no name": ({"a b": {}}, r"'record\.own\.a b' names a stream; at most 64 letters"),
    "no arm": ({"rank": {"arms": []}}, r"own\.rank\.arms = \[\]; at least one arm is needed; leave arms out"),
    "an unknown arm": ({"rank": {"arms": ["ncsl"]}}, r"unknown arm in record\.own\.rank\.arms ncsl.*nscl\?"),
    "another shape": ({"norms": {"shape": [3]}}, r"record\.own\.norms\.shape = \(3,\); it was registered with"),
    "another dtype": ({"rank": {"dtype": "int64"}}, r"dtype = 'int64'; it was registered with 'float64'; remove dtype"),
    "the last state": ({"rank": {"last": True}}, r"rank\.last = true; it only counts with streams of the panel"),
    "an unknown key": ({"rank": {"evry": 1}}, r"unknown key record\.own\.rank\.evry.*every\?"),
    "a number": ({"rank": 3}, r"record\.own = .* tables is needed"),
    "a schedule of words": ({"rank": {"every": "often"}}, r"record\.own\.rank\.every = 'often'; an integer is needed"),
    "a size of zero": ({"norms": {"shape": [0]}}, r"record\.own\.norms\.shape = 0; 1 ≤ value"),
    "a shape of floats": ({"norms": {"shape": [0.5]}}, "an integer or a string is needed"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_mistake_is_one_line(case):
    streams, message = REFUSED[case]
    with pytest.raises(UserError, match=message) as raised:
        own(**streams)
    assert "\n" not in str(raised.value)


def test_a_panels_stream_without_any_schedule_is_refused():
    with pytest.raises(UserError, match=r"record\.own\.centres has no schedule; nor has record\.panel"):
        tiny("unused", record={"panel": {}, "own": {"centres": {}}})


def test_without_any_function_the_line_says_who_registers_them():
    own_functions.withdraw()
    with pytest.raises(UserError, match=r"no file in code\.files registers one; use coupled\.register_stream there"):
        own(rank={})
    own_functions.register()


@pytest.mark.parametrize(
    ("key", "value"),
    [("shape", ["bach"]), ("shape", [-1]), ("dtype", "float16"), ("of", "state"), ("every", None), ("dtype", None)],
)
def test_a_config_of_somebodys_file_is_checked_as_well(key, value):
    facts = resolved(own(rank={}))
    facts["record"]["own"]["rank"][key] = value
    with pytest.raises(UserError, match=rf"record\.own\.rank\.({key}|shape)"):
        from_resolved(facts)


@pytest.mark.parametrize(
    ("registered", "message"),
    [
        ({"name": "a/b"}, "stream name 'a/b'; at most 64 letters"),
        ({"name": "x" * 65}, "at most 64 letters"),
        ({"name": "x", "of": "state"}, "stream x: of = 'state'; one of step, panel"),
        ({"name": "x", "dtype": "bool"}, "stream x: dtype = 'bool'; one of float64, float32, int64"),
        ({"name": "x", "shape": ("bach",)}, "a tuple of integers from 1 and of batch, views, layers"),
        ({"name": "x", "shape": (True,)}, "a tuple of integers from 1"),
        ({"name": "x", "shape": 3}, "shape = 3; a tuple"),
        ({"name": "rank"}, "stream name rank; it is taken; choose another"),
    ],
)
def test_a_registration_that_cannot_be_is_one_line(registered, message):
    with pytest.raises(UserError, match=message):
        register_stream(**registered)
    assert "x" not in known()


def test_a_sweep_may_set_their_schedules():
    from coupled.sweeps.fields import flat

    values = flat({"record": {"own": {"rank": {"every": 5}}}}, "set")
    assert values == {"record.own.rank.every": 5}
    with pytest.raises(UserError, match="unknown field in set"):
        flat({"record.own.rank.evry": 5}, "set")


def test_two_configs_differ_in_a_stream_as_in_one_field():
    a, b = (resolved(own(rank={"every": every}, norms={})) for every in (1, 2))
    (fact,) = config_facts(a, b)
    assert (fact.name, fact.kind) == ("record.own.rank", "recorded")
    assert [*fact.b] == ["every", "dtype", "of"] and (fact.a["every"], fact.b["every"]) == (1, 2)
    (fact,) = config_facts(a, resolved(own(norms={})))
    assert fact.name == "record.own.rank" and fact.b is None


def test_tables_stay_as_they_were():
    given = tables(record={"own": {"rank": {}}})
    from_tables(given)
    assert given["record"]["own"] == {"rank": {}}
