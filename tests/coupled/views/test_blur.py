import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torchvision.transforms.v2 import functional as tv

from coupled.address import Purpose
from coupled.views import Blur, Recipe, blur, draw_colours, view_words
from coupled.views.blur import blurs_of, gaussian_blur, kernel_weights

pytestmark = pytest.mark.kernels


def some_views(n, size):
    return torch.rand(n, 3, size, size, generator=torch.Generator().manual_seed(size))


def some_colours(n, blur):
    return draw_colours(Recipe(blur=blur), view_words(0, Purpose.VIEW, torch.arange(n), 0, 0))


def same_bytes(a, b):
    return a.shape == b.shape and a.dtype == b.dtype and a.numpy().tobytes() == b.numpy().tobytes()


def tv_blur(view, colours, i):
    kernel, sigma = int(colours.kernel[i]), float(colours.sigma[i])
    return tv.gaussian_blur(view, [kernel, kernel], [sigma, sigma]) if colours.blurred[i] else view


@pytest.mark.parametrize(("size", "kernel"), [(32, 3), (32, 9), (64, 7), (224, 23)])
def test_blur_equals_torchvision(size, kernel):
    n = 12 if size < 100 else 4
    views, colours = some_views(n, size), some_colours(n, Blur(kernel, (0.1, 2.0), 0.7))
    colours.sigma[0], colours.sigma[1] = 0.1, 2.0
    ours = gaussian_blur(views.clone(), blurs_of(colours))
    # Against float64: rounding of float32 weights, products and sums. Against float32: torchvision sums up to 529
    # products in one go, where ours are two passes of at most 23.
    for dtype, bound in ((torch.float64, 3e-7), (torch.float32, 2e-6)):
        theirs = torch.stack([tv_blur(view.to(dtype), colours, i) for i, view in enumerate(views)])
        assert (ours - theirs).abs().max() < bound
    assert colours.blurred[:2].all()


@given(sigma=st.floats(1e-3, 50), radius=st.integers(0, 22))
def test_kernel_weights_are_the_normalised_gaussian(sigma, radius):
    ours = kernel_weights(torch.tensor([sigma], dtype=torch.float64), torch.tensor([2 * radius + 1]))[0].double()
    literal = [math.exp(-(k**2) / (2 * sigma**2)) for k in range(radius + 1)]
    literal = torch.tensor(literal, dtype=torch.float64) / (literal[0] + 2 * sum(literal[1:]))
    # Half a float32 ulp of 1, and what is cut off: e⁻¹⁸ at most.
    assert (ours - literal).abs().max() < 6e-8
    assert len(ours) == radius + 1 and abs(ours[0] + 2 * ours[1:].sum() - 1) < 2e-7


def test_negligible_kernel_weights_are_exact_zeros():
    sigma = torch.tensor([0.1, 1e-300, 5e-324, 1.0, 2.0], dtype=torch.float64)
    weights = kernel_weights(sigma, torch.full((5,), 23))
    assert weights[:3].tolist() == [[1.0] + [0.0] * 11] * 3
    assert (weights > 0).sum(1).tolist() == [1, 1, 1, 7, 12]
    assert weights[weights > 0].min() > 1e-9  # far from denormals


def test_golden_kernel_weights():
    """Bits, not values: they are made of operations that no machine rounds differently."""
    weights = kernel_weights(torch.tensor([1.3], dtype=torch.float64), torch.tensor([9]))
    assert weights.view(torch.int32).tolist() == [[1050488563, 1047124723, 1036028121, 1018130400, 993061974]]


def test_views_of_one_batch_may_have_kernels_of_their_own():
    views, mixed = some_views(6, 32), some_colours(6, Blur(9, (0.5, 2.0), 1.0))
    mixed.kernel[::2] = 5
    together = gaussian_blur(views.clone(), blurs_of(mixed))
    for i in range(6):
        assert same_bytes(gaussian_blur(views[i : i + 1].clone(), blurs_of(mixed[i : i + 1])), together[i : i + 1])


def test_views_that_are_not_blurred_keep_their_bytes():
    views, colours = some_views(40, 32), some_colours(40, Blur(9, (0.1, 2.0), 0.5))
    ours = gaussian_blur(views.clone(), blurs_of(colours))
    assert same_bytes(ours[~colours.blurred], views[~colours.blurred])
    assert not (ours == views).flatten(1).all(1)[colours.blurred & (colours.sigma > 0.5)].any()


@pytest.mark.parametrize("at_once", [1, 7])
def test_how_many_views_are_blurred_at_once_changes_no_byte(at_once, monkeypatch):
    views, table = some_views(40, 12), blurs_of(some_colours(40, Blur(9, (0.1, 2.0), 0.5)))
    whole = gaussian_blur(views.clone(), table)
    monkeypatch.setattr(blur, "_CACHED", at_once * views[0].numel())
    assert at_once < len(table.rows) and same_bytes(gaussian_blur(views.clone(), table), whole)


def test_a_kernel_too_wide_to_be_mirrored_is_refused():
    colours = some_colours(2, Blur(23, (2.0, 2.0), 1.0))
    assert gaussian_blur(some_views(2, 12), blurs_of(colours)).isfinite().all()
    with pytest.raises(AssertionError, match="cannot be mirrored into 11 px"):
        gaussian_blur(some_views(2, 11), blurs_of(colours))
