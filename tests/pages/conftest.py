"""A place for a page: its folder, with two tiny runs, in which what it registers and draws leaves nothing behind."""

import page_place
import pytest
from matplotlib import pyplot
from matplotlib.figure import Figure
from page_checks import BLOCKS

import coupled.notebook
from analysis.runs import own_measures
from coupled import streams
from coupled.config.user_code import execute
from coupled.data import registry as data_sets
from coupled.models import registry as encoders
from coupled.objectives import registry as objectives


@pytest.fixture(scope="session")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pages")
    page_place.make_runs(folder)
    return folder


@pytest.fixture
def place(runs, tmp_path, monkeypatch):
    """Makes the folder of a page the working directory. What a page registers goes; figures are not painted."""
    for registry in (objectives, data_sets, encoders, streams):
        monkeypatch.setattr(registry, "_registered", dict(registry._registered))
    monkeypatch.setattr(coupled.notebook, "train", page_place.trained_small)
    monkeypatch.setattr(Figure, "savefig", page_place.not_painted)
    monkeypatch.setattr(pyplot, "show", lambda: None)

    def enter(page):
        page_place.prepare(tmp_path / "page", page, BLOCKS[page], runs)
        monkeypatch.chdir(tmp_path / "page")
        return tmp_path / "page"

    yield enter
    execute([])
    own_measures.registered.clear()
    pyplot.close("all")
