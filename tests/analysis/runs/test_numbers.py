"""A measured value looks the same in a terminal, a notebook and the report."""

import math
import re

import pytest

from analysis import open_run
from analysis.cli import main
from analysis.runs.numbers import ABSENT, number


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, ABSENT),
        (math.nan, "undefined"),
        (0.0, "0"),
        (-0.0, "0"),
        (1.0, "1.0000"),
        (0.48837, "0.4884"),
        (-0.0131, "-0.0131"),
        (4.95914, "4.9591"),
        (67.3612, "67.36"),
        (3747.2, "3,747"),
        (9999.6, "10,000"),
        (123456.7, "123,457"),
        (12345678.9, "1.235e+07"),
        (9.99996, "10"),
        (0.00123456, "0.001235"),
        (2e-12, "2e-12"),
        (math.inf, "inf"),
    ],
)
def test_a_value_has_four_decimals_below_ten_and_four_digits_elsewhere(value, text):
    assert number(value) == text


def test_the_terminal_and_the_report_say_the_same_of_weights_and_their_growth(trained, tmp_path, capsys):
    assert main(["curves", str(trained), "--output", str(tmp_path)]) == 0
    assert main(["divergence", str(trained), "--output", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert main(["report", str(trained), "--output", str(tmp_path)]) == 0
    page = (tmp_path / trained.name / "report.html").read_text(encoding="utf-8")
    cells = re.findall(r"<td[^>]*>([^<]*)</td>", page)
    last = re.findall(rf"│\s+{open_run(trained).steps} │\s*([\d.]+) │\s*([\d.]+) │", printed)
    assert len(last) > 2 and {value for row in last for value in row} <= {cell.partition(" ")[0] for cell in cells}
    exponents = re.findall(r"(?:early|late)\s+\S+\s+(-?[\d.]+) \[(-?[\d.]+), (-?[\d.]+)\]\s+(\S+)", printed)
    assert exponents and all(set(row) <= set(cells) for row in exponents)
