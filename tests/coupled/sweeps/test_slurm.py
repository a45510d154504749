"""`coupled-run sweep --slurm`: what is queued, what is refused; the cluster only pretends."""

import pickle
import re
import sys
from dataclasses import replace
from functools import partial

import pytest
import swept
from fake_slurm import fake_slurm
from swept import NAME, sweep_of

from coupled.cli import main
from coupled.config import digest, load
from coupled.errors import UserError
from coupled.sweeps import cluster, running, submitting
from coupled.sweeps.element import Element
from coupled.sweeps.folder import entries_of, locked, read
from coupled.sweeps.slurm import Slurm, slurm_of

ALL = {
    "time": 90,
    "partition": "gpu",
    "account": "vision",
    "constraint": "a100",
    "ranks": 2,
    "cpus": 16,
    "gpus": 2,
    "memory": 64,
    "at_a_time": 2,
}


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    return fake_slurm(tmp_path / "bin", monkeypatch)


@pytest.fixture
def command(tmp_path, monkeypatch, capsys):
    """The command on a sweep, in this process: its exit code, and the lines that it printed and said."""

    def called(sweep, *options):
        monkeypatch.setitem(sys.modules, "coupled.sweeps.reading", swept.read_as(sweep))
        monkeypatch.chdir(tmp_path)
        capsys.readouterr()
        code = main(["sweep", "seeds.toml", *options])
        out, err = capsys.readouterr()
        return code, out.splitlines(), err.splitlines()

    return called


def queued(folder, **options):
    """A sweep of three points, to be queued."""
    return replace(sweep_of(folder, seeds=3), slurm=Slurm(**{"time": 60, **options}))


def options_of(slurm):
    """What the script that sbatch was given asks for."""
    return dict(re.findall(r"^#SBATCH --([\w-]+)(?:=(.*))?$", (slurm / "script.sh").read_text(), re.MULTILINE))


def test_a_table_says_what_a_job_has():
    assert slurm_of(ALL) == Slurm(**ALL)
    assert slurm_of({"time": 5}) == Slurm(time=5, ranks=1)


TABLES = {
    "no time": ({}, "[slurm] has no time; the minutes that one job may take, from 5 to a year; such as time = 240"),
    "time of 0": ({"time": 0}, "slurm.time = 0; an integer from 1"),
    "no time to save": ({"time": 4}, "slurm.time = 4; the minutes that one job may take, from 5 to a year"),
    "years": ({"time": 10**6}, "slurm.time = 1000000; the minutes that one job may take"),
    "hours": ({"time": "4:00:00"}, "slurm.time = '4:00:00'; an integer from 1"),
    "unknown": ({"time": 5, "partiton": "x"}, "unknown key slurm.partiton; allowed: time, partition,"),
    "no string": ({"time": 5, "account": 3}, "slurm.account = 3; a string, as sbatch takes it"),
    "true": ({"time": 5, "gpus": True}, "slurm.gpus = True; an integer from 0"),
    "no ranks": ({"time": 5, "ranks": 0}, "slurm.ranks = 0; an integer from 1"),
}


@pytest.mark.parametrize("case", TABLES)
def test_a_mistake_in_the_table_is_one_line(case):
    table, message = TABLES[case]
    with pytest.raises(UserError) as raised:
        slurm_of(table)
    assert message in str(raised.value) and "\n" not in str(raised.value)


def test_the_table_is_in_no_digest_and_is_of_the_sweep_alone(sweep):
    plain = sweep("[axes]\nseed = [0, 1]\n")
    with_jobs = sweep("[axes]\nseed = [0, 1]\n[slurm]\ntime = 90\nranks = 2\n")
    assert entries_of(plain) == entries_of(with_jobs) and with_jobs.slurm == Slurm(time=90, ranks=2)
    assert plain.slurm is None
    with pytest.raises(UserError, match="slurm = 3; a table is needed"):
        sweep("slurm = 3\n[axes]\nseed = [0]\n")


def test_what_is_not_finished_is_queued_as_one_array_and_the_last_line_says_where_to_look(slurm, command):
    code, out, err = command(queued("runs"), "--slurm")
    assert code == 0 and err == []
    assert out == [
        "3 of 3 runs are queued as job 4711, 0 are finished",
        "what a run prints, and at its end why it failed, is in runs/seeds/.slurm/RUN.log; next, "
        "once the job has ended: coupled-run sweep seeds.toml --slurm",
    ]
    assert options_of(slurm)["array"] == "0-2%3" and (slurm / "calls").read_text().count("\n") == 1


def test_the_script_asks_for_what_the_table_says(slurm, command, tmp_path):
    sweep = replace(queued("runs"), slurm=Slurm(**ALL))
    assert command(sweep, "--slurm")[0] == 0
    given = options_of(slurm)
    assert {given[key] for key in ("partition", "account", "constraint")} == {"gpu", "vision", "a100"}
    assert (given["time"], given["cpus-per-task"], given["gpus-per-node"], given["mem"]) == ("90", "16", "2", "64GB")
    assert given["array"] == "0-2%2"
    assert (given["nodes"], given["ntasks-per-node"], given["signal"]) == ("1", "1", "USR2@120")
    assert "requeue" in given and given["open-mode"] == "append"
    assert given["job-name"] == cluster.job_name(tmp_path / "runs" / NAME)


def test_jobs_have_the_cores_and_gpus_that_the_runs_use(tmp_path):
    on_cpu = [point.config for point in queued(tmp_path, ranks=2).points]
    given = cluster.parameters(Slurm(time=5, ranks=2), on_cpu, tmp_path)
    assert given["cpus_per_task"] == 2 and "gpus_per_node" not in given
    on_gpu = [replace(c, train=replace(c.train, device="cuda"), data=replace(c.data, workers=3)) for c in on_cpu]
    given = cluster.parameters(Slurm(time=5, ranks=2), on_gpu, tmp_path)
    assert given["cpus_per_task"] == 8 and given["gpus_per_node"] == 2


def test_a_job_s_file_is_the_config_itself(slurm, command, tmp_path):
    sweep = queued("runs")
    assert command(sweep, "--slurm")[0] == 0
    for point in sweep.points:
        config = load(tmp_path / f"runs/seeds/.slurm/{point.name}.toml")
        assert config == point.config and digest(config) == digest(point.config)
    assert read(tmp_path / "runs" / NAME) == entries_of(sweep)


def test_runs_for_gpus_are_queued_from_a_machine_without_one(slurm, command):
    sweep = queued("runs")
    points = [replace(p, config=replace(p.config, train=replace(p.config.train, device="cuda"))) for p in sweep.points]
    assert command(replace(sweep, points=tuple(points)), "--slurm")[0] == 0
    assert options_of(slurm)["gpus-per-node"] == "1"


def test_finished_points_are_not_queued_and_where_all_are_nothing_is(slurm, command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    sweep = queued("runs")
    (tmp_path / "runs" / NAME).mkdir(parents=True)
    assert command(sweep, "--slurm")[0] == 0
    done = [sweep.points[0].config, sweep.points[2].config]
    for module in (running.preflight, submitting):
        monkeypatch.setattr(module, "is_finished", lambda config: config in done)
    code, out, _ = command(sweep, "--slurm")
    assert (code, out[0]) == (0, "1 of 3 runs are queued as job 4711, 2 are finished")
    assert "array" not in options_of(slurm)  # one job needs none
    done.append(sweep.points[1].config)
    calls = (slurm / "calls").read_text()
    code, out, _ = command(sweep, "--slurm")
    assert code == 0 and out[-1].startswith("done: every run of the sweep is in runs/seeds; next: ")
    assert (slurm / "calls").read_text() == calls


@pytest.mark.parametrize("options", [("--slurm",), ("--jobs", "1")])
def test_a_sweep_whose_jobs_wait_or_run_is_refused(options, slurm, command, tmp_path):
    sweep = queued("runs")
    assert command(sweep, "--slurm")[0] == 0
    (slurm / "queue").write_text("4711_[1-2]\n4711_0\n")
    code, out, err = command(sweep, *options)
    assert (code, out) == (2, [])
    assert err == [
        "coupled-run: runs/seeds has jobs that wait or run: 4711_[1-2], 4711_0; one process at a time trains a sweep; "
        "wait for them, or scancel 4711"
    ]
    name = cluster.job_name(tmp_path / "runs" / NAME)
    assert (slurm / "asked").read_text().splitlines()[-1] == f"--noheader --format=%i --name={name}"
    assert (slurm / "calls").read_text().count("\n") == 1


MISTAKES = {
    "both ways": (queued, ("--slurm", "--jobs", "2"), "--slurm with --jobs; one of them; slurm.at_a_time says"),
    "a dry run": (queued, ("--slurm", "--dry-run"), "--slurm with --dry-run; one of them"),
    "no table": (sweep_of, ("--slurm",), "the sweep has no [slurm]; at least the minutes that one job"),
    "ranks": (partial(queued, ranks=5), ("--slurm",), "point seed-0: batches.size = 8 on 5 data ranks"),
    "cpus": (
        partial(queued, ranks=2, cpus=1),
        ("--slurm",),
        "point seed-0: slurm.cpus = 1; slurm.ranks × train.threads",
    ),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_a_mistake_is_one_line_and_2_and_nothing_is_written_or_queued(case, slurm, command, tmp_path):
    sweep, options, message = MISTAKES[case]
    code, out, err = command(sweep("runs"), *options)
    assert (code, out, len(err)) == (2, [], 1)
    assert err[0].startswith(f"coupled-run: {message}")
    assert not (tmp_path / "runs").exists() and not (slurm / "calls").exists()


def test_too_few_gpus_are_one_line(tmp_path):
    config = queued(tmp_path).points[0].config
    on_gpu = replace(config, train=replace(config.train, device="cuda"))
    cluster.check_fits(Slurm(time=5, ranks=2), on_gpu)
    with pytest.raises(UserError, match=r"slurm.gpus = 1; each of 2 ranks has one"):
        cluster.check_fits(Slurm(time=5, ranks=2, gpus=1), on_gpu)


@pytest.mark.parametrize("program", ["sbatch", "srun"])
def test_a_machine_without_slurm_is_one_line(program, slurm, command, tmp_path):
    (slurm / program).unlink()
    code, _, err = command(queued("runs"), "--slurm")
    assert code == 2
    assert err == [f"coupled-run: --slurm needs {program}; it is not found here; submit from a machine of the cluster"]
    assert not (tmp_path / "runs").exists()


def test_without_submitit_one_line_says_what_to_install(slurm, command, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "submitit", None)
    code, _, err = command(queued("runs"), "--slurm")
    said = "coupled-run: --slurm needs submitit; it is not installed here; pip install 'coupled[slurm]'"
    assert (code, err) == (2, [said]) and not (tmp_path / "runs").exists()


def test_what_slurm_refuses_is_one_line(slurm, command):
    (slurm / "refuse").write_text("sbatch: error: invalid partition specified: gpu\nsbatch: error: Batch job failed\n")
    code, _, err = command(queued("runs"), "--slurm")
    assert code == 2 and err == [
        "coupled-run: sbatch: invalid partition specified: gpu, Batch job failed; "
        "Slurm did not take the jobs; change [slurm] of the sweep"
    ]


def test_a_queue_that_does_not_answer_is_one_line(slurm, command):
    sweep = queued("runs")
    assert command(sweep, "--slurm")[0] == 0
    (slurm / "down").write_text("slurm_load_jobs error: Unable to contact slurm controller\n")
    code, _, err = command(sweep, "--slurm")
    assert code == 2 and err[0].startswith("coupled-run: squeue: slurm_load_jobs error: Unable to contact")


def test_the_lock_is_held_while_jobs_are_queued_and_let_go_after_that(slurm, tmp_path):
    seen = []

    class Executor:
        def submit_array(self, elements):
            with pytest.raises(UserError, match="in use by process"):
                locked(tmp_path / NAME)
            seen.extend(elements)
            return [type("Job", (), {"job_id": "7_0"})]

    submitted = submitting.submit(queued(tmp_path), lambda folder: Executor())
    assert submitted.job == "7" and [element.config.stem for element in seen] == ["seed-0", "seed-1", "seed-2"]
    assert all(isinstance(element, Element) and (element.ranks, element.words) == (1, ()) for element in seen)
    seen.clear()
    submitting.submit(queued(tmp_path), lambda folder: Executor(), allow_drift=True)
    assert [pickle.loads(pickle.dumps(element)).words for element in seen] == [("--allow-drift",)] * 3
    locked(tmp_path / NAME).release()


def test_names_of_jobs_are_of_one_folder(tmp_path):
    a, b = cluster.job_name(tmp_path / "a" / NAME), cluster.job_name(tmp_path / "b" / NAME)
    assert a != b and a.startswith("coupled-seeds-")
