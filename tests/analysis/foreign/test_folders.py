"""Which files make a run: every arm at every epoch, each once."""

import pytest

from analysis.cli import main
from analysis.foreign import Origin, import_checkpoints
from analysis.foreign.folders import arm_folders, checkpoints, objective_of
from coupled.errors import UserError


@pytest.fixture
def files(tmp_path):
    """Makes empty files: only names are looked at here."""

    def make(**arms):
        for arm, names in arms.items():
            (tmp_path / arm).mkdir(exist_ok=True)
            for name in names:
                (tmp_path / arm / name).touch()
        return tmp_path

    return make


def test_files_are_taken_by_epoch_then_arm_and_other_names_are_passed_over(files):
    root = files(
        nscl=["snapshot_10.pth", "snapshot_9.pth", "snapshot_best.pth", "snapshot_1.pth.tmp"],
        dcl=["epoch_9.pth", "epoch_10.pth", "notes.txt"],
    )
    by_epoch = checkpoints(arm_folders(root, []))
    assert list(by_epoch) == [9, 10] and [list(arms) for arms in by_epoch.values()] == [["dcl", "nscl"]] * 2
    assert {file.form for arms in by_epoch.values() for file in arms.values()} == {"snapshot", "epoch"}


def test_epochs_choose(files):
    root = files(dcl=[f"snapshot_{epoch}.pth" for epoch in range(5)])
    assert list(checkpoints(arm_folders(root, []), [3, 1, 3])) == [1, 3]


@pytest.mark.parametrize(
    ("arms", "epochs", "words"),
    [
        ({"dcl": ["snapshot_1.pth"], "nscl": ["snapshot_2.pth"]}, [], "has no checkpoint of epoch 2"),
        ({"dcl": ["snapshot_1.pth"]}, [4], "has no checkpoint of epoch 4"),
        ({"dcl": ["snapshot_1.pth", "snapshot_2.pth"], "scl": ["epoch_2.pth"]}, [], "all arms have 2"),
        ({"dcl": ["snapshot_1.pth", "epoch_1.pth"]}, [], "two files of epoch 1; epoch_1.pth and snapshot_1.pth"),
        ({"dcl": ["snapshot_1.pth", "snapshot_01.pth"]}, [], "two files of epoch 1"),
        ({"dcl": ["notes.txt"]}, [], "snapshot_<epoch>.pth or epoch_<n>.pth are needed"),
        ({"other": ["snapshot_1.pth"]}, [], "holds none of dcl, nscl, scl, ce"),
    ],
)
def test_what_makes_no_run_is_one_line(arms, epochs, words, files):
    with pytest.raises(UserError) as error:
        checkpoints(arm_folders(files(**arms), []), epochs)
    assert words in str(error.value)


def test_one_arms_own_folder_is_to_be_named(files):
    with pytest.raises(UserError, match=r"give --arm NAME=.*/dcl"):
        arm_folders(files(dcl=["snapshot_1.pth"]) / "dcl", [])


def test_a_linked_folder_is_followed_only_where_the_user_names_it(files):
    root = files(nscl=["snapshot_1.pth"])
    (root / "dcl").symlink_to(root / "nscl")
    with pytest.raises(UserError, match="a link, which is not followed"):
        arm_folders(root, [])
    assert list(arm_folders(None, [("dcl", root / "dcl")])) == ["dcl"]


@pytest.mark.parametrize(
    ("name", "objective"),
    [("dcl", "nt_xent"), ("cl", "nt_xent"), ("nscl-2", "nscl"), ("scl_seed3", "scl"), ("ce", "ce")],
)
def test_the_beginning_of_a_name_tells_the_objective(name, objective):
    assert objective_of(name) == objective


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--arm", "vicreg=."], "its name tells its objective: dcl, nscl, scl, ce"),
        (["--arm", "dcl"], "NAME=DIR is needed"),
        (["--arm", "dcl=nowhere"], "the folder of an arm's checkpoints is needed"),
        (["--arm", "dcl=.", "--arm", "dcl=."], "there is an arm dcl already"),
        ([], "nothing to import"),
        (["nowhere"], "no folder nowhere"),
        (["--arm", "dcl=dcl", "--batch", "1"], "--batch 1; from 2 to the 20000"),
        (["--arm", "dcl=dcl", "--mean", "1", "1", "1"], "one of --mean and --std"),
    ],
)
def test_a_users_mistake_is_one_line_and_makes_nothing(words, message, files, monkeypatch, capsys):
    root = files(dcl=["snapshot_1.pth"])
    monkeypatch.chdir(root)
    assert main(["import", *words, "--data-set", "shapes"]) == 2
    assert message in capsys.readouterr().err.splitlines()[-1]
    assert [path.name for path in root.iterdir()] == ["dcl"]


def test_an_unknown_data_set_is_one_line(files):
    root = files(dcl=["snapshot_1.pth"])
    with pytest.raises(UserError, match="unknown data set shape"):
        import_checkpoints(root, root / "run", Origin("shape", batch=8))


def test_nothing_is_written_over(files):
    root = files(dcl=["snapshot_1.pth"])
    with pytest.raises(UserError, match="is there already"):
        import_checkpoints(root, root / "dcl", Origin("shapes"))
