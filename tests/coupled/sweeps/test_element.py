"""One point as a job: what becomes of signals, kills and failures, with processes that only pretend, and with real ones
that submitit's local executor runs.
"""

import os
import pickle
import signal
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
import submitit
from submitit.helpers import DelayedSubmission
from swept import NAME, sweep_of

from coupled.driver.train import train
from coupled.errors import RunStopped
from coupled.store import tree_hash
from coupled.sweeps import element
from coupled.sweeps.element import Element
from coupled.sweeps.processes import environment
from coupled.sweeps.slurm import Slurm
from coupled.sweeps.submitting import submit

SECTIONS = {"train": {"steps": 60}, "checkpoints": {"keep": {"steps": [0]}, "recovery": {"every": 50}}}
LETS_IN = "import signal, sys, time\nsignal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGUSR2])\n"
# It stops a while after it was asked, and says how often it was.
STOPS = """
asked = []
signal.signal(signal.SIGUSR2, lambda *_: asked.append(1))
print("at work", flush=True)
while not asked:
    time.sleep(0.01)
time.sleep(0.3)
print("saved", len(asked), flush=True)
sys.exit(143)
"""
DEAF = "signal.signal(signal.SIGUSR2, signal.SIG_IGN)\nprint('at work', flush=True)\ntime.sleep(60)\n"


@pytest.fixture
def pretended(tmp_path, monkeypatch):
    """An element whose process runs this code."""
    monkeypatch.setenv("SUBMITIT_EXECUTOR", "local")
    monkeypatch.setenv("SUBMITIT_LOCAL_JOB_ID", "12")

    def make(code):
        monkeypatch.setattr(element, "command_of", lambda *words: [sys.executable, "-c", code])
        return Element(tmp_path / "a-0.5.toml", 1)

    return make


def test_its_command_has_the_words_that_it_was_given(tmp_path, monkeypatch, pretended):
    job, said = pretended("pass"), []
    monkeypatch.setattr(element, "command_of", lambda *words: said.extend(words) or [sys.executable, "-c", "pass"])
    Element(job.config, 2, ["--allow-drift"])()
    assert said[-4:] == ["--ranks", "2", "--supervised", "--allow-drift"]


@pytest.fixture
def preempted():
    """Calls an element as submitit does, and sends this process a signal once the log says "at work"; what the
    element's `checkpoint` gave back, and whether the run had ended then: the scheduler may end the job now.
    """
    before = signal.getsignal(signal.SIGUSR2)

    def call(job):
        back = []

        def checkpoint(number, frame):
            back.append((job.checkpoint(), job._has_ended(0)))
            sys.exit(-1)

        def send():
            while not (job.log.exists() and "at work" in job.log.read_text()):
                time.sleep(0.01)
            os.kill(os.getpid(), signal.SIGUSR2)

        signal.signal(signal.SIGUSR2, checkpoint)
        threading.Thread(target=send).start()
        with pytest.raises(SystemExit):
            job()
        return back[0]

    yield call
    signal.signal(signal.SIGUSR2, before)


def test_a_run_that_ends_well_is_a_job_that_does(pretended):
    job = pretended("print('done: all')")
    assert job() is None
    lines = job.log.read_text().splitlines()
    assert lines[0].startswith("job 12 on ") and lines[1:] == ["done: all"]


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("import sys\nsys.exit('coupled-run: nan in cl')", "coupled-run: nan in cl"),
        ("raise ValueError('a fault')", "ValueError: a fault"),
        ("import os\nos.kill(os.getpid(), 9)", "its process was ended by SIGKILL"),
        ("import os\nos._exit(7)", "job 12 on "),
    ],
)
def test_a_job_that_fails_leaves_its_reason_as_the_last_line_of_the_run_s_log(code, reason, pretended):
    job = pretended(code)
    with pytest.raises(RunStopped, match=f"a-0.5: {reason}"):
        job()
    assert job.log.name == "a-0.5.log" and job.log.read_text().splitlines()[-1].startswith(reason)


def test_a_signal_is_passed_on_once_the_run_is_waited_for_and_the_job_comes_back(pretended, preempted):
    job = pretended(LETS_IN + STOPS)
    back, has_ended = preempted(job)
    assert isinstance(back, DelayedSubmission) and back.function is job and has_ended
    assert job.log.read_text().splitlines()[1:] == ["at work", "saved 1"]
    assert job._process.returncode == 143


def test_a_job_that_has_to_go_before_its_run_was_started_comes_back(pretended):
    job = pretended("")
    assert job.checkpoint().function is job and not job.log.exists()


def test_a_run_that_does_not_stop_in_time_is_killed_and_its_job_comes_back(pretended, preempted, monkeypatch):
    monkeypatch.setattr(element, "SAVING_S", 0.3)
    job = pretended(LETS_IN + DEAF)
    back, has_ended = preempted(job)
    assert isinstance(back, DelayedSubmission) and has_ended
    assert job._process.returncode == -signal.SIGKILL


def test_a_run_that_somebody_else_stopped_waits_to_be_queued_again_and_then_fails(pretended, monkeypatch):
    monkeypatch.setattr(element, "_REQUEUING_S", 0.3)
    job = pretended("import sys\nsys.exit('SIGTERM: stopped at step 3') if 0 else sys.exit(143)")
    began = time.monotonic()
    with pytest.raises(RunStopped):
        job()
    assert time.monotonic() - began > 0.3


def test_signals_wait_until_the_run_can_heed_them(pretended):
    job = pretended("import signal\nprint(*sorted(s.name for s in signal.pthread_sigmask(signal.SIG_BLOCK, [])))")
    job()
    assert job.log.read_text().splitlines()[1] == "SIGINT SIGTERM SIGUSR2"
    assert not signal.pthread_sigmask(signal.SIG_BLOCK, [])


def test_the_run_of_a_job_that_is_gone_reads_the_end_of_its_stdin(pretended):
    job = pretended("import sys\nprint('at work', flush=True)\nprint('end', sys.stdin.read())")

    def interrupt():
        while not (job.log.exists() and "at work" in job.log.read_text()):
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt).start()
    with pytest.raises(KeyboardInterrupt):
        job()
    assert job.log.read_text().splitlines()[1:] == ["at work", "end "]


def test_a_job_goes_to_the_next_one_without_its_process(pretended):
    job = pretended("")
    job()
    copy = pickle.loads(pickle.dumps(job))
    assert (copy.config, copy.ranks, copy._process) == (job.config, 1, None)


class Local(submitit.LocalExecutor):
    """submitit's own, which keeps the jobs that it made."""

    def submit_array(self, fns):
        self.jobs = super().submit_array(fns)
        return self.jobs


def processes_of(pid):
    """The processes below this one."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [each for child in map(int, children) for each in (child, *processes_of(child))]


def submitted(folder, monkeypatch, ranks=1, **sections):
    """The job of a sweep's only point, which the local executor runs."""
    monkeypatch.setenv("PYTHONPATH", environment()["PYTHONPATH"])
    sweep = replace(sweep_of(folder, seeds=1, **SECTIONS | sections), slurm=Slurm(time=60, ranks=ranks))
    made = []

    def executor(where):
        made.append(Local(where))
        made[0].update_parameters(timeout_min=60)
        return made[0]

    assert submit(sweep, executor).points == ("seed-0",)
    return made[0].jobs[0]


def at_work(log, times):
    """Waits until a run has said so often that it is at a step."""
    ends = time.monotonic() + 100
    while not log.exists() or log.read_text().count("\nstep ") < times:
        assert time.monotonic() < ends, log.read_text()
        time.sleep(0.02)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """The hash of the run that nobody disturbs."""
    (point,) = sweep_of(tmp_path_factory.mktemp("undisturbed"), seeds=1, **SECTIONS).points
    return tree_hash(train(point.config))


@pytest.mark.slow
@pytest.mark.parametrize("ranks", [1, 2])
def test_a_job_that_has_to_go_comes_back_and_its_run_has_the_bytes_of_an_undisturbed_one(
    ranks, undisturbed, tmp_path, monkeypatch
):
    """It has to go twice. The second time all its processes are signalled, as by Slurm, not the first alone."""
    job = submitted(tmp_path, monkeypatch, ranks)
    run, log = tmp_path / NAME / "seed-0", tmp_path / NAME / ".slurm" / "seed-0.log"
    for times in (1, 2):
        at_work(log, times)
        below = processes_of(job._process.pid)
        assert len(below) == 2 + (ranks if ranks > 1 else 0)
        for pid in below if times == 2 else below[:1]:
            os.kill(pid, signal.SIGUSR2)
        while processes_of(job._process.pid)[:1] == below[:1]:
            time.sleep(0.05)
    job.result()
    events = (run / "log" / "events.jsonl").read_text()
    assert events.count('"event":"resume"') == 2 and events.count('"signal":"SIGUSR2"') == 2
    printed = log.read_text()
    assert printed.count(f"job {job.job_id} on ") == 3 and "Traceback" not in printed
    assert printed.splitlines()[-1].startswith("done: records and checkpoints are in ")
    assert tree_hash(run) == undisturbed


@pytest.mark.slow
def test_a_run_that_fails_is_a_job_that_fails_with_its_reason(tmp_path, monkeypatch):
    job = submitted(tmp_path, monkeypatch, optimiser={"learning_rate": 1e30})
    reason = str(job.exception()).split("RunStopped: seed-0: ")[1].splitlines()[0]
    assert reason.startswith("coupled-run: ") and "non-finite loss at step" in reason
    assert (tmp_path / NAME / ".slurm" / "seed-0.log").read_text().splitlines()[-1] == reason
