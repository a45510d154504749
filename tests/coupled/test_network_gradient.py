"""The gradient of a whole float32 network against float64: what our batch-norm costs or saves in accuracy."""

from statistics import median

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from coupled.models.batchnorm import BatchNorm
from coupled.models.resnet import Projector, SmallResNet
from coupled.objectives import loss

SEEDS, WIDTH, DIMENSION = 20, 8, 64
LAYOUTS = [torch.contiguous_format, torch.channels_last]


class Net(nn.Module):
    """The small ResNet and its projector, with weights of the usual sizes."""

    def __init__(self, seed):
        super().__init__()
        self.encoder, self.projector = SmallResNet(WIDTH), Projector(8 * WIDTH, DIMENSION, DIMENSION)
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for name, tensor in [*self.named_parameters(), *self.named_buffers()]:
                if tensor.ndim == 1:
                    tensor.fill_(float(name.endswith(("weight", "running_var"))))
                else:
                    fan = tensor[:, 0].numel() if tensor.ndim == 4 else tensor.shape[1]
                    tensor.normal_(0, (2 / fan) ** 0.5, generator=generator)

    def forward(self, images):
        return F.normalize(self.projector(self.encoder(images)[0]), dim=1)


def with_torchs_norms(network):
    """The same network with every batch-norm replaced by torch's, weights kept."""
    for parent in list(network.modules()):
        for name, norm in list(parent.named_children()):
            if isinstance(norm, BatchNorm):
                kind = nn.BatchNorm1d if isinstance(parent, Projector) else nn.BatchNorm2d
                theirs = kind(len(norm.weight))
                theirs.load_state_dict(norm.state_dict(), strict=False)
                # torch has no norm with a scale and no shift; ours has the value that theirs starts with, 0.
                theirs.bias.requires_grad_(norm.bias is not None)
                setattr(parent, name, theirs)
    return network


def two_views(seed, B, size):
    """Smooth coloured images cut out at two places, each view with a contrast, a tint and noise of its own."""
    generator = torch.Generator().manual_seed(1000 + seed)

    def draw(*shape):
        return torch.randn(shape, generator=generator)

    whole = F.interpolate(draw(B, 3, 5, 5), size=size + 4, mode="bicubic", align_corners=False) + draw(B, 3, 1, 1)
    views = []
    for top, left in torch.randint(5, (2, 2), generator=generator).tolist():
        cut = whole[:, :, top : top + size, left : left + size]
        views.append(cut * (1 + 0.2 * draw(B, 1, 1, 1)) + 0.2 * draw(B, 3, 1, 1) + 0.05 * draw(B, 3, size, size))
    return torch.cat(views)


def gradient(network, images, layout):
    """The gradient of the contrastive loss at τ = ½, flat, in float64."""
    network = network.to(memory_format=layout)
    images = images.to(next(network.parameters()).dtype).contiguous(memory_format=layout)
    loss("dcl", network(images), None, 0.5).backward()
    # In the order of the axes, not of the memory: a channels_last weight has a channels_last gradient.
    return torch.cat([p.grad.double().flatten() for p in network.parameters() if p.requires_grad])


def median_errors(B, size):
    """Median over seeds of ‖g32 − g64‖/‖g64‖, for ours and torch's batch-norm in each layout."""
    errors = {(norm, layout): [] for norm in ("ours", "torch") for layout in LAYOUTS}
    for seed in range(SEEDS):
        images = two_views(seed, B, size)
        # By torch's norms: a fault of ours that float64 has as well would otherwise cancel.
        exact = gradient(with_torchs_norms(Net(seed)).double(), images, torch.contiguous_format)
        for norm, layout in errors:
            network = Net(seed) if norm == "ours" else with_torchs_norms(Net(seed))
            found = gradient(network, images, layout)
            errors[norm, layout].append(float((found - exact).norm() / exact.norm()))
    return {key: median(values) for key, values in errors.items()}


# Most of the error is the convolutions' own, the same for every norm; a ReLU that takes the other side at a
# pre-activation near 0 gives single seeds a thousand times more, hence medians. Measured: 0.95–1.05 of torch's.
@pytest.mark.parametrize(("B", "size"), [(16, 16), pytest.param(64, 28, marks=pytest.mark.slow)])
def test_the_networks_gradient_is_as_accurate_as_with_torchs_batchnorm_in_its_best_layout(B, size):
    errors = median_errors(B, size)
    best = min(errors["torch", layout] for layout in LAYOUTS)
    report = {f"{norm} {layout}": f"{value:.2e}" for (norm, layout), value in errors.items()}
    assert all(errors["ours", layout] <= 1.1 * best for layout in LAYOUTS), report


def test_torchs_norms_compute_the_same_network_in_float64():
    images = two_views(0, 4, 12)
    ours = gradient(Net(0).double(), images, torch.contiguous_format)
    theirs = gradient(with_torchs_norms(Net(0)).double(), images, torch.contiguous_format)
    assert torch.allclose(ours, theirs, rtol=1e-9, atol=1e-12)
