"""CKA and RSA against an independent implementation, rsatoolbox, where the definitions agree."""

import numpy as np
import pytest
from rsatoolbox.data import Dataset
from rsatoolbox.rdm import calc_rdm, compare

import analysis

pytestmark = [pytest.mark.kernels, pytest.mark.threads]


def pair(seed):
    generator = np.random.default_rng(seed)
    x = generator.standard_normal((20, 5)) + 1
    return x, x @ generator.standard_normal((5, 7)) + generator.standard_normal((20, 7))


def theirs(x, y, method, *, unit):
    """rsatoolbox's comparison of squared Euclidean distances; of unit rows these are 2 − 2 cosine."""
    rows = [t / np.linalg.norm(t, axis=1, keepdims=True) if unit else t for t in (x, y)]
    return compare(*(calc_rdm(Dataset(t), method="euclidean") for t in rows), method=method).item()


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("comparison, method", [("pearson", "corr"), ("spearman", "spearman")])
def test_rsa_is_rsatoolboxs(seed, comparison, method):
    x, y = pair(seed)
    assert analysis.rsa(x, y, comparison=comparison) == pytest.approx(theirs(x, y, method, unit=True), abs=1e-10)


@pytest.mark.parametrize("seed", range(3))
def test_biased_cka_is_rsatoolboxs_whitened_cosine_of_distances(seed):
    # Diedrichsen et al. 2020: with independent noise the whitened cosine of squared distances is linear CKA.
    x, y = pair(seed)
    found = analysis.linear_cka(x, y, debiased=False)
    assert found == pytest.approx(theirs(x, y, "cosine_cov", unit=False), abs=1e-10)
