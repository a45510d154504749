"""A run that is watched: the curves of its records and its own word, read once, and nothing written."""

import json
import os
import shutil
import socket
import struct
import subprocess
import sys
import time
from itertools import count
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from interrupted import Crash, config_of, path_of, stopped

import analysis
from analysis.cli import main as analyse
from analysis.commands import watch as command
from analysis.watch import following as module
from analysis.watch.content import content
from analysis.watch.following import Following
from analysis.watch.server import PageServer
from coupled.cli import main as run
from coupled.driver import mirrors
from coupled.driver.assembly import assemble
from coupled.driver.reporter import Silent
from coupled.driver.train import resume, train
from coupled.errors import UserError
from coupled.reading import records
from coupled.reading.live import LIVE

MEASURES = ("loss", "gap", "weight_gap", "cka", "rsa")


def by_name(curves):
    return {(curve.measure, curve.arm): curve for curve in curves}


def settled(following):
    """The curves, once all comparisons are made."""
    curves = following.curves()
    while following._late:
        following.look()
        curves = following.curves()
    return by_name(curves)


@pytest.fixture
def snapshot():
    """Names, sizes and times of all files below a folder."""
    return lambda folder: {
        path: (path.lstat().st_mtime_ns, path.lstat().st_size, path.lstat().st_ino) for path in folder.rglob("*")
    }


def test_the_curves_of_a_finished_run_are_those_of_its_report(trained):
    opened, curves = analysis.open_run(trained), settled(Following(trained))
    assert {measure for measure, _ in curves} == set(MEASURES)
    for (measure, arm), curve in curves.items():
        options = {"labelling": opened.arms[arm].labelling} if measure == "gap" else {}
        expected = opened.curve(measure, arm=arm, **options)
        assert np.array_equal(curve.steps, expected.steps), (measure, arm)
        close = 1e-12 if measure in ("cka", "rsa") else 0.0
        np.testing.assert_allclose(curve.values, expected.values, rtol=close, atol=close)
        facts = ("estimator", "n", "d", "feature", "source", "labelling", "reference")
        assert [getattr(curve, fact) for fact in facts] == [getattr(expected, fact) for fact in facts]


def test_nothing_is_written_and_no_lock_is_held(trained, snapshot):
    before = snapshot(trained)
    following = Following(trained)
    content(following)
    assert snapshot(trained) == before
    assert (trained / "run.lock").resolve() not in {fd.resolve() for fd in Path("/proc/self/fd").iterdir()}


class Watching(Silent):
    """Looks at the run after every update."""

    def __init__(self, path, hashed):
        self.path, self.hashed, self.seen = path, hashed, []

    def begin(self, run):
        self.following = Following(self.path)

    def stepped(self, step):
        self.hashed.clear()
        self.following.look()
        curves = by_name(self.following.curves())
        self.seen.append((step, self.following.run.steps, list(self.hashed), curves, self.following.done))


@pytest.fixture
def hashed(monkeypatch):
    """The names of shards that reading has hashed."""
    names, verify = [], records.verify_object
    monkeypatch.setattr(records, "verify_object", lambda root, done: names.append(done.name) or verify(root, done))
    return names


@pytest.fixture
def every_step(monkeypatch):
    seconds = count(step=100)
    monkeypatch.setattr(mirrors, "time", SimpleNamespace(monotonic=lambda: float(next(seconds))))


def test_a_run_that_grows_is_followed_and_each_shard_is_read_once(tmp_path, hashed, every_step):
    config = config_of(tmp_path, writing={"asynchronous": False}, checkpoints={"recovery": {"steps": [3]}})
    watching = Watching(path_of(tmp_path), hashed)
    opened = analysis.open_run(train(config, reporter=watching))
    losses = dict(zip(*opened.column("scalars", "nscl", "batch.loss"), strict=True))
    every = [name for _, _, names, _, _ in watching.seen for name in names]
    assert len(every) == len(set(every)) > 0
    assert {name.split("/")[1] for name in every} == {"scalars", "panel"}  # and of the large streams, none
    for step, committed, _, curves, done in watching.seen:
        assert step - 1 <= done <= step
        if ("loss", "nscl") in curves:
            curve = curves["loss", "nscl"]
            assert all(losses[at] == value for at, value in zip(curve.steps, curve.values, strict=True))
            assert curve.steps[-1] >= (committed or 0)
    assert [committed for _, committed, *_ in watching.seen] == [None, None, 2, 2, 2, 2, 2, 7]
    step, *_, curves, _ = watching.seen[-2]
    assert step == 7 and curves["loss", "nscl"].steps[-1] >= 4  # what the run says of itself


def test_where_nothing_was_committed_nothing_is_read_again(trained, hashed, monkeypatch):
    following = Following(trained)
    settled(following)
    hashed.clear()
    for name in ("read_manifest", "read_run"):
        monkeypatch.setattr(f"coupled.reading.growing.{name}", lambda *_: pytest.fail("read again"))
    assert not following.look() and hashed == []


def test_a_run_without_a_shard_has_an_empty_page(tmp_path):
    config = config_of(tmp_path)
    with assemble(config) as begun:
        following = Following(begun.root)
        assert following.curves() == [] and following.state == "running"
        shown = json.loads(content(following))
        assert shown["charts"] == [] and dict(shown["facts"])["committed"] == "nothing yet"
    assert dict(json.loads(content(following))["facts"])["steps"] == "0 of 8"


def test_a_killed_and_resumed_run_is_followed_behind_its_checkpoint(tmp_path, every_step, monkeypatch):
    monkeypatch.setattr(module, "_is_there", lambda process: False)
    recovery = {"recovery": {"steps": [3]}}
    stopped(config_of(tmp_path, writing={"asynchronous": False}, checkpoints=recovery), Crash(7))
    following = Following(path_of(tmp_path))
    before = by_name(following.curves())
    assert following.state == "not running" and "coupled-run resume" in json.loads(content(following))["words"]
    assert before["loss", "nscl"].steps[-1] >= 4 > following.run.steps
    resume(path_of(tmp_path))
    assert following.look() and following.state == "finished"
    expected = analysis.open_run(path_of(tmp_path)).curve("loss", arm="nscl")
    assert np.array_equal(settled(following)["loss", "nscl"].values, expected.values)


def test_a_run_that_was_replaced_by_another_is_not_mixed_with_the_old_one(tmp_path):
    train(config_of(tmp_path))
    following = Following(path_of(tmp_path))
    old = settled(following)
    train(config_of(tmp_path, optimiser={"learning_rate": 0.1}), overwrite=True)
    assert following.look()
    expected = analysis.open_run(path_of(tmp_path))
    for (measure, arm), curve in settled(following).items():
        if measure in ("loss", "weight_gap"):
            assert np.array_equal(curve.values, expected.curve(measure, arm=arm).values)
    assert not np.array_equal(old["loss", "cl"].values, expected.curve("loss", arm="cl").values)


def test_a_page_shows_a_few_comparisons_at_a_time_and_all_in_the_end(trained, monkeypatch):
    monkeypatch.setattr(module, "_AT_ONCE", 2)
    following = Following(trained)
    first = by_name(following.curves())
    assert [len(curve.steps) for (measure, _), curve in first.items() if measure == "cka"] == [2]
    assert first["cka", "nscl"].steps[-1] == 20  # the newest first
    assert {len(curve.steps) for (measure, _), curve in settled(following).items() if measure == "cka"} == {5}


def test_hostile_words_of_a_log_are_one_line(trained, tmp_path):
    path = tmp_path / "run"
    shutil.copytree(trained, path)
    event = {"event": "stopped\n<script>", "reason": "\x1b[31m" * 500, "step": "x", "time": 1e300}
    (path / "log/events.jsonl").write_text(json.dumps(event) + '\n{"torn')
    last = dict(json.loads(content(Following(path)))["facts"])["last event"]
    assert "\n" not in last and "\x1b" not in last and len(last) < 300 and "at an unknown time" in last


def test_a_process_that_has_ended_does_not_run_though_nobody_has_asked():
    ended = subprocess.Popen([sys.executable, "-S", "-c", ""], stdout=subprocess.PIPE)
    ended.stdout.read()  # its end
    deadline = time.monotonic() + 60
    while module._is_there(ended.pid) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert ended.returncode is None and not module._is_there(ended.pid) and module._is_there(os.getpid())
    ended.communicate()


# -- the page


def test_the_page_is_at_an_address_that_nobody_guesses(trained):
    with PageServer() as server:
        server.show(b'{"a":1}')
        secret = server.url.split("/")[3]
        assert server.url.startswith("http://127.0.0.1:") and len(secret) == 16
        hidden = ("/", "//", "/x/", "/x/curves.json", f"/{secret}/../run.json", f"/{secret}/nothing", f"/{secret}x/")
        for path in hidden:
            assert server.answer(path, "")[0] == 404, path
        status, kind, version, body = server.answer(f"/{secret}/curves.json?x=1", "")
        assert (status, kind, body) == (200, "application/json", b'{"a":1}')
        assert server.answer(f"/{secret}/curves.json", version)[0] == 304
        server.show(b'{"a":2}')
        assert server.answer(f"/{secret}/curves.json", version)[3] == b'{"a":2}'


def test_the_address_that_a_browser_is_started_with_leads_to_the_page_once(trained, slept, monkeypatch):
    opened = []
    monkeypatch.setattr(command.webbrowser, "open", opened.append)
    assert analyse(["watch", str(trained), "--open", "--stop"]) == 0
    with PageServer() as server:
        path, secret = (url.partition("1:")[2].partition("/")[2] for url in (server.url_for_once(), server.url))
        assert len(opened) == 1 and server.url_for_once() != server.url_for_once() and path != secret
        assert server.answer(f"/{path}curves.json", "")[0] == 404
        status, kind, _, body = server.answer(f"/{path}", "")
        assert status == 200 and kind.startswith("text/html") and f"url=/{secret}".encode() in body
        assert server.answer(f"/{path}", "")[0] == 404


def test_a_tab_that_is_closed_while_it_is_answered_prints_nothing(trained, capfd):
    with PageServer() as server:
        _, _, place, secret, _ = server.url.split("/")
        for _ in range(5):
            tab = socket.create_connection(place.split(":"))
            tab.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # a close is a reset
            tab.sendall(f"GET /{secret}/plotly.js HTTP/1.0\r\n\r\n".encode())
            tab.recv(1000)
            tab.close()
        time.sleep(0.5)
    assert capfd.readouterr().err == ""


def test_a_port_that_is_taken_is_one_line(trained, capsys):
    with PageServer() as server:
        port = server.url.split(":")[2].split("/")[0]
        assert analyse(["watch", str(trained), "--port", port]) == 2
    assert analyse(["watch", str(trained), "--port", "80"]) == 2
    first, second = capsys.readouterr().err.splitlines()
    assert f"--port {port}: " in first and "1024 to 65535" in second


# -- the commands


def interrupt(seconds):
    raise KeyboardInterrupt


@pytest.fixture
def slept(monkeypatch):
    """What is done in place of sleeping."""
    return lambda act: monkeypatch.setattr(command, "time", SimpleNamespace(sleep=act))


@pytest.fixture(autouse=True)
def _as_nice_as_before(monkeypatch):
    monkeypatch.setattr(command, "_go_last", lambda: None)


def test_ctrl_c_ends_in_one_line(trained, slept, capsys):
    slept(interrupt)
    assert analyse(["watch", str(trained)]) == 0
    first, finished, last = capsys.readouterr().out.splitlines()
    assert first.startswith("watching tiny: http://127.0.0.1:")
    assert finished.startswith("tiny is finished; the page stays") and last.startswith("no longer watching tiny")


def test_with_stop_the_command_ends_with_the_run(trained, slept, capsys):
    slept(lambda seconds: None)
    assert analyse(["watch", str(trained), "--stop"]) == 0
    assert "tiny is finished; next: coupled-analyze report" in capsys.readouterr().out


def test_a_run_that_is_deleted_ends_it_with_one_line(trained, tmp_path, slept, capsys):
    path = shutil.copytree(trained, tmp_path / "run")
    slept(lambda seconds: shutil.rmtree(path))
    assert analyse(["watch", str(path)]) == 2
    assert capsys.readouterr().err == (
        f"coupled-analyze: {path} is gone; it was moved or deleted while it was watched; watch it where it is\n"
    )


def test_a_run_that_is_not_there_is_one_line(tmp_path, capsys):
    assert analyse(["watch", str(tmp_path / "no")]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_a_run_that_stays_damaged_ends_it_and_one_look_does_not(trained, tmp_path, slept, capsys):
    path = shutil.copytree(trained, tmp_path / "run")
    whole, looks = (path / "manifest.jsonl").read_bytes(), count()

    def spoil(seconds):
        look = next(looks)
        (path / "manifest.jsonl").write_bytes(whole if look == 1 else b"x\n" + whole + b"\n" * look)

    slept(spoil)
    assert analyse(["watch", str(path)]) == 3
    assert next(looks) == 2 + command._PATIENCE and capsys.readouterr().err.count("\n") == 1


def test_coupled_run_watch_becomes_the_analysis(tmp_path, monkeypatch):
    called = []
    monkeypatch.setattr("os.execve", lambda *words: called.append(words))
    run(["watch", str(tmp_path), "--stop", "--port", "8000"])
    ((program, words, environment),) = called
    assert words[-6:] == ["analysis", "watch", str(tmp_path), "--stop", "--port", "8000"]
    assert words[0] == program and "PYTHONPATH" in environment


@pytest.mark.parametrize("words", [["--open"], ["--stop"], ["--port", "9000"], ["--open", "--stop", "--port", "9000"]])
def test_both_commands_take_the_same(words):
    from analysis.commands import parser as theirs
    from coupled.commands import parser as ours

    for parser in (ours(), theirs()):
        given = vars(parser.parse_args(["watch", "RUN", *words]))
        assert {"port", "open", "stop", "run_directory"} <= given.keys()
    for parser in (ours(), theirs()):
        with pytest.raises(UserError):
            parser.parse_args(["watch", "RUN", "--other"])


def test_a_live_file_of_another_kind_draws_nothing(trained, tmp_path):
    path = shutil.copytree(trained, tmp_path / "run")
    lines = (path / "manifest.jsonl").read_bytes().splitlines(keepends=True)
    (path / "manifest.jsonl").write_bytes(b"".join(lines[:-1]))  # not finished
    (path / LIVE).write_text('{"step": 10000000000}')
    following = Following(path)
    assert following.live is None and following.done <= following.run.planned_steps
