"""The runs that ranks train in one launch, by number of ranks: `coupled/ranks/test_ranks.py` compares them."""

from pathlib import Path

from helpers import tables

THREE = {"cl": {"objective": "dcl"}, "nscl": {"objective": "nscl"}, "twin": {"kind": "twin"}}
EVERY = {
    **THREE,
    "nt": {"objective": "nt_xent"},
    "inside": {"objective": "nscl", "positive_in_denominator": True},
    "between": {"objective": "homotopy", "lam": 0.3},
    "scl": {"objective": "scl"},
    "ce": {"objective": "ce", "reference": "scl"},
    "nudged": {"kind": "nudged", "scale": 1e-3},
    "independent": {"kind": "independent"},
    "placebo": {"kind": "placebo", "of": "nscl"},
    "anti": {"kind": "anti", "of": "inside"},
}
CONTROLLED = {
    **THREE,
    "placebo": {"kind": "placebo", "of": "nscl"},
    "relabelled": {"kind": "placebo", "of": "nscl", "across": "run"},
    "anti": {"kind": "anti", "of": "placebo"},
}
FOUR_OF_CL = {name: EVERY[name] for name in ("cl", "nscl", "nudged", "twin")}
MOVED = {
    "cl": {"objective": "dcl"},
    "along": {"kind": "nudged", "at": 3, "direction": "batch", "scale": 0.1},
    "matched": {"kind": "nudged", "scale": "matched", "match": "nscl"},
    "kicked": {"kind": "kicked", "match": "nscl"},
    "twin": {"kind": "twin", "of": "kicked"},
    "nscl": {"objective": "nscl"},
}
# On two ranks of their own the first has other batches alone, and the second both kinds.
INPUTS = {
    "cl": {"objective": "dcl"},
    "other": {"kind": "other-inputs"},
    "nscl": {"objective": "nscl"},
    "views": {"kind": "other-inputs", "of": "nscl", "inputs": "views"},
    "twin": {"kind": "twin", "of": "other"},
}
FILES = {"name": "image-folder", "labelling": "class", "workers": 1}
FOUR = {name: EVERY[name] for name in ("cl", "nscl", "scl", "ce")}
RECORD = {"panel": {"every": 4}, "pixels": {"every": 3}}
KEEP = {"keep": {"steps": [0, 3], "last": True}, "recovery": {"steps": [4, 7]}}


def case(
    name,
    way="train",
    *,
    arms=THREE,
    ranks=None,
    train=None,
    batch=12,
    optimiser=None,
    mutant=None,
    steps=None,
    overrides=(),
    record=None,
    **sections,
):
    given = tables(
        arms=arms,
        train={"steps": 10, "precision": "float64", **(train or {})},
        batches={"size": batch},
        # A step of .3 on 12 samples makes ten steps amplify rounding by 10⁵, which is training's doing, not the ranks'.
        optimiser=optimiser or {"learning_rate": 0.05},
        record={**RECORD, **(record or {})},
        checkpoints=KEEP,
        ranks=ranks or {},
        **sections,
    )
    return {"name": name, "way": way, "tables": given, "mutant": mutant, "steps": steps, "overrides": overrides}


def placed(given, folder):
    """The tables with their runs in a folder; images that they read are in its folder `images`."""
    paths = {"runs": str(folder)} | ({"data": str(Path(folder) / "images")} if given["data"] == FILES else {})
    return given | {"paths": paths}


def split(W, **ranks):
    return {"arms": 1, "data": W, **ranks}


FLOAT32 = {"precision": "float32"}
VIT = {"encoder": "vit", "width": 16, "depth": 1, "heads": 2}
ADAMW = {"name": "adamw", "learning_rate": 1e-3, "clip_norm": 0.1}


def data_cases(W):
    return [
        case(f"every-{W}", arms=EVERY, ranks=split(W)),
        case(f"large-{W}", arms=FOUR, batch=132, ranks=split(W)),
        case(f"float32-{W}", "gradient", arms=EVERY, batch=132, ranks=split(W), train=FLOAT32, mutant="smooth"),
        case(f"stopped-{W}", "stop", ranks=split(W), train=FLOAT32, steps=[2, 5, 6]),
        case(f"whole-{W}", ranks=split(W), train=FLOAT32),
    ]


LEDGER = {"record": {"ledger": {"every": 1}}, "ledger": {"contrast": ["nscl"]}}
BY_RANKS = {
    2: [
        case("arms-2", arms=CONTROLLED, ranks={"data": 1}, train=FLOAT32, record={"flips": {"every": 3}}),
        case("count-2", "count", ranks={"data": 1}),
        *data_cases(2),
        case("halted-arms-2", "halted", ranks={"data": 1}, train=FLOAT32, mutant="behind"),
        case("astray-2", "astray", ranks=split(2, check=2), train=FLOAT32),
        case("resplit-2", "stop", ranks=split(2), steps=[5], overrides=["ranks.data=1"]),
        case("dropped-2", ranks=split(2), mutant="dropped"),
        case("shrunk-2", ranks=split(2), mutant="shrunk"),
    ],
    3: [
        case("arms-3", arms=CONTROLLED, train=FLOAT32),
        case("arms-moved-3", arms=MOVED, train=FLOAT32),
        case("count-3", "count"),
        case("arms-behind-3", arms=CONTROLLED, train=FLOAT32, mutant="behind"),
        case("halted-3", "halted", ranks=split(3), train=FLOAT32, mutant="behind"),
        case("arms-stopped-3", "stop", arms=CONTROLLED, train=FLOAT32, steps=[2, 5]),
        case("arms-files-3", "stop", arms=INPUTS, train=FLOAT32, steps=[2, 5], data=FILES),
        *data_cases(3),
        case("separate-3", ranks=split(3), train={"steps": 3, "views_forward": "separate"}),
        case("last-3", ranks=split(3), train={"steps": 3, "memory_format": "channels_last"}, model={"width": 8}),
        case("vit-3", ranks=split(3), train={"steps": 3}, model=VIT, views={"size": 12}),
        case("adamw-3", ranks=split(3), train={"steps": 3}, optimiser=ADAMW),
        case("ddp-whole-3", ranks=split(3), train=FLOAT32, mutant="ddp"),
        case("ddp-stopped-3", "stop", ranks=split(3), train=FLOAT32, mutant="ddp", steps=[5]),
        case("dropped-3", ranks=split(3), mutant="dropped"),
        case("shrunk-3", ranks=split(3), mutant="shrunk"),
    ],
    4: [
        *data_cases(4),
        case("mixed-4", arms=FOUR, ranks={"arms": 2, "data": 2}),
        case("mixed-stopped-4", "stop", ranks={"arms": 2, "data": 2}, train=FLOAT32, steps=[2, 5]),
        case("mixed-whole-4", ranks={"arms": 2, "data": 2}, train=FLOAT32),
    ],
}  # fmt: skip

# Controls and the ledger, on two ranks: a launch of their own.
CONTROLS = [
    case("arms-ledger-2", ranks={"data": 1}, train=FLOAT32, **LEDGER),
    case("stopped-ledger-2", "stop", ranks={"data": 1}, train=FLOAT32, steps=[2, 5], **LEDGER),
    case("every-ledger-2", arms=FOUR_OF_CL, ranks=split(2), **LEDGER),
    case("arms-moved-2", arms=MOVED, ranks={"data": 1}, train=FLOAT32, record=LEDGER["record"]),
    case("arms-inputs-2", arms=INPUTS, ranks={"data": 1}, train=FLOAT32),
    case("arms-files-2", arms=INPUTS, ranks={"data": 1}, train=FLOAT32, batch=11, data=FILES),
    case("every-inputs-2", arms=INPUTS, ranks=split(2), train={"steps": 3}),
    case("every-moved-2", arms=MOVED, ranks=split(2), train={"steps": 5}),
]
