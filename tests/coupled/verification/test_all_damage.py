"""`verify` finds every damaged file of a run, not the first alone, and says what to go on from."""

import pytest
from helpers import tiny

from coupled.cli import main
from coupled.driver.train import train
from coupled.store import StoreError
from coupled.store.audit import DamageError
from coupled.verification import verify


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def test_damage_of_every_kind_is_named_with_the_last_sound_checkpoint(run, capsys):
    late = [path for path in run.rglob("records/*/*/*.safetensors") if int(path.stem.split("-")[1]) >= 3]
    cut, gone = late[0], late[1]
    cut.write_bytes(cut.read_bytes()[:-3])
    gone.unlink()
    flip(run / "checkpoints/step-000000006/state.json")
    flip(run / "checkpoints/step-000000006/cl.safetensors")  # no longer known by its state.json, so not counted
    assert main(["verify", str(run)]) == 3
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert lines[0] == "damaged     bytes: 3 (1 in checkpoints, 2 in records)"
    assert all(any(str(path) in line for line in lines[1:]) for path in (cut, gone)) and len(lines) == 4
    assert err.count("\n") == 1 and "(and 2 more faults)" in err
    assert err.endswith(f"step 3 is the last sound checkpoint: coupled-run resume {run} --from 3 goes on from it\n")
    assert main(["resume", str(run), "--from", "3"]) == 0
    verify(run)


def test_a_spare_that_a_newer_checkpoint_has_retired_will_do(tmp_path):
    run = train(tiny(tmp_path, checkpoints={"keep": {"steps": [0], "last": False}, "recovery": {"steps": [2, 4]}}))
    assert (run / "checkpoints/step-000000002").is_dir()
    next(run.glob("records/scalars/*/steps-000000002-*")).unlink()
    with pytest.raises(DamageError, match=r"step 2 is the last sound checkpoint: .* --from 2 goes on"):
        verify(run)
    assert main(["resume", str(run), "--from", "2"]) == 0
    verify(run)


def test_where_the_first_shards_are_damaged_the_run_is_trained_anew(run):
    flip(next(path for path in run.rglob("records/*/*/*.safetensors") if int(path.stem.split("-")[1]) == 0))
    with pytest.raises(DamageError, match=r"no checkpoint after step 0 is sound: .* --from 0 trains it anew"):
        verify(run)
    assert main(["resume", str(run), "--from", "0"]) == 0
    verify(run)


def test_twenty_are_named_and_the_others_counted(run, capsys):
    shards = list(run.rglob("records/*/*/*.safetensors"))
    for path in shards:
        flip(path)
    assert main(["verify", str(run)]) == 3
    lines = capsys.readouterr().out.splitlines()
    assert len(shards) > 20 and lines[0] == f"damaged     bytes: {len(shards)} ({len(shards)} in records)"
    assert len(lines) == 22 and lines[-1] == f"damaged     and {len(shards) - 20} more"


def test_one_damaged_file_is_one_error_with_its_path(run):
    path = next(run.rglob("records/panel/cl/*.safetensors"))
    flip(path)
    with pytest.raises(StoreError) as told:
        verify(run)
    assert told.value.path == path and "more fault" not in str(told.value)


def test_a_file_too_many_is_to_be_moved_away_and_does_no_harm_to_the_others(run):
    stray = run / "checkpoints/step-000000000/notes.bin"
    stray.write_bytes(b"x")
    with pytest.raises(
        DamageError, match="never committed; what was committed has the bytes on record: move what was not out"
    ):
        verify(run)
    flip(next(run.rglob("records/panel/cl/*-000000005.safetensors")))
    with pytest.raises(DamageError, match=r"step 3 is the last sound checkpoint: .* --from 3 goes on"):
        verify(run)
    assert main(["resume", str(run), "--from", "3"]) == 0
    stray.unlink(missing_ok=True)
    verify(run)


@pytest.mark.parametrize("instead", ["nothing", "a folder", "a dead link"])
def test_without_run_json_the_bytes_are_checked_alone(instead, run, capsys):
    (run / "run.json").unlink()
    if instead == "a folder":
        (run / "run.json").mkdir()
    if instead == "a dead link":
        (run / "run.json").symlink_to(run / "nowhere")
    flip(next(run.rglob("records/panel/cl/*.safetensors")))
    assert main(["verify", str(run)]) == 3
    lines = capsys.readouterr().out.splitlines()
    assert (
        lines[0] == "damaged     bytes: 2 (1 in records, 1 in run.json)"
        or "2 (1 in run.json, 1 in records)" in lines[0]
    )
