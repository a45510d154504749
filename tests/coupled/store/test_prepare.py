import os

import pytest

from coupled.errors import UserError
from coupled.store import REAL, RunLock, StoreError, prepare, remove_run, state

DIGEST, OTHER = "d" * 64, "e" * 64


@pytest.fixture
def start(tmp_path, run_json):
    """Prepares tmp_path / "run" for a config of the given digest."""

    def start(digest=DIGEST, overwrite=False, fs=REAL):
        return prepare(tmp_path / "run", run_json(digest), digest, overwrite, fs)

    return start


def contents(root):
    return {path: path.read_bytes() for path in root.rglob("*") if path.is_file() and path.name != "run.lock"}


def test_the_states_of_a_place(tmp_path, start, write_run):
    root = tmp_path / "run"
    assert state(root) == "absent"
    root.mkdir()
    assert state(root) == "absent"
    start().close()
    assert state(root) == "unfinished"
    remove_run(root)
    write_run(REAL)
    assert state(root) == "finished"
    with (root / "manifest.jsonl").open("ab") as file:
        file.write(b"{torn")
    assert state(root) == "finished"


@pytest.mark.parametrize("name", ["thesis.tex", "manifest.jsonl", ".hidden", "run.lock/x", "run.json/x"])
def test_what_is_not_a_run_is_refused_and_kept_even_with_overwrite(tmp_path, start, name):
    (tmp_path / "run" / name).parent.mkdir(parents=True)
    (tmp_path / "run" / name).write_text("a year of work")
    for overwrite in (False, True):
        with pytest.raises((UserError, StoreError)):
            start(overwrite=overwrite)
    assert (tmp_path / "run" / name).read_text() == "a year of work"


def test_a_foreign_folder_is_named_in_one_line_with_the_way_out(tmp_path, start):
    (tmp_path / "run").mkdir()
    (tmp_path / "run/x").touch()
    with pytest.raises(UserError, match=r"is not a run; .* never overwritten .*; choose another name"):
        start(overwrite=True)


def test_a_run_json_of_something_else_is_kept_even_with_overwrite(tmp_path, start):
    (tmp_path / "run").mkdir()
    (tmp_path / "run/run.json").write_text('{"scripts":{}}')
    with pytest.raises(UserError, match="is not a run"):
        start(overwrite=True)
    assert (tmp_path / "run/run.json").read_text() == '{"scripts":{}}'


def test_a_finished_run_of_the_same_config_is_left_as_it_is(tmp_path, start, write_run):
    write_run(REAL)
    before = contents(tmp_path)
    assert start() is None
    assert contents(tmp_path) == before


def test_an_unfinished_run_is_refused_naming_overwrite(tmp_path, start):
    start().close()
    before = contents(tmp_path)
    with pytest.raises(UserError, match=r"unfinished; .*--overwrite"):
        start()
    assert contents(tmp_path) == before


def test_a_run_at_work_is_refused_naming_the_process(start):
    with start():
        for overwrite in (False, True):
            with pytest.raises(UserError, match=f"in use by process {os.getpid()}"):
                start(overwrite=overwrite)


@pytest.mark.parametrize("finish", [False, True])
def test_another_config_under_the_name_is_refused_with_both_digests(start, write_run, finish):
    write_run(REAL, finish=finish)
    with pytest.raises(UserError, match=rf"{DIGEST}.*{OTHER}.*--overwrite.*--set name=") as refused:
        start(OTHER)
    assert refused.value.exit_code == 2 and str(refused.value).isprintable()


@pytest.mark.parametrize("digest", [DIGEST, OTHER])
@pytest.mark.parametrize("finish", [False, True])
def test_overwrite_replaces_a_run_and_leaves_nothing_of_it(tmp_path, start, write_run, digest, finish):
    write_run(REAL, finish=finish)
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept/x").touch()
    (tmp_path / "run/analysis").symlink_to(tmp_path / "kept")
    start(digest, overwrite=True).close()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["kept", "run"]
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == ["manifest.jsonl", "run.json", "run.lock"]
    assert (tmp_path / "kept/x").exists() and digest in (tmp_path / "run/run.json").read_text()


def test_overwrite_of_nothing_is_a_plain_start(tmp_path, start):
    start(overwrite=True).close()
    assert state(tmp_path / "run") == "unfinished"


def test_overwrite_mends_a_run_whose_manifest_is_damaged_and_a_plain_start_says_so(tmp_path, start, write_run):
    write_run(REAL)
    (tmp_path / "run/manifest.jsonl").write_bytes(b"bad\n" * 2)
    with pytest.raises(StoreError, match="line 1"):
        start()
    start(overwrite=True).close()
    assert state(tmp_path / "run") == "unfinished"


def test_a_symlink_to_a_run_is_read_but_never_overwritten(tmp_path, write_run, run_json):
    write_run(REAL)
    (tmp_path / "link").symlink_to(tmp_path / "run")
    assert prepare(tmp_path / "link", run_json(), DIGEST) is None
    with pytest.raises(UserError, match="is a symlink"):
        prepare(tmp_path / "link", run_json(), DIGEST, overwrite=True)
    assert state(tmp_path / "run") == "finished"


@pytest.mark.parametrize("moment", ["overwrite.aside", "overwrite.removed"])
def test_a_kill_while_overwriting_never_leaves_half_a_run_under_the_name(
    tmp_path, start, write_run, watched, killed, moment
):
    write_run(REAL)
    point = ["overwrite.aside", "overwrite.removed"].index(moment)
    with pytest.raises(killed, match=moment):
        start(OTHER, overwrite=True, fs=watched(kill_at=point))
    assert state(tmp_path / "run") == "absent"
    start(OTHER).close()
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_a_kill_amid_the_deletion_is_finished_by_the_next_start(tmp_path, start, write_run, watched, killed):
    write_run(REAL)
    fs = watched()
    fs.rmdir = lambda path: (_ for _ in ()).throw(killed(path))
    with pytest.raises(killed):
        start(OTHER, overwrite=True, fs=fs)
    assert state(tmp_path / "run") == "absent" and (tmp_path / ".run.overwritten/run.json").exists()
    start(OTHER).close()
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_a_released_lock_is_no_obstacle(tmp_path, start):
    start().close()
    RunLock(tmp_path / "run").release()
    start(overwrite=True).close()
    assert state(tmp_path / "run") == "unfinished"
