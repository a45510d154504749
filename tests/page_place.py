"""Where the blocks of pages run: a folder with tiny runs under the names that a page uses, and everything smaller."""

import re
import tomllib
from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path

import torch
from helpers import TINY, tiny
from page_blocks import ROOT

from coupled.config import from_tables, load
from coupled.config.load import located_code
from coupled.config.toml_value import toml_value
from coupled.data import DATASETS
from coupled.driver.train import train
from coupled.errors import UserError
from coupled.sweeps.reading import load as load_sweep

STEPS = 12
SEEDS = ("first", "second")
_ARMS = {name: TINY["arms"][name] for name in ("cl", "nscl", "twin", "independent")} | {
    "nudged": {"kind": "nudged", "scale": 1e-4},
    "placebo": {"kind": "placebo", "of": "nscl"},
    "scl": {"objective": "scl"},
    "ce": {"objective": "ce"},
}
# Sections with a field that decides what the others may be: where a page gives that, what the tiny config has goes.
_DECIDES = {"data": "name", "model": "encoder"}


def make_runs(folder):
    """Two finished tiny runs of two seeds, `first` and `second`, with the arms that pages speak of."""
    for seed, name in enumerate(SEEDS):
        config = tiny(
            folder,
            name=name,
            seed=seed,
            arms=_ARMS,
            data={"labelling": "shape", "per_class": 12},
            train={"steps": STEPS},
            checkpoints={"keep": {"steps": [0, 1], "last": True}},
        )
        train(config)


def prepare(folder, page, blocks, runs):
    """The folder of a page: its files, `configs`, and in `runs` a tiny run under every name that the page uses."""
    folder.mkdir()
    (folder / "configs").symlink_to(ROOT / "configs")
    (folder / "runs").mkdir()
    for name in {*SEEDS, *re.findall(r"\bruns/([\w-]+)", (ROOT / page).read_text(encoding="utf-8"))}:
        (folder / "runs" / name).symlink_to(runs / (name if name in SEEDS else SEEDS[0]))
    for block in blocks:
        if block.language == "python" and block.file:
            (folder / block.file).write_text(block.text)


def names(folder):
    """What a block may call the reader's own: two models, images, the runs of two points of a study."""
    torch.manual_seed(0)
    models = [_Model() for _ in range(2)]
    runs = [folder / "runs" / name for name in SEEDS]
    images = torch.rand(32, 3, 12, 12)
    return {"model_a": models[0], "model_b": models[1], "images": images, "two": runs, "eight": runs}


class _Model(torch.nn.Module):
    """Gives (h, z)."""

    def __init__(self):
        super().__init__()
        self.h, self.z = torch.nn.Linear(3 * 144, 8), torch.nn.Linear(8, 4)

    def forward(self, images):
        h = self.h(images.flatten(1))
        return h, self.z(h)


def not_painted(figure, file, **options):
    """In place of `Figure.savefig`: painting takes most of a command's time."""
    if hasattr(file, "write"):
        file.write(b"painted")
    else:
        Path(file).write_bytes(b"painted")


def train_named(folder, text):
    """Train the page's own configs whose runs its Python opens: `runs/looks` is that of looks.toml."""
    for path in folder.glob("*.toml"):
        run = folder / "runs" / path.stem
        if f"runs/{path.stem}" in text:
            run.unlink()
            trained_small(path, {"name": path.stem})


def smaller(text):
    """A Python block that evaluates few images, at steps that the tiny runs keep."""
    return re.sub(r"(Evaluation\(.*?)steps=\[[\d, ]+\](, size=None)?", rf"\1steps=[0, {STEPS}], size=96", text)


def trained_small(config, overrides=None, **terms):
    """`coupled.train` of a config with its overrides, which are checked as they are; but tiny and in silence."""
    if isinstance(overrides, Mapping):
        overrides = [f"{field}={toml_value(value)}" for field, value in overrides.items()]
    given = load(config, overrides)
    if given.data.name in DATASETS and given.data.name != "shapes":
        raise UserError(f"data.name = {given.data.name}", "a page's Python trains on shapes, or on data of its own")
    small = {
        "train.steps": min(given.train.steps, STEPS),
        "train.threads": 1,
        "batches.size": min(given.batches.size, 16),
        "views.size": min(given.views.size, 12),
        "panel.size": 32,
        "panel.surrogate_size": 8,
    }
    small = [f"{field}={value}" for field, value in small.items()]
    return train(load(config, [*(overrides or []), *small]), **{**terms, "reporter": None})


def check_toml(block, earlier, folder):
    """A block's tables make a config, or a sweep: over a tiny one, or over that and the page's earlier blocks."""
    tables = tomllib.loads(block.text)
    if tables.keys() & {"base", "axes", "points", "set", "slurm"} or isinstance(tables.get("arms"), list):
        _check_sweep(block, tables, folder)
        return
    try:
        whole = _over_base([tables])
        _checked(whole, folder)
    except UserError as alone:
        whole = _over_base([*(tomllib.loads(each.text) for each in earlier), tables])
        try:
            _checked(whole, folder)
        except UserError:
            raise alone from None
    if block.file:
        (folder / block.file).write_text("\n".join(_lines(whole)) + "\n")


def _checked(tables, folder):
    raw = deepcopy(tables)
    located_code(raw, folder)
    return from_tables(raw)


def _check_sweep(block, tables, folder):
    (folder / "sweeps").mkdir(exist_ok=True)
    (folder / "quickstart.toml").write_bytes((ROOT / "configs" / "quickstart.toml").read_bytes())
    head = "" if "base" in tables else 'base = "../quickstart.toml"\n'
    tail = "" if tables.keys() & {"axes", "points"} else "\n[axes]\nseed = [0, 1]\n"
    path = folder / "sweeps" / f"line_{block.line}.toml"
    path.write_text(head + block.text + tail)
    load_sweep(path)


def _over_base(several):
    whole = deepcopy(TINY) | {"train": {"steps": 100, "threads": 1}}
    for tables in several:
        for section, values in deepcopy(tables).items():
            if not isinstance(values, dict) or _DECIDES.get(section) in values:
                whole[section] = values
            else:
                whole[section] = {**whole.get(section, {}), **values}
    return whole


def _lines(table, prefix=""):
    for key, value in table.items():
        if value and isinstance(value, dict):
            yield from _lines(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key} = {toml_value(value)}"
