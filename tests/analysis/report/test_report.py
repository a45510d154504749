"""The report: whole, self-contained, honest about what is missing, and safe with any name."""

import json
import re
import shutil
import subprocess
from dataclasses import replace

import numpy as np
import pytest
from helpers import tiny

import analysis
from analysis.cli import main
from analysis.output.styles import Style
from analysis.output.thinning import spread
from analysis.report import content_of, page, report, sections, wording
from analysis.report.layers import LayerGrid
from analysis.report.markup import script_json, table
from analysis.report.traces import MOST_POINTS, line, stretches
from analysis.runs.curve import Band, Curve, pick
from coupled.driver.train import train
from coupled.errors import UserError

STYLE = Style("#0072B2", "-", "nscl: nscl")


@pytest.fixture(scope="module")
def content(run):
    return content_of([run])


@pytest.fixture(scope="module")
def html(content):
    return page(content)


def curve(steps, values, **facts):
    """A distance of nscl to cl, or what `facts` make of it."""
    given = {"measure": "distance", "arm": "nscl", "reference": "cl", "n": None, "d": 9, "feature": None}
    given |= {"source": "weights", "split": None, "labelling": None, "estimator": "|w-w'|", "undefined": "0/0"}
    return Curve(steps=np.array(steps), values=np.array(values, float), **(given | facts))


def bounded(content):
    """The content with a drift of which one bound grows vacuous, and a map with a hole."""
    drift = {"measure": "drift", "source": "surrogate", "feature": "z", "estimator": "|ΔΣ|"}
    bounds = [
        curve([0, 1, 2], [0, 1, 2], **drift),
        curve([0, 1, 2], [0, 3, 9], kind="upper bound", bound="free", flags=("momentum 0.9",), **drift),
        curve([0, 1, 2], [8, 8, 8], kind="limit", bound="trivial limit", **drift),
    ]
    grid = LayerGrid("nscl", "cl", "angle (degrees)", ("a", "b"), np.arange(3), np.array([[0, np.nan]] * 3), 3)
    return replace(content, bounds=bounds, layers=[grid])


def test_every_section_is_there_in_its_order(html):
    wanted = ["curves", "headline", "shared", "bounds", "divergence", "response", "layers", "reproduce", "notes"]
    assert re.findall(r'<section id="(\w+)"', html) == wanted
    assert "shapes, B = 16, float32, seed 0; finished, 20 steps" in html and "UNFINISHED" not in html


def test_the_page_loads_nothing_from_anywhere(html):
    written = re.sub(r'<script type="text/plain".*?</script>', "", html, flags=re.DOTALL)
    assert "default-src 'none'" in written
    assert not re.findall(r"""(?:src|href|action)\s*=\s*["']?(?!#|data:)[^"'\s>]|@import|url\(""", written)
    assert "http://" not in written and "https://" not in written


@pytest.mark.parametrize(("name", "message"), [("x.pdf", "written as .html; name it .*x.html"), ("", "is a folder")])
def test_the_name_of_something_else_is_refused_before_any_work(tmp_path, name, message):
    with pytest.raises(UserError, match=message):
        report("no run at all", output=tmp_path / name)
    assert main(["report", "no run at all", "--output", str(tmp_path / name)]) == 2
    assert not list(tmp_path.iterdir())


def test_the_page_is_small_and_the_same_every_time(content, html):
    assert len(html.encode()) < 6e6
    assert page(content) == html


def test_every_chart_is_a_plotly_figure(content):
    from plotly import graph_objects

    made = [chart for chart in sections.all_charts(bounded(content)) if chart is not None]
    assert {"cka", "rsa", "weight_gap", "loss", "bounds", "divergence", "layers"} <= {chart.id for chart in made}
    for chart in made:
        assert graph_objects.Figure(data=chart.data, layout=chart.layout).data


def test_headline_numbers_are_those_of_the_curves(content, html):
    value = pick(content.curves, "cka", "nscl", source="panel", feature="h").at(20)
    assert "how much of a distance the loss makes cannot be told" in html
    assert f"<b>{value:.4f}</b>" in html and f"{value:.4f}" in html.split('id="headline"')[1].split("</table>")[0]


def test_any_name_is_shown_as_it_is_and_never_run(trained, tmp_path):
    name = "<script>alert(1)<\u2028\"'&"
    path = shutil.copytree(trained, tmp_path / name.replace("/", ""))
    html = report(path).read_text("utf-8")
    assert "<script>alert" not in html and "&lt;script&gt;alert(1)" in html
    hostile = script_json({"</script><b>": "\u2028</script>"})
    assert "<" not in hostile and "\u2028" not in hostile and json.loads(hostile) == {"</script><b>": "\u2028</script>"}


def test_labels_from_a_run_are_escaped_in_tables_and_charts(content):
    evil = curve([0, 1], [1, 2], estimator="<img src=x onerror=alert(1)>", flags=("</script><i>",))
    html = page(replace(content, divergence=[evil]))
    assert "<img" not in html and "</script><i>" not in html
    assert line(evil, STYLE, name="<a href='x'>")[0]["name"] == "&lt;a href=&#x27;x&#x27;&gt;"
    assert '<td data-label="&quot;a">&lt;b&gt;</td>' in table(['"a'], [["<b>"]])


def test_an_unfinished_run_says_so(spoilt):
    spoilt.keep_lines(lambda entry: entry.last < 10 and "/panel/" not in (entry.name or ""))
    content = content_of([analysis.open_run(spoilt.path)])
    html = page(content)
    assert "UNFINISHED, records up to step 9 of 20" in html and 'class="status unfinished"' in html
    assert "panel: nothing committed yet." in wording.notes(content)


def test_a_run_without_streams_says_which(tmp_path):
    off = {"every": 0, "log": 0, "last": False}
    record = {"panel": off, "layers": off, "similarity": off}
    content = content_of([analysis.open_run(train(tiny(tmp_path, train={"steps": 2}, record=record)))])
    html = page(content)
    assert "CKA to the reference: not recorded (streams: panel, similarity)." in html
    assert "the stream panel is not recorded (record.panel is empty)." in wording.notes(content)
    assert 'id="plot-cka"' not in html and 'id="plot-loss"' in html


def test_one_arm_has_a_report(tmp_path):
    config = tiny(tmp_path, train={"steps": 2}, arms={"cl": {"objective": "dcl"}})
    html = report(train(config)).read_text("utf-8")
    assert "CKA to the reference: the run has one arm, there is nothing to compare it with." in html
    assert 'id="plot-loss"' in html


@pytest.mark.slow
def test_several_seeds_are_means_with_bands_and_others_are_refused(tmp_path):
    runs = [train(tiny(tmp_path / str(seed), train={"steps": 2}, seed=seed)) for seed in range(2)]
    content = content_of([analysis.open_run(path) for path in runs])
    html = page(content)
    assert "Mean and range over 2 seeds" in html and "range over 2 seeds" in html
    other = train(tiny(tmp_path / "other", train={"steps": 2}, optimiser={"learning_rate": 0.1}))
    with pytest.raises(UserError, match=r"differ in more than the seed: .+ and .+; a report is of one config"):
        report([runs[0], other])


def test_bounds_stand_beside_what_was_measured_with_flags_and_vacuity(content):
    html = page(bounded(content))
    (group,) = wording.bounded(bounded(content))
    assert group.measured is not None and group.name == "drift of nscl to cl (surrogate z)"
    assert [wording.vacuity(bound, group.bounds) for bound in group.bounds] == ["step 2", "–"]
    assert "<li>free: momentum 0.9</li>" in html and "drift, free (nscl): momentum 0.9." in html


def test_a_bound_that_does_not_hold_is_an_alarm(content):
    html = page(replace(content, violations=["free is broken at step 3"]))
    assert html.count("ALARM: free is broken at step 3.") == 2


def test_few_steps_get_bars_and_many_a_band():
    def traces(count):
        values = np.ones(count)
        interval = Band(values - 1, values + 1, "95 %")
        return line(curve(range(count), values, interval=interval), STYLE)

    (few,), (band, many) = traces(3), traces(100)
    assert few["error_y"]["array"] == [1, 1, 1] and few["mode"] == "lines+markers"
    assert band["fill"] == "toself" and "error_y" not in many and many["customdata"][0] == [0, 2]


def test_holes_stay_holes_and_are_said_in_words():
    holed = curve([0, 1, 2], [1, np.nan, 3])
    assert line(holed, STYLE)[0]["y"] == [1, None, 3]
    assert wording.undefined(holed) == ["nscl, distance, |w-w'|: undefined at 1 of 3 steps, first at 1 (0/0)."]
    assert stretches(np.array([True, False, True, True])) == [slice(0, 1), slice(2, 4)]


def test_long_lines_are_thinned_and_the_page_says_so(content):
    long = curve(range(10_000), np.ones(10_000))
    shown = line(long, STYLE)[0]["x"]
    assert MOST_POINTS * 0.8 < len(shown) <= MOST_POINTS and (shown[0], shown[-1]) == (0, 9999)
    assert any(
        "at most 2,000 of their recorded steps" in note for note in wording.notes(replace(content, curves=[long]))
    )
    assert spread(np.arange(5), 9).tolist() == [0, 1, 2, 3, 4]


def test_the_command_writes_all_results_and_names_the_page(spoilt, tmp_path, capsys):
    target = tmp_path / "page.html"
    assert main(["report", str(spoilt.path), "--output", str(target)]) == 0
    out, _ = capsys.readouterr()
    assert out.splitlines()[-1].startswith(f"report: {target} (") and out.rstrip().endswith("open it in a browser")
    assert target.is_file() and (spoilt.path / "analysis" / "curves.csv").is_file()


PROBE = """
<script>
const wait = () => {
  if (!document.documentElement.dataset.drawn) return setTimeout(wait, 50);
  const lines = (id) => document.querySelectorAll(`#plot-${id} .scatterlayer .trace`).length;
  const before = lines("loss");
  document.querySelector('[data-arm="nscl"]').click();
  document.querySelector('[data-axis="linear"]').click();
  document.title = `drawn ${before} ${lines("loss")} wide ${document.documentElement.scrollWidth <= innerWidth}`;
};
wait();
</script>
"""


@pytest.mark.slow
def test_chromium_draws_every_chart_alone_and_without_a_complaint(html, tmp_path):
    chromium = shutil.which("chromium")
    assert chromium, "apt-get install chromium"
    (tmp_path / "page.html").write_text(html.replace("</body>", f"{PROBE}</body>"), "utf-8")
    flags = "--headless --no-sandbox --disable-gpu --no-first-run --disable-background-networking --disable-sync"
    flags += " --disable-component-update --enable-logging=stderr --v=0 --dump-dom --virtual-time-budget=10000"
    own = [f"--user-data-dir={tmp_path}/profile", "--host-resolver-rules=MAP * ~NOTFOUND", "--window-size=500,900"]
    address = (tmp_path / "page.html").as_uri()
    command = [chromium, *flags.split(), *own, address]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=120)
    assert "CONSOLE" not in done.stderr
    assert "<title>drawn 6 5 wide true</title>" in done.stdout
    plots = done.stdout.split('id="plot-')[1:]
    assert len(plots) == 12 and all("<svg" in plot for plot in plots)


def test_what_there_is_to_say_of_a_menus_entry_is_said_with_it(content):
    holed = [curve([0, 1], [1, np.nan], measure="angle"), curve([0, 1], [1, 2], measure="excess")]
    html = page(replace(content, divergence=holed))
    (of_angle,) = re.findall(r'<div data-chart="divergence" data-choice="([^"]*)"><ul><li>nscl, angle', html)
    assert of_angle == "angle, |w-w&#x27;|" and 'data-choice="excess' not in html


def test_the_page_links_to_the_files_that_lie_beside_it(trained, tmp_path):
    path = shutil.copytree(trained, tmp_path / "a run")
    assert main(["report", str(path)]) == 0
    folder = path / "analysis"
    links = re.findall(r'<a href="(?!#)([^"]*)">([^<]*)</a>', (folder / "report.html").read_text("utf-8"))
    assert {name for _, name in links} >= {"curves.csv", "curves.png", "bounds.svg", "divergence.csv", "growth.csv"}
    assert all((folder / link).is_file() for link, _ in links)
    assert main(["report", str(path), "--output", str(tmp_path / "page.html")]) == 0
    elsewhere = re.findall(r'<a href="(?!#)([^"]*)">', (tmp_path / "page.html").read_text("utf-8"))
    assert "a%20run/analysis/curves.csv" in elsewhere and len(elsewhere) == len(links)
