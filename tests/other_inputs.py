"""Arms with other inputs beside those that share theirs: the smallest run that has every kind of them."""

from helpers import tiny

SHARING = {"cl": {"objective": "dcl"}, "nscl": {"objective": "nscl"}}
OTHERS = {
    "other": {"kind": "other-inputs"},
    "views": {"kind": "other-inputs", "of": "nscl", "inputs": "views", "draw": 3},
    "twin": {"kind": "twin", "of": "other"},
}
KINDS = ("batches-1", "views-3")


def config_of(folder, arms=None, **sections):
    base = {
        "arms": {**SHARING, **OTHERS} if arms is None else arms,
        "record": {"pixels": {"every": 2}},
        "checkpoints": {"keep": {"steps": [0, 3], "last": True}},
    }
    return tiny(folder, **{**base, **sections})
