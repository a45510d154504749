"""Arrays and tensors as they come: the value of the plain copy, or one line that says what to do."""

import re
import warnings
from fractions import Fraction

import numpy as np
import pytest
import torch

import analysis
from coupled.errors import UserError

pytestmark = pytest.mark.kernels

LABELS = np.arange(20) % 3
MEASURES = {
    "linear CKA": analysis.linear_cka,
    "RSA": analysis.rsa,
    "kNN overlap": lambda x, y: analysis.knn_overlap(x, y, k=3),
    "Procrustes distance": analysis.procrustes_distance,
    "similarity drift": lambda x, y: np.array(analysis.similarity_drift(x, y)),
    "cka": lambda x, y: analysis.estimate("cka", x, y).value,
    "CDNV": lambda x, _: analysis.cdnv(x, LABELS),
    "directional CDNV": lambda x, _: analysis.directional_cdnv(x, LABELS),
    "augmentation collapse": lambda x, _: analysis.augmentation_collapse(LABELS, x),
    "within-class collapse": lambda x, _: analysis.within_class_collapse(x, LABELS),
    "simplex ETF": lambda x, _: np.array(analysis.simplex_deviation(x, LABELS)),
    "effective rank": lambda x, _: analysis.effective_rank(x),
    "decision axes": lambda x, _: analysis.decision_axes(x, LABELS, np.arange(20) % 2)[0].cosine,
}


def whole(seed, d):
    """Small whole numbers, which every float holds."""
    return np.random.default_rng(seed).integers(0, 9, (20, d)).astype(np.float64)


def read_only(x):
    x = x.copy()
    x.flags.writeable = False
    return x


def unaligned(x):
    return np.frombuffer(b"\0" + x.tobytes(), np.uint8)[1:].view(np.float64).reshape(x.shape)


def packed(x):
    table = np.zeros(len(x), [("id", "u1"), ("row", "f8", x.shape[1])])
    table["row"] = x
    return table["row"]


GOOD = {
    "reversed": lambda x: x[::-1].copy()[::-1],
    "mirrored": lambda x: x[:, ::-1].copy()[:, ::-1],
    "big-endian": lambda x: x.astype(">f8"),
    "big-endian integers": lambda x: x.astype(">i4"),
    "longdouble": lambda x: x.astype(np.longdouble),
    "float16": lambda x: x.astype(np.float16),
    "int8": lambda x: x.astype(np.int8),
    "uint64": lambda x: x.astype(np.uint64),
    "Fortran order": np.asfortranarray,
    "read-only": read_only,
    "every other column": lambda x: np.repeat(x, 2, axis=1)[:, ::2],
    "a transposed copy": lambda x: x.T.copy().T,
    "off its alignment": unaligned,
    "a column of a packed table": packed,
    "lists": lambda x: x.tolist(),
    "rows": list,
    "masked nowhere": np.ma.masked_array,
    "bfloat16": lambda x: torch.tensor(x, dtype=torch.bfloat16),
    "half": lambda x: torch.tensor(x, dtype=torch.half),
    "float8": lambda x: torch.tensor(x).float().to(torch.float8_e4m3fn),
    "integers": lambda x: torch.tensor(x).int(),
    "uint16": lambda x: torch.tensor(x.astype(np.uint16)),
    "a parameter": lambda x: torch.nn.Parameter(torch.tensor(x)),
    "a result with a gradient": lambda x: 1.0 * torch.tensor(x, requires_grad=True),
    "a negated view": lambda x: torch.complex(torch.zeros(x.shape).double(), -torch.tensor(x)).conj().imag,
    "rows of tensors": lambda x: list(torch.tensor(x)),
}


@pytest.mark.parametrize("name", MEASURES)
@pytest.mark.parametrize("change", GOOD.values(), ids=GOOD)
def test_numbers_count_and_not_how_they_lie_in_memory(change, name):
    x, y = whole(0, 3), whole(1, 4)
    expected = pytest.approx(MEASURES[name](x, y), rel=1e-12, abs=1e-12)
    assert MEASURES[name](change(x), change(y)) == expected
    assert MEASURES[name](change(x), torch.tensor(y)) == expected


def test_mapped_features_are_read_without_a_warning(tmp_path):
    x, y = whole(2, 3), whole(3, 3)
    np.save(tmp_path / "x.npy", x)
    for mode in ("r", "c"):
        assert analysis.linear_cka(np.load(tmp_path / "x.npy", mmap_mode=mode), y) == analysis.linear_cka(x, y)


def test_features_are_left_as_they_were():
    x, y = whole(4, 3) + 0.5, whole(5, 3) * 1e200
    kept = x.copy(), y.copy()
    for measure in MEASURES.values():
        measure(x, y)
    assert np.array_equal(x, kept[0]) and np.array_equal(y, kept[1])


def nested():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch, about its prototype
        return torch.nested.nested_tensor([torch.ones(2), torch.ones(3)])


BAD = {
    "objects": (lambda x: x.astype(object), "an array of object; real numbers are needed; convert it"),
    "fractions": (lambda x: np.array([[Fraction(int(v)) for v in row] for row in x]), "an array of object; real"),
    "strings": (lambda x: x.astype(str), "an array of <U32; real numbers are needed; convert it"),
    "truths": (lambda x: x > 3, "an array of bool; real numbers are needed"),
    "complex": (lambda x: x.astype(complex), "an array of complex128; real numbers are needed"),
    "times": (lambda x: x.astype("M8[D]"), r"an array of datetime64\[D\]; real numbers"),
    "a table": (lambda x: np.zeros((20, 3), [("a", "f4")]), r"an array of .*'a'.*; real numbers"),
    "ragged": (lambda x: [[1.0], [1.0, 2.0]], "a list; it is no array: .*; convert it"),
    "nothing": (lambda x: None, "an array of object; real numbers"),
    "a word": (lambda x: "abc", "an array of <U3; real numbers"),
    "masked": (lambda x: np.ma.masked_array(x, x > 3), "a masked array; no value may be masked; fill them or leave"),
    "gradients in a list": (lambda x: list(torch.tensor(x, requires_grad=True)), "a list; it is no array: .*grad"),
    "too large": (lambda x: np.longdouble(x) * np.longdouble("1e4000"), "float64 cannot hold; scale it"),
    "too small": (lambda x: np.longdouble(x) * np.longdouble("1e-4000"), "float64 cannot hold; scale it"),
    "sparse": (lambda x: torch.tensor(x).to_sparse(), "a tensor of torch.sparse_coo on cpu; dense numbers are needed"),
    "without data": (lambda x: torch.ones(20, 3, device="meta"), "a tensor of torch.strided on meta; dense"),
    "nested": (lambda x: nested(), "a tensor of .*; dense numbers are needed"),
    "true tensors": (lambda x: torch.tensor(x > 3), "a tensor of torch.bool; real numbers are needed"),
    "complex tensors": (lambda x: torch.tensor(x + 0j), "a tensor of torch.complex128; real numbers are needed"),
    "one number": (lambda x: 3.0, r"\(\).*are needed"),
    "one row": (lambda x: x[:, 0], r"\(20,\).*are needed"),
    "no samples": (lambda x: x[:0], r"\(0, 3\).*(at least [234] samples are needed|n and d at least 1)"),
    "no features": (lambda x: x[:, :0], r"\(20, 0\).*(at least one feature|n and d at least 1)"),
}


@pytest.mark.parametrize("name", MEASURES)
@pytest.mark.parametrize("change, said", BAD.values(), ids=BAD)
def test_what_is_no_features_is_one_clear_line(change, said, name):
    x = change(whole(0, 3))
    with pytest.raises(UserError, match=f"^{re.escape(name)} of .*{said}") as caught:
        MEASURES[name](x, x)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", list(MEASURES)[:6])
def test_the_second_representation_is_checked_as_the_first(name):
    x = whole(0, 3)
    for bad in (x.astype(object), x[:, :0], np.ma.masked_array(x, x > 3)):
        with pytest.raises(UserError, match=f"^{re.escape(name)} of .*(needed|masked)"):
            MEASURES[name](x, bad)


LABELLED = {
    "negative": LABELS - 5,
    "large": LABELS.astype(np.uint64) + np.uint64(2**63),
    "big-endian": LABELS.astype(">i2"),
    "reversed": LABELS[::-1].copy()[::-1],
    "a list": LABELS.tolist(),
    "tensors": torch.tensor(LABELS),
    "uint16": torch.tensor(LABELS.astype(np.uint16)),
}


OF_CLASSES = (
    analysis.cdnv,
    analysis.directional_cdnv,
    analysis.within_class_collapse,
    analysis.simplex_deviation,
)


@pytest.mark.parametrize("labels", LABELLED.values(), ids=LABELLED)
@pytest.mark.parametrize("measure", OF_CLASSES)
def test_labels_are_any_integers(measure, labels):
    assert measure(whole(0, 3), labels) == measure(whole(0, 3), LABELS)


@pytest.mark.parametrize(
    "labels, said",
    [
        (LABELS.astype(float), "labels of float64; integers are needed; number the classes"),
        (LABELS.astype(str), "labels of <U21; integers are needed; number the classes"),
        (LABELS > 0, "labels of bool; integers are needed"),
        (LABELS.astype(object), "labels of object; integers are needed"),
        (np.ma.masked_array(LABELS, LABELS > 1), "a masked array"),
        (torch.tensor(LABELS).float(), "labels of torch.float32; integers"),
        (torch.tensor(LABELS > 0), "labels of torch.bool; integers"),
        (None, "labels of object; integers"),
        (3, r"features \(20, 3\) and labels \(\); "),
        (LABELS[:, None], r"features \(20, 3\) and labels \(20, 1\); "),
        (LABELS[:0], r"features \(20, 3\) and labels \(0,\); "),
        (LABELS * 0, "1 classes; at least two"),
    ],
)
@pytest.mark.parametrize("measure", OF_CLASSES)
def test_what_is_no_labels_is_one_clear_line(measure, labels, said):
    with pytest.raises(UserError, match=said):
        measure(whole(0, 3), labels)


@pytest.mark.parametrize("batch", [(0,), (0, 3), (2, 0)])
@pytest.mark.parametrize("name", list(MEASURES)[:4])
def test_no_pairs_have_no_values(name, batch):
    assert MEASURES[name](np.zeros((*batch, 8, 3)), np.zeros((*batch, 8, 2))).shape == batch
