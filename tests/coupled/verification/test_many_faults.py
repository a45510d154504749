"""`verify` names independent faults of every kind at once, and goes on where the rest can still be checked."""

from dataclasses import replace
from hashlib import sha256

import pytest
from helpers import recommit, rewrite
from spoilt import chain_of_checkpoint, facts, flip, shard, tensors

from coupled import verification
from coupled.cli import main
from coupled.errors import RunStopped
from coupled.store import Entry, canonical_json
from coupled.store.audit import DamageError
from coupled.store.manifest import parse_line
from coupled.verification import verify


def flip_bytes(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def found(run, **options):
    """The first sentence of every fault, by check."""
    with pytest.raises(DamageError) as told:
        verify(run, **options)
    groups = told.value.groups
    return {check: [f"{fault.path.name} {fault.reason}" for fault in faults] for check, faults in groups.items()}


def lose(run, *names):
    """Lines of the manifest and their files, as if they had never been."""
    lines = (run / "manifest.jsonl").read_bytes().splitlines()
    kept = [line for line in lines if not any(name.encode() in line for name in names)]
    entries = [replace(parse_line(line + b"\n"), seq=seq) for seq, line in enumerate(kept)]
    (run / "manifest.jsonl").write_bytes(b"".join(entry.line() for entry in entries))
    for name in names:
        (run / name).unlink()


def test_faults_of_every_kind_are_named_together(run, capsys):
    flip_bytes(run / shard(run, "panel", "cl", 3))
    facts(run, determinism="in every way")
    lose(run, shard(run, "layers", "nscl", 3), shard(run, "scalars", "nscl", 6))
    rewrite(run, shard(run, "scalars", "cl", 3), lambda t: t.pop("batch.loss"))
    tensors(run, "scalars", "shared", 0, learning_rate=(2, 0.299), ids_digest=(1, flip))
    tensors(run, "scalars", "shared", 3, draws_digest=(1, flip))
    tensors(run, "similarity", "shared", 3, visits=(2, flip))
    tensors(run, "pixels", "shared", 3, pixels_digest=(0, flip))
    rewrite(run, shard(run, "panel", "shared", 0), lambda t: t["fixed.ids"].__iadd__(1))
    rewrite(run, shard(run, "scalars", "twin", 3), lambda t: t["state.distance"].__setitem__(1, 0.5))
    chain_of_checkpoint(run)
    assert main(["verify", str(run)]) == 3
    out, err = capsys.readouterr()
    assert err.count("\n") == 1 and "Traceback" not in err
    assert err.endswith("move the run away and train its config again\n")
    checks = {line.split()[1] for line in out.splitlines() if "): " not in line and ": " in line}
    assert {"bytes:", "run.json:", "lines:", "whole:", "chain:", "drawn", "made", "panels:", "twin:"} <= checks
    for words in (
        "sha256", "its determinism is not", "the config has shard records/layers/nscl",
        "the config has shard records/scalars/nscl",
        "lacks the column batch.loss", "learning rate of step 2", "chain breaks at step 1", "chain breaks at step 4",
        "batch.draws_digest of step 4", "batch.visits of step 5", "pixels of step 4", "fixed.ids of the panel",
        "exact twin twin is 0.5", "state at step 3 carries another chain",
    ):  # fmt: skip
        assert words in out, words


def test_behind_a_break_of_the_chain_it_is_walked_on_from_what_is_recorded(run):
    tensors(run, "scalars", "shared", 0, chain=(0, flip))
    tensors(run, "scalars", "shared", 3, ids_digest=(2, flip))
    faults = found(run)["chain"]
    assert "breaks at step 0" in faults[0] and "(and 1 more of this kind)" in faults[0]  # step 1 follows from another
    assert len(faults) == 2 and "breaks at step 5: " in faults[1] and "more" not in faults[1]


def test_where_a_shard_cannot_be_read_its_steps_are_drawn_again_to_join_the_chain(run):
    (run / shard(run, "scalars", "shared", 0)).unlink()
    tensors(run, "scalars", "shared", 3, ids_digest=(1, flip))
    faults = found(run)
    assert len(faults["bytes"]) == 1 and ["breaks at step 4" in fault for fault in faults["chain"]] == [True]


def test_resuming_with_drift_mends_what_hashes_do_not_show(run):
    tensors(run, "similarity", "nscl", 3, z=(1, 0.25))
    tensors(run, "scalars", "shared", 3, ids_digest=(1, flip))
    with pytest.raises(DamageError, match=f"step 3 is the last sound .* resume {run} --from 3 --allow-drift goes on"):
        verify(run)
    assert main(["resume", str(run), "--from", "3", "--allow-drift"]) == 0
    assert verify(run, replay=2).unproven == ()


def test_a_damaged_checkpoint_that_is_kept_is_gone_behind(run):
    """Going on from a later one would leave it as it is."""
    flip_bytes(run / "checkpoints/step-000000003/twin.safetensors")
    with pytest.raises(DamageError, match=f"no checkpoint after step 0 is sound: coupled-run resume {run} --from 0 tr"):
        verify(run)
    assert main(["resume", str(run), "--from", "0"]) == 0
    verify(run)


def test_a_state_that_is_as_committed_and_is_none_is_made_again(run):
    recommit(run, "checkpoints/step-000000006/state.json", b"{}")
    with pytest.raises(DamageError, match=f"step 3 is the last .* resume {run} --from 3 --allow-drift goes on"):
        verify(run)
    assert main(["resume", str(run), "--from", "3", "--allow-drift"]) == 0
    verify(run)


def test_a_checkpoint_at_step_0_that_no_resume_makes_again_takes_another_training(run):
    def change(found):
        next(array for name, array in found.items() if name.startswith("buffers.")).flat[0] += 1

    rewrite(run, "checkpoints/step-000000000/twin.safetensors", change)
    with pytest.raises(DamageError, match="the checkpoint at step 0 is not what it has to be: train its config again"):
        verify(run)


def test_training_again_names_every_file_that_is_otherwise_and_starts_at_sound_checkpoints(run):
    tensors(run, "similarity", "nscl", 3, z=(1, 0.25))
    rewrite(run, shard(run, "panel", "cl", 6), lambda t: t["state.h"].__setitem__((0, 0, 0), 0.25))
    chain_of_checkpoint(run)  # training again from there would name rows that are right
    flip_bytes(run / "checkpoints/step-000000006/twin.safetensors")
    faults = found(run, replay=4, stretch=9)
    assert [fault.split(" ")[0] for fault in faults["trained again"]] == [
        "steps-000000003-000000005.safetensors",
        "steps-000000006-000000006.safetensors",
    ]
    assert len(faults["bytes"]) == 1 and len(faults["chain"]) == 1


def test_a_run_json_that_cannot_be_read_hides_no_other_damage(run):
    (run / "run.json").write_bytes(b"{")
    flip_bytes(run / shard(run, "panel", "cl", 3))
    assert [fault.split(" ")[0] for fault in found(run)["bytes"]] == [
        "run.json",
        "steps-000000003-000000005.safetensors",
    ]


def test_a_manifest_that_is_gone_is_one_fault(run):
    (run / "manifest.jsonl").unlink()
    assert found(run) == {"bytes": ["manifest.jsonl No such file or directory"]}


@pytest.mark.parametrize("spoilt", [b"torn", b""], ids=["torn", "lost"])
def test_a_bad_line_of_the_manifest_hides_no_other_damage(spoilt, run):
    lines = (run / "manifest.jsonl").read_bytes().splitlines(keepends=True)
    lines[3:4] = [spoilt + b"\n"] if spoilt else []
    (run / "manifest.jsonl").write_bytes(b"".join(lines))
    flip_bytes(run / shard(run, "panel", "cl", 3))
    faults = found(run)
    assert "line 4: " in faults["bytes"][0] and "more" not in faults["bytes"][0] and len(faults["bytes"]) == 2
    assert "the config has shard" in faults["lines"][0] and faults.keys() == {"bytes", "lines"}


def test_a_bad_line_of_a_run_at_work_hides_no_other_damage(run):
    """Of which a checkpoint may have gone as it retired: that is asked of the manifest once more."""
    lines = (run / "manifest.jsonl").read_bytes().splitlines(keepends=True)[:-1]
    lines[3] = b"torn\n"
    (run / "manifest.jsonl").write_bytes(b"".join(lines))
    (run / "checkpoints/step-000000003/state.json").unlink()
    flip_bytes(run / shard(run, "panel", "cl", 0))
    faults = found(run)["bytes"]
    assert "line 4: " in faults[0] and len(faults) == 3 and any(fault.startswith("state.json ") for fault in faults)


def test_an_image_that_cannot_be_read_hides_no_damage_and_no_proof(run, monkeypatch, capsys):
    def broken(*given):
        raise RunStopped("image 3 cannot be decoded")

    monkeypatch.setattr(verification, "check_pixels", broken)
    line = "not proven  made again: this check could not be made: image 3 cannot be decoded"
    proven = verify(run).proven
    assert any(sentence.startswith("twin: ") for sentence in proven) and main(["verify", str(run)]) == 3
    out, err = capsys.readouterr()
    assert all(f"proven      {sentence}" in out for sentence in proven) and out.endswith(f"{line}\n")
    assert err == "coupled-run: image 3 cannot be decoded\n"
    tensors(run, "scalars", "shared", 0, ids_digest=(1, flip))
    rewrite(run, shard(run, "scalars", "twin", 3), lambda t: t["state.distance"].__setitem__(1, 0.5))
    assert {"chain", "twin"} <= found(run).keys()
    assert main(["verify", str(run)]) == 3
    out, err = capsys.readouterr()
    assert out.endswith(f"{line}\n") and "image 3" not in err


def test_where_two_checks_could_not_be_made_both_are_named(run, monkeypatch, capsys):
    def broken(*given):
        raise RunStopped("image 3 cannot be decoded")

    monkeypatch.setattr(verification, "check_pixels", broken)
    monkeypatch.setattr(verification, "check_panels", broken)
    assert [*verify(run).stopped] == ["made again", "panels"] and main(["verify", str(run)]) == 3
    lines = capsys.readouterr().out.splitlines()[-2:]
    assert [line.split(": ")[0] for line in lines] == ["not proven  made again", "not proven  panels"]


def test_a_certificate_that_is_none_leaves_the_rest_to_be_checked(run):
    facts(run, certificate=None)
    tensors(run, "scalars", "shared", 3, ids_digest=(1, flip))
    faults = found(run)
    assert "its certificate is not" in faults["run.json"][0] and "breaks at step 4" in faults["chain"][0]


def test_a_drift_that_cannot_be_understood_is_named_beside_others(run):
    name, data = "drift/step-000000003.json", canonical_json({"now": []})
    (run / "drift").mkdir()
    (run / name).write_bytes(data)
    lines = (run / "manifest.jsonl").read_bytes().splitlines()
    entries = [parse_line(line + b"\n") for line in lines]
    at = next(e.seq for e in entries if e.kind == "checkpoint" and e.first == 3) + 1
    entries.insert(at, Entry(0, "drift", 3, 3, name, len(data), sha256(data).hexdigest()))
    entries = [replace(entry, seq=seq) for seq, entry in enumerate(entries)]
    (run / "manifest.jsonl").write_bytes(b"".join(entry.line() for entry in entries))
    rewrite(run, shard(run, "scalars", "twin", 3), lambda t: t["state.distance"].__setitem__(1, 0.5))
    faults = found(run)
    assert "not a record of drift" in faults["drift"][0] and "exact twin" in faults["twin"][0]
