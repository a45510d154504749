"""Tables of curves come back as they went, and what is none of ours is one line."""

import numpy as np
import pytest
from helpers import tiny

import analysis
from analysis.output.csv import write_csv
from analysis.output.read_back import read_curves
from analysis.runs.curve import Band, Curve
from coupled.driver.train import train
from coupled.errors import UserError

FACTS = ("measure", "arm", "reference", "n", "d", "feature", "source", "split", "labelling", "kind", "bound", "flags")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return analysis.open_run(train(tiny(tmp_path_factory.mktemp("runs"), train={"steps": 2})))


def curve(**facts):
    values = np.array([1.0, np.nan, 1 / 3])
    band = Band(values - 0.1, values + 0.1, "an interval; of words, with signs")
    given = {"measure": "cka", "arm": "nscl", "reference": "cl", "n": 8, "d": 4, "feature": "h", "source": "checkpoint"}
    given |= {
        "split": "test",
        "labelling": None,
        "estimator": 'a "quoted", thing',
        "undefined": "0/0",
        "interval": band,
    }
    return Curve(steps=np.array([0, 3, 7]), values=values, flags=("one", "two"), **(given | facts))


def test_what_was_written_is_read(run):
    written = [curve(), curve(split="train"), curve(kind="upper bound", bound="tighter", n=None, reference=None)]
    write_csv(run, written, "some.csv")
    read = read_curves(run, "some.csv")
    assert [[getattr(one, name) for name in FACTS] for one in read] == [
        [getattr(one, name) for name in FACTS] for one in written
    ]
    for one, other in zip(read, written, strict=True):
        np.testing.assert_array_equal(one.values, other.values)
        np.testing.assert_array_equal(one.interval.high, other.interval.high)
        assert one.interval.what == other.interval.what and one.null is None and one.undefined == "0/0"


def test_no_file_is_no_curves(run):
    assert read_curves(run, "nothing.csv") is None


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("step,arm", "arm,step"),
        ("nscl", "other"),
        ("measured", "certain"),
        ("\n0,", "\nzero,"),
        ("\n0,", "\n99999999999999999999,"),
        (",8,4,", ",eight,4,"),
        ("measured,,", "measured,tighter,"),
        ('"a ""quoted""', '"a "quoted"'),
        ("\n3,", "\n3\n"),
    ],
)
def test_what_is_no_table_of_this_run_is_one_line(run, old, new):
    path = write_csv(run, [curve()], "spoilt.csv")
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(UserError, match="not a table of curves of this run") as raised:
        read_curves(run, "spoilt.csv")
    assert "\n" not in str(raised.value)


def test_a_folder_or_bytes_that_are_no_text_are_not_read(run):
    path = write_csv(run, [curve()], "bytes.csv")
    path.write_bytes(b"\xff\xfe\0")
    with pytest.raises(UserError, match="not a table"):
        read_curves(run, "bytes.csv")
