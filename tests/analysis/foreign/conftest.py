"""Both papers' folders at small width, and the runs that they become; made once."""

import pytest
import torch
from foreign_files import (
    feature_dim,
    projector,
    randomised,
    resnet,
    save_epoch,
    save_snapshot,
    state_of,
    vit,
    with_classifier,
)

from analysis.foreign import Origin, import_checkpoints
from analysis.foreign.loading import Loader

CLASSES = 2  # of the labelling "size" of the data set shapes
EPOCHS = (0, 3)


def network_of(arm, epoch):
    """An encoder and a projector: shared at epoch 0, the arm's own later. The first paper's is twice as wide."""
    seed = 0 if epoch == 0 else 100 * epoch + len(arm) + ord(arm[0])
    encoder = randomised(resnet("resnet18", 4), seed)
    return encoder, projector(feature_dim(encoder), seed=seed + 1)


@pytest.fixture(scope="session")
def second_paper(tmp_path_factory):
    """One folder per arm."""
    folder = tmp_path_factory.mktemp("second") / "checkpoints"
    for epoch in EPOCHS:
        for arm in ("dcl", "nscl", "scl"):
            save_snapshot(folder / arm, epoch, state_of(*network_of(arm, epoch)))
        save_snapshot(folder / "ce", epoch, with_classifier(state_of(*network_of("ce", epoch)), CLASSES))
    (folder / "dcl" / "log.txt").write_text("what is called otherwise is not looked at")
    return folder


@pytest.fixture(scope="session")
def imported_run(second_paper, tmp_path_factory):
    """The second paper's folders as a run."""
    output = tmp_path_factory.mktemp("runs") / "second"
    return import_checkpoints(second_paper, output, Origin("shapes", labelling="size"))


@pytest.fixture
def one_arm(tmp_path):
    """Makes the folder of one arm with one file: `one_arm(encoder, form)`; returns it with the projector."""

    def make(encoder, form="snapshot", epoch=2):
        head = projector(feature_dim(encoder))
        save = save_snapshot if form == "snapshot" else save_epoch
        save(tmp_path / "files", epoch, state_of(encoder, head))
        return tmp_path / "files"

    return make


@pytest.fixture(scope="session")
def small_vit():
    return randomised(vit())


@pytest.fixture(autouse=True)
def _no_gradients():
    with torch.no_grad():
        yield


@pytest.fixture(scope="module")
def loader(tmp_path_factory):
    with Loader(tmp_path_factory.mktemp("loader") / "tensors.safetensors") as loader:
        yield loader
