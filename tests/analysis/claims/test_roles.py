"""Arms are found by what they are."""

import pytest
from helpers import tiny

from analysis.claims.roles import CL, ROLES, having, partner
from coupled.config import resolved

ARMS = {
    "first": {"objective": "nt_xent"},
    "coarse": {"objective": "nscl", "labelling": "size"},
    "fine": {"objective": "nscl", "labelling": "shape"},
    "of_nscl": {"objective": "scl", "reference": "coarse"},
    "scl": {"objective": "scl", "labelling": "size"},
    "fine_placebo": {"kind": "placebo", "of": "fine"},
    "coarse_placebo": {"kind": "placebo", "of": "coarse"},
    "of_scl": {"kind": "placebo", "of": "scl"},
    "ulp": {"kind": "nudged"},
    "late": {"kind": "nudged", "scale": 1e-3, "at": 2},
    "nudged_nscl": {"kind": "nudged", "of": "fine", "scale": 1e-4},
    "nudged": {"kind": "nudged", "scale": 1e-4},
    "as_far_as_scl": {"kind": "nudged", "scale": "matched", "match": "scl"},
    "as_far": {"kind": "nudged", "scale": "matched", "match": "fine"},
    "other_start": {"kind": "independent"},
    "other_views": {"kind": "other-inputs", "inputs": "views"},
    "other_batches": {"kind": "other-inputs"},
    "pull": {"kind": "anti", "of": "fine"},
}
FOUND = {
    CL: ["first"],
    "nscl": ["coarse", "fine"],
    "scl": ["scl"],
    "ce": [],
    "placebo": ["fine_placebo", "coarse_placebo"],
    "nudged": ["nudged"],
    "matched": ["as_far"],
    "independent": ["other_start"],
    "other-inputs": ["other_batches"],
}


@pytest.fixture(scope="module")
def arms(tmp_path_factory):
    return {table["name"]: table for table in resolved(tiny(tmp_path_factory.mktemp("a"), arms=ARMS))["arms"]}


def test_each_role_has_its_arms_and_no_others(arms):
    assert set(FOUND) == {CL, *ROLES}
    assert {role: having(arms, role) for role in FOUND} == FOUND


def test_partners_have_the_same_labels_where_they_have_any(arms):
    assert [partner(arms, arm, "placebo") for arm in ("coarse", "fine")] == ["coarse_placebo", "fine_placebo"]
    assert [partner(arms, arm, "scl") for arm in ("coarse", "fine")] == ["scl", None]
    assert [partner(arms, arm, "nudged") for arm in ("coarse", "fine")] == ["nudged"] * 2
    assert partner(arms, "fine", CL) == "first"
