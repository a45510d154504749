"""Student's t by an independent library, and what symmetry and limits demand."""

import math

import pytest
from scipy import stats

from analysis.statistics.quantiles import student_t

DOFS = (0.5, 1, 2, 2.5, 3, 7, 15, 30, 99.5, 1e3, 9e4, 1.1e5, 1e9)
LEVELS = (1e-12, 1e-6, 0.005, 0.025, 0.05, 0.3, 0.49, 0.4999, 0.6, 0.9, 0.975, 0.995)


@pytest.mark.parametrize("dof", DOFS)
@pytest.mark.parametrize("p", LEVELS)
def test_quantiles_are_scipys(dof, p):
    assert student_t(p, dof) == pytest.approx(stats.t.ppf(p, dof), rel=1e-9)


def test_known_values():
    assert student_t(0.975, 1) == pytest.approx(math.tan(0.475 * math.pi), rel=1e-12)
    assert student_t(0.975, 15) == pytest.approx(2.131449545559323, rel=1e-12)
    assert student_t(0.975, math.inf) == pytest.approx(1.959963984540054, rel=1e-12)


def test_quantiles_are_odd_around_the_median():
    assert student_t(0.5, 3) == 0
    assert student_t(0.25, 4) == -student_t(0.75, 4)


@pytest.mark.parametrize("p, dof", [(0, 3), (1, 3), (0.5, 0), (math.nan, 3), (0.5, math.nan)])
def test_what_has_no_quantile_is_an_error(p, dof):
    with pytest.raises(AssertionError):
        student_t(p, dof)
