"""What file managers and network file systems leave inside a run is none of it: it fails nothing and costs nothing."""

import errno
import shutil
from pathlib import Path

import pytest
from pretended import LENGTHS, arm_bytes, commit_preempt, last_of, run_json, work

from coupled.errors import UserError
from coupled.store import (
    REAL,
    FileSystem,
    RunDirectory,
    StoreError,
    audit,
    prepare,
    reopen,
    state,
    tree_hash,
)
from coupled.store.prepare import remove_run

STRAYS = (".DS_Store", "Thumbs.db", "._x", ".nfs00000000a1b2", "state.json~", "@eaDir")
TOPS = ("records", "checkpoints", "preempt")


@pytest.fixture(scope="module")
def runs(memory):
    """A finished run, a shorter one, and that one as it was preempted."""
    work(memory / "finished", REAL, LENGTHS[1])
    work(memory / "shorter", REAL, LENGTHS[0])
    work(memory / "preempted", REAL, LENGTHS[0], preempt_at=6)
    return {name: memory / name for name in ("finished", "shorter", "preempted")}


def folders_of(root):
    return [root, *(path for top in TOPS for path in [root / top, *(root / top).rglob("*")] if path.is_dir())]


def leave(folder):
    """One of each kind in a folder; "@eaDir" is a folder itself."""
    for name in STRAYS[:-1]:
        (folder / name).write_bytes(b"x")
    (folder / STRAYS[-1]).mkdir()
    (folder / STRAYS[-1] / "cl.safetensors").write_bytes(b"x")


def with_strays(root, memory, name):
    copied = Path(shutil.copytree(root, memory / name))
    for folder in folders_of(copied):
        leave(folder)
    return copied


@pytest.mark.parametrize("name", ["finished", "preempted"])
def test_an_audit_and_the_tree_hash_do_not_see_them(name, runs, memory):
    root = with_strays(runs[name], memory, f"audited-{name}")
    assert (audit(root), tree_hash(root)) == (audit(runs[name]), tree_hash(runs[name]))
    other = root / "records" / "scalars" / "DS_Store"
    other.touch()
    assert tree_hash(root) != tree_hash(runs[name])
    if name == "finished":
        with pytest.raises(StoreError, match="DS_Store: is there but was never committed$"):
            audit(root)
    else:
        assert "scalars/DS_Store is not committed:" in audit(root).notes[0]


def test_a_run_with_them_is_gone_on_with_to_the_same_bytes(runs, memory):
    """In every folder, also of checkpoints that are retired and of preempt/, which the run removes on its way."""
    root = with_strays(runs["preempted"], memory, "resumed")
    directory, position = reopen(root, last_of(LENGTHS[0]).__contains__)
    directory.close()
    assert position.step == 6 and position.notes == ()
    work(root, REAL, LENGTHS[0])
    assert tree_hash(root) == tree_hash(runs["shorter"])
    assert audit(root).notes == () and (root / ".DS_Store").is_file()


def test_a_preempted_run_may_be_preempted_again_beside_one(runs, memory):
    root = Path(shutil.copytree(runs["preempted"], memory / "again"))
    directory, _ = reopen(root, last_of(LENGTHS[0]).__contains__)
    with directory:
        (root / "preempt" / ".DS_Store").touch()
        commit_preempt(directory, 7, {"cl": arm_bytes("cl", b"")}, {})
    assert REAL.listed(root / "preempt") == [".DS_Store", "step-000000007"]


def test_recovery_removes_what_the_run_left_and_leaves_theirs(runs, memory):
    root = with_strays(runs["preempted"], memory, "orphans")
    orphan = root / "records" / "scalars" / "cl" / "steps-000000900-000000901.safetensors"
    orphan.touch()
    directory, position = reopen(root, last_of(LENGTHS[0]).__contains__)
    directory.close()
    assert position.notes == ("1 files that were not committed were removed",)
    assert not orphan.exists() and orphan.with_name(".DS_Store").exists()


def test_a_run_is_made_where_only_they_are(memory):
    root = memory / "vacant"
    root.mkdir()
    leave(root)
    assert state(root) == "absent"
    work(root, REAL, LENGTHS[0])
    assert state(root) == "finished"
    (memory / "foreign").mkdir()
    (memory / "foreign" / "notes.txt").touch()
    with pytest.raises(UserError, match="exists already"):
        RunDirectory.create(memory / "foreign", b'{"config_digest":"d"}')


class Nfs(FileSystem):
    """What is open somewhere becomes a file of another name when it is removed, which cannot be removed itself."""

    def unlink(self, path):
        if path.name.startswith(".nfs"):
            raise OSError(errno.EBUSY, "Device or resource busy", str(path))
        if path.name == "cl.safetensors":
            path.rename(path.with_name(".nfs0000000000000001"))
        else:
            super().unlink(path)


def test_a_checkpoint_that_somebody_reads_is_retired_on_nfs(memory, runs):
    work(memory / "nfs", Nfs(), LENGTHS[1])
    left = [path.relative_to(memory / "nfs").as_posix() for path in (memory / "nfs").rglob(".nfs*")]
    assert left and all(name.startswith("checkpoints/step-") for name in left)
    assert tree_hash(memory / "nfs") == tree_hash(runs["finished"])
    assert audit(memory / "nfs") == audit(runs["finished"])


def test_a_run_that_somebody_reads_is_replaced_on_nfs(memory, runs):
    root = Path(shutil.copytree(runs["finished"], memory / "replaced"))
    remove_run(root, Nfs())
    assert state(root) == "absent" and (memory / ".replaced.overwritten").is_dir()
    work(root, Nfs(), LENGTHS[0])
    assert tree_hash(root) == tree_hash(runs["shorter"])
    for left in (memory / ".replaced.overwritten").rglob(".nfs*"):
        left.unlink()  # the reader has closed it
    assert prepare(root, run_json(LENGTHS[0]), f"{LENGTHS[0]:064d}", fs=Nfs()) is None
    assert not (memory / ".replaced.overwritten").exists()


def test_what_is_no_stray_and_cannot_be_removed_is_told(memory, runs):
    class Refusing(FileSystem):
        def unlink(self, path):
            raise OSError(errno.EACCES, "Permission denied", str(path))

    root = Path(shutil.copytree(runs["finished"], memory / "refused"))
    with pytest.raises(StoreError, match="Permission denied"):
        remove_run(root, Refusing())
