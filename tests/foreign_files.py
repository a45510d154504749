"""Checkpoints as the papers' code writes them, by hand from their documented names, at small width; and torchvision's
models of the same weights. Nothing of ours takes part.
"""

import torch
from torch import nn
from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet
from torchvision.models.vision_transformer import VisionTransformer

HIDDEN, DIM = 12, 6
BLOCKS = {
    "resnet18": (BasicBlock, (2, 2, 2, 2)),
    "resnet34": (BasicBlock, (3, 4, 6, 3)),
    "resnet50": (Bottleneck, (3, 4, 6, 3)),
}


def resnet(name, width, stem="cifar"):
    """torchvision's ResNet without fc, every channel count times width / 64."""
    block, counts = BLOCKS[name]
    model = ResNet(block, list(counts))
    if stem == "cifar":
        model.conv1, model.maxpool = nn.Conv2d(3, width, 3, 1, 1, bias=False), nn.Identity()
    else:
        model.conv1 = nn.Conv2d(3, width, 7, 2, 3, bias=False)
    model.bn1, model.inplanes, model.fc = nn.BatchNorm2d(width), width, nn.Identity()
    for k, count in enumerate(counts):
        setattr(model, f"layer{k + 1}", model._make_layer(block, width * 2**k, count, stride=1 if k == 0 else 2))
    return model


def vit(width=12, depth=2, heads=3, size=32, patch=8):
    """torchvision's transformer without heads."""
    model = VisionTransformer(size, patch, depth, heads, width, 4 * width)
    model.heads = nn.Identity()
    return model


def randomised(model, seed=0):
    """The model with every weight and running statistic drawn, in evaluation mode: nothing is 0 or 1 by chance."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if name.endswith("num_batches_tracked"):
                tensor.fill_(17)
            elif name.endswith("running_var"):
                tensor.uniform_(0.5, 1.5, generator=generator)
            elif tensor.ndim > 1:
                fan_in = tensor[0].numel()
                tensor.normal_(0, (1 / fan_in) ** 0.5, generator=generator)
            else:
                tensor.uniform_(-0.2, 0.2, generator=generator)
                tensor += name.endswith("weight")
    return model.eval()


def projector(feature_dim, hidden=HIDDEN, dim=DIM, seed=1):
    """Linear – BN – ReLU – Linear – BN, the last shift frozen at 0."""
    layers = (nn.Linear(feature_dim, hidden, bias=False), nn.BatchNorm1d(hidden), nn.ReLU())
    model = nn.Sequential(*layers, nn.Linear(hidden, dim, bias=False), nn.BatchNorm1d(dim))
    randomised(model, seed)
    model[4].bias.data.zero_()
    return model


def feature_dim(encoder):
    return encoder.layer4[0].downsample[1].num_features if isinstance(encoder, ResNet) else encoder.hidden_dim


def state_of(encoder, head):
    """MODEL_STATE of a contrastive arm."""
    state = {f"encoder.net.{name}": tensor for name, tensor in encoder.state_dict().items()}
    return state | {f"projector.projector.{name}": tensor for name, tensor in head.state_dict().items()}


def with_classifier(state, classes, dim=DIM):
    """MODEL_STATE of a ce arm around that of a contrastive one."""
    wrapped = {f"simclr_model.{name}": tensor for name, tensor in state.items()}
    weight = torch.arange(classes * dim, dtype=torch.float32).view(classes, dim)
    return wrapped | {"classifier.weight": weight, "classifier.bias": torch.ones(classes)}


def save_snapshot(folder, epoch, state, **parts):
    """The second paper's file, and the first's of several GPUs."""
    folder.mkdir(parents=True, exist_ok=True)
    rest = {"OPTIMIZER": {"state": {}, "param_groups": [{"lr": 0.1}]}, "SCHEDULER": {"last_epoch": epoch}}
    path = folder / f"snapshot_{epoch}.pth"
    torch.save({"MODEL_STATE": state, "EPOCHS_RUN": epoch, **rest, **parts}, path)
    return path


def save_epoch(folder, epoch, state):
    """The first paper's file of one GPU: a bare state dict."""
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(state, folder / f"epoch_{epoch}.pth")
