"""Who trains what, with workers that only pretend; and what a worker does, in this process."""

import signal
import threading
from multiprocessing import Pipe

import pytest
from pretended_workers import KILLED, pretend
from swept import sweep_of

from coupled import runtime
from coupled.config import digest
from coupled.driver.train import train
from coupled.errors import Preempted
from coupled.store import state
from coupled.sweeps import folder, running, worker
from coupled.sweeps.messages import Message
from coupled.sweeps.points import Sweep
from coupled.sweeps.watching import Silent

FAILED, STOPPED = Message("failed", "nan in cl"), Message("stopped")


class Watching(Silent):
    def begin(self, points, jobs):
        self.points, self.jobs = points, jobs

    @property
    def states(self):
        return [point.state for point in self.points]


@pytest.fixture
def played(monkeypatch):
    return pretend(monkeypatch)


def test_points_are_shared_out_in_their_order_over_as_many_workers_as_jobs(played, tmp_path):
    watching = Watching()
    assert running.run(sweep_of(tmp_path, seeds=4), jobs=2, reporter=watching) == 0
    assert [name for _, name in played.trained] == [f"seed-{s}" for s in range(4)]
    assert sorted(played.started) == [0, 1] and played.at_once <= 2
    assert watching.states == ["finished"] * 4 and watching.jobs == 2


@pytest.mark.parametrize(("outcome", "reason"), [(FAILED, "nan in cl"), (KILLED, "its process was ended by SIGKILL")])
def test_a_failed_run_is_named_its_worker_replaced_and_the_others_go_on(outcome, reason, played, tmp_path):
    played.outcomes["seed-0"] = outcome
    watching = Watching()
    assert running.run(sweep_of(tmp_path, seeds=3), jobs=1, reporter=watching) == 3
    assert watching.states == ["failed", "finished", "finished"] and watching.points[0].reason == reason
    assert len(played.started) == 2


def test_a_run_that_compiles_has_a_process_of_its_own(played, tmp_path):
    sweep = sweep_of(tmp_path, seeds=3, train={"steps": 3, "compile": True})
    assert running.run(sweep, jobs=1) == 0
    assert len(played.started) == 3


def test_a_signal_stops_every_run_that_is_at_work_and_begins_no_other(played, tmp_path):
    played.held = ("seed-0", "seed-1")
    watching = Watching()
    watching.changed = lambda point: (
        signal.raise_signal(signal.SIGUSR2) if (point.name, point.state) == ("seed-1", "starting") else None
    )
    with pytest.raises(Preempted, match=r"SIGUSR2: stopped with 0 of 3 runs finished, nothing is lost") as stopped:
        running.run(sweep_of(tmp_path, seeds=3), jobs=2, reporter=watching)
    assert stopped.value.exit_code == 143 and played.signals == [signal.SIGUSR2] * 2
    assert watching.states == ["stopped", "stopped", "waiting"]


def test_one_worker_that_was_asked_to_stop_stops_all(played, tmp_path):
    played.held, played.outcomes["seed-1"] = ("seed-0",), STOPPED
    with pytest.raises(Preempted, match="SIGTERM"):
        running.run(sweep_of(tmp_path, seeds=3), jobs=2)
    assert played.signals == [signal.SIGTERM] and len(played.trained) == 2


def served(configs, asked=None, **terms):
    """What a worker says of these configs, each given when the one before has ended; it runs here. `asked`: what it
    says when the connection is cut.
    """
    ours, theirs = Pipe()
    said = []

    def give():
        for config in configs:
            ours.send(config)
            while True:
                said.append(ours.recv())
                if asked is not None and said[-1].kind == asked:
                    ours.close()
                    return
                if said[-1].kind in ("finished", "failed", "stopped"):
                    break
        ours.close()

    giving = threading.Thread(target=give)
    giving.start()
    worker.serve(theirs, 0, **terms)
    giving.join()
    return said


@pytest.mark.slow
def test_a_worker_trains_one_point_after_another_and_says_so(tmp_path):
    sweep = sweep_of(tmp_path)
    said = served([point.config for point in sweep.points])
    assert [message.kind for message in said if message.kind not in ("note", "stepped")] == ["begun", "finished"] * 2
    assert all(state(tmp_path / "seeds" / point.name) == "finished" for point in sweep.points)


def test_a_worker_says_why_a_run_failed(tmp_path):
    (tmp_path / "seeds" / "seed-0").mkdir(parents=True)
    (tmp_path / "seeds" / "seed-0" / "mine.txt").write_text("")
    message = served([sweep_of(tmp_path).points[0].config])[-1]
    assert message.kind == "failed" and "is there but is not a run" in message.text


def test_a_point_resumes_under_other_conditions_where_that_is_allowed(tmp_path, monkeypatch):
    config = sweep_of(tmp_path, train={"steps": 500}, checkpoints={"keep": {"steps": [0]}}).points[0].config
    served([config], asked="begun")
    real = runtime.versions()
    monkeypatch.setattr(runtime, "versions", lambda *_: {**real, "numpy": "9.9"})
    refused = served([config])[-1]
    assert refused.kind == "failed" and "numpy was" in refused.text and "--allow-drift" in refused.text
    assert served([config], allow_drift=True)[-1].kind == "finished"
    assert any((tmp_path / "seeds/seed-0/drift").iterdir())


def test_a_worker_that_nobody_watches_any_more_stops_after_its_step(tmp_path):
    sweep = sweep_of(tmp_path, train={"steps": 500}, checkpoints={"keep": {"steps": [0], "last": True}})
    served([sweep.points[0].config], asked="begun")
    root = tmp_path / "seeds" / "seed-0"
    assert state(root) == "unfinished" and not (root / "sweep.json").exists()
    assert (root / "log" / "events.jsonl").read_text().count("preempted") == 1


def test_finished_runs_are_left_alone_whoever_trained_them(played, tmp_path):
    sweep = sweep_of(tmp_path)
    (tmp_path / "seeds").mkdir()
    folder.write(sweep)
    train(sweep.points[0].config)
    assert running.run(sweep, jobs=1) == 0
    assert [name for _, name in played.trained] == ["seed-1"]


def test_default_jobs_are_cores_by_threads_and_no_part_of_a_run(monkeypatch, tmp_path):
    monkeypatch.setattr(running, "cores", lambda: 6)
    one = sweep_of(tmp_path)
    two = sweep_of(tmp_path, train={"steps": 3, "threads": 2})
    assert running.jobs_of(one, None) == 6 and running.jobs_of(two, None) == 3
    assert running.jobs_of(Sweep(one.name, one.runs, one.points, jobs=4), None) == 4
    assert running.jobs_of(one, 2) == 2
    assert digest(one.points[0].config) != digest(two.points[0].config)
