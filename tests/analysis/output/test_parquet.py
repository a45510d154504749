"""Parquet files hold what the CSV files hold, to the last bit, with types."""

import csv
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from helpers import tiny
from matplotlib.figure import Figure

import analysis
from analysis.cli import main
from analysis.output.csv import HEADER
from analysis.output.thinning import WHOLE
from analysis.runs.curve import Band, Curve
from coupled.driver.train import train

parquet = pytest.importorskip("pyarrow.parquet")


@pytest.fixture
def own(trained, tmp_path, monkeypatch):
    monkeypatch.setattr(Figure, "savefig", lambda self, file, **options: file.write(b"painted"))
    return Path(shutil.copytree(trained, tmp_path / "own", ignore=shutil.ignore_patterns("analysis")))


def rows_of(path):
    """The rows of a parquet file as a CSV file has them: texts, nothing for null."""
    table = parquet.read_table(path)
    assert tuple(table.column_names) == HEADER
    kinds = {name: str(table.schema.field(name).type) for name in HEADER}
    assert {name for name, kind in kinds.items() if kind == "int64"} == {"step", "n", "d"}
    assert {name for name, kind in kinds.items() if kind == "double"} == {
        "value",
        "low",
        "high",
        "null_low",
        "null_high",
    }
    shown = {"double": repr, "int64": str, "string": str}
    assert "" not in {value for row in table.to_pylist() for value in row.values()}  # nothing is null, in every column
    return [
        {name: "" if row[name] is None else shown[kinds[name]](row[name]) for name in HEADER}
        for row in table.to_pylist()
    ]


def test_the_files_hold_what_the_csv_files_hold(own, capsys):
    for command in ("curves", "divergence", "bounds"):
        assert main([command, str(own)]) == 0
    capsys.readouterr()
    assert main(["export", str(own), "--parquet"]) == 0
    out = capsys.readouterr().out
    assert out == f"results: {own}/analysis/ (curves.parquet divergence.parquet bounds.parquet)\n"
    for name in ("curves", "divergence", "bounds"):
        with (own / f"analysis/{name}.csv").open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        assert len(rows) > 100 and rows_of(own / f"analysis/{name}.parquet") == rows


def test_gaps_bands_and_long_curves_come_as_in_a_csv(trained, own):
    run, steps = analysis.open_run(own), np.arange(WHOLE + 500)
    values = np.where(steps % 3 == 0, np.nan, 1 / (steps + 1))
    facts = {"measure": "m", "arm": "nscl", "reference": None, "n": None, "d": 3, "feature": None, "source": "weights"}
    facts |= {"split": None, "labelling": "ä, b", "estimator": "e", "flags": ("one", "two"), "undefined": "0/0"}
    band = Band(values - 1, values + np.inf, "an interval")
    curves = [Curve(steps=steps, values=values, interval=band, **facts)]
    curves.append(Curve(steps=steps[:0], values=values[:0], **facts))
    for whole in (True, False):
        analysis.write_csv(run, curves, "x.csv", all_steps=whole)
        path = analysis.write_parquet(run, curves, "x.parquet", all_steps=whole)
        with (own / "analysis/x.csv").open(newline="", encoding="utf-8") as file:
            assert rows_of(path) == list(csv.DictReader(file))
    assert len(rows_of(path)) < len(steps)
    assert not rows_of(analysis.write_parquet(run, [], "x.parquet"))


def test_a_run_of_one_arm_has_no_divergence_and_says_so(tmp_path, capsys):
    path = train(tiny(tmp_path, train={"steps": 2}, arms={"cl": {"objective": "dcl"}}))
    (path / "analysis").mkdir()
    (path / "analysis/divergence.parquet").write_bytes(b"of another time")
    assert main(["export", str(path), "--parquet"]) == 0
    out = capsys.readouterr().out
    assert out.startswith(f"no divergence: {path} has nothing to compare") and "(curves.parquet bounds.parquet)" in out
    assert not (path / "analysis/divergence.parquet").exists()


def test_without_the_format_or_the_library_nothing_is_done(own, capsys, monkeypatch):
    assert main(["export", str(own)]) == 2
    assert "--parquet" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert main(["export", str(own), "--parquet"]) == 2
    assert (
        "a parquet file needs pyarrow; it is not installed here; pip install 'coupled[parquet]'"
        in capsys.readouterr().err
    )
    assert not (own / "analysis").exists()
