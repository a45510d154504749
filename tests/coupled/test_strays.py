"""What others leave in folders is told from what belongs there, or should not be there."""

import pytest

from coupled.strays import is_stray

STRAYS = [
    *(".DS_Store", "._cl.safetensors", ".localized", ".AppleDouble", ".Trashes", "__MACOSX"),
    *("Thumbs.db", "thumbs.db", "desktop.ini", "Desktop.ini", "$RECYCLE.BIN", "System Volume Information"),
    *(".directory", ".Trash-1000", ".ipynb_checkpoints", "lost+found"),
    *("@eaDir", "#recycle", ".snapshot"),
    *(".nfs0000000000a1b2c300000004", ".fuse_hidden0000001200000001", ".smbdeleteAAA1", ".__afsA1B2"),
    *(".state.json.swp", ".x.swo", "state.json~", ".#state.json", "#state.json#", ".~lock.curves.csv#"),
]
OTHERS = [
    *("cl.safetensors", "state.json", "run.json", "manifest.jsonl", "lock", "scalars", "shared", "step-000000008"),
    *("steps-000000000-000000002.safetensors", "cl.safetensors.tmp", "state.json.tmp", "step-1.json"),
    *("DS_Store", ".DS_Store2", "nfs0001", ".nfs", ".nfsx", "a.swp", "swp", "~", "x~y", "thumbs.db.safetensors"),
    *(".hidden", ".", "..", "state.json (copy)", "Copy of state.json", "cl.safetensors.part", "eaDir", ".cache"),
    *("state.json.bak", ".gitkeep", "x"),
]


@pytest.mark.parametrize("name", STRAYS)
def test_what_file_managers_file_systems_and_editors_leave_is_a_stray(name):
    assert is_stray(name)


@pytest.mark.parametrize("name", OTHERS)
def test_anything_else_is_none(name):
    assert not is_stray(name)
