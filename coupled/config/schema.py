"""What a user may write: frozen dataclasses, one per TOML section, with the meaning, class and range of every field.

None means: not written, so that `resolve.py` fills in the default. `resolved.py` holds what comes out of that.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass

from coupled.config.fields import Schedule, option
from coupled.config.schema_arm import TAU_HIGH, TAU_LOW, Arm
from coupled.config.schema_stream import OwnStream

_LONGEST = 2**53 - 1  # steps and samples that rates are computed from, exact in float64


@dataclass(frozen=True)
class Code:
    """[code] A user's own objectives, data sets and streams."""

    files: tuple[str, ...] = option(
        (), "Python files that register objectives, data sets or streams (docs/own_code.md)", kind="elastic", path=True
    )
    sha256: tuple[str, ...] = option((), "SHA-256 of those files; filled in, and refused when it does not fit")


@dataclass(frozen=True)
class Data:
    """[data] What is trained on."""

    name: str = option("shapes", "data set")
    seed: int | None = option(
        None, "seed of a procedural data set (shapes): which images exist; default: 0", low=0, high=2**64 - 1
    )
    labelling: str | None = option(None, "labels of every arm that names none; default: the data set's own")
    balance_by: str | None = option(None, "batches.stream = balanced: by this labelling; default: data.labelling")
    classes: tuple[int, ...] = option(
        (), "only these classes of data.labelling, renumbered in this order; default: all", low=0
    )
    per_class: int | None = option(None, "at most this many training images of each class", low=1)
    imbalance: float | None = option(
        None, "long tail: training images of the largest class over those of the smallest", low=1, open_low=True
    )
    listing: str | None = option(
        None, "image-folder, hugging-face: SHA-256 of its listing; filled in, and refused when it does not fit"
    )
    workers: int = option(
        0, "image folders: processes that decode and crop ahead (0: none)", kind="elastic", low=0, high=256
    )


@dataclass(frozen=True)
class Batches:
    """[batches] The one batch stream of all arms, but those of kind other-inputs."""

    size: int = option(128, "samples per batch (B); each gives two views", low=2)
    stream: str = option("uniform", "how batches are drawn", choices=("uniform", "balanced"))


@dataclass(frozen=True)
class Views:
    """[views] The two augmented views that all arms share."""

    recipe: str = option("simclr-cifar", "augmentation recipe")
    size: int | None = option(
        None, "height and width of a view in pixels; default: the data set's own", low=8, high=1024
    )


@dataclass(frozen=True)
class Model:
    """[model] Encoder and projector, the same for every arm."""

    encoder: str = option(
        "resnet-small", "encoder; or one that code.files register, or timm:NAME for a model of timm (docs/encoders.md)"
    )
    width: int | None = option(
        None, "channels of the first stage (vit: of a token); default: the encoder's own", low=1, high=4096
    )
    stem: str | None = option(
        None,
        "resnet18/34/50: 3×3 without pooling, or 7×7 with; default: cifar up to 64 px",
        choices=("cifar", "imagenet"),
    )
    patch: int | None = option(None, "vit: side of a patch in pixels; default: 4", low=1, high=64)
    depth: int | None = option(None, "vit: layers; default: 12", low=1, high=64)
    heads: int | None = option(None, "vit: attention heads; default: 12", low=1, high=64)
    projection_hidden: int | None = option(
        None, "hidden width of the projector; default: the dimension of h", low=1, high=65536
    )
    projection_dim: int = option(64, "dimension d of z", low=2, high=65536)
    activation: str | None = option(
        None,
        "nonlinearity of encoder and projector; gelu, silu, softplus are smooth, relu's gradient jumps; default: the "
        "encoder's own, relu for the projector",
        choices=("relu", "gelu", "silu", "softplus"),
        later=True,
    )
    feature_size: int | None = option(
        None, "dimension of h of an encoder that is not built in; filled in, and refused when it does not fit",
        low=1, high=65536, later=True,
    )  # fmt: skip
    stage_sizes: tuple[int, ...] = option(
        (),
        "dimensions of its stage features; filled in, and refused when they do not fit",
        low=1,
        high=65536,
        later=True,
    )
    tensors: tuple[str, ...] = option(
        (), "names and shapes of its weights; filled in, and refused when they do not fit", later=True
    )
    dropout: float = option(0.0, "must be 0: masks would be randomness that arms do not share", low=0, high=1)


@dataclass(frozen=True)
class Optimiser:
    """[optimiser] The same for every arm."""

    name: str = option("sgd", "optimiser", choices=("sgd", "lars", "adamw"))
    learning_rate: float = option(0.3, "peak learning rate, before `scaling`", low=0, open_low=True, rounded=True)
    scaling: str = option(
        "constant",
        "the peak times (batches.size / reference_batch) to the power 0, 1, 1/2, 1/4",
        choices=("constant", "linear", "sqrt", "fourth-root"),
    )
    reference_batch: int | None = option(
        None, "the batch size that learning_rate is for; default: 256", low=1, high=_LONGEST
    )
    momentum: float | None = option(
        None, "sgd, lars: momentum; default: 0.9", low=0, high=1, open_high=True, rounded=True
    )
    weight_decay: float = option(
        0.0,
        "sgd: coupled, of all parameters; lars: coupled, adamw: decoupled, of those with two axes or more",
        low=0,
        rounded=True,
    )
    trust: float | None = option(None, "lars: trust coefficient; default: 0.001", low=0, open_low=True, rounded=True)
    beta1: float | None = option(
        None, "adamw: decay of the mean; default: 0.9", low=0, high=1, open_high=True, rounded=True
    )
    beta2: float | None = option(
        None, "adamw: decay of the square; default: 0.999", low=0, high=1, open_high=True, rounded=True
    )
    epsilon: float | None = option(None, "adamw: added to the root; default: 1e-8", low=0, open_low=True, rounded=True)
    clip_norm: float | None = option(
        None,
        "an arm's gradient is scaled down to this global norm; default: no clipping",
        low=0,
        open_low=True,
        rounded=True,
    )
    schedule: str = option(
        "cosine", "after warm-up: cosine to 0 at the horizon, or constant", choices=("cosine", "constant")
    )
    warmup: int = option(0, "steps of linear warm-up", low=0, high=_LONGEST)
    horizon: int | None = option(
        None, "schedule = cosine: the step at which it reaches 0; default: train.steps", low=1, high=_LONGEST
    )


@dataclass(frozen=True)
class Train:
    """[train] The run itself."""

    # recorded: how far a training is followed changes no step of it (a cosine's end is optimiser.horizon)
    steps: int = option(300, "updates (T); the states recorded are 0 … T", kind="recorded", low=0, high=10_000_000)
    temperature: float = option(0.5, "temperature τ of every arm that names none", low=TAU_LOW, high=TAU_HIGH)
    views_forward: str = option(
        "joint",
        "one forward of both views, or one of each: batch-norm then sees a view at a time",
        choices=("joint", "separate"),
    )
    precision: str = option(
        "float32",
        "of weights, gradients and activations; bf16: matrix products in bfloat16, all else in float32",
        choices=("float32", "float64", "bf16"),
    )
    memory_format: str = option(
        "contiguous", "layout of activations; changes bits and speed", choices=("contiguous", "channels_last")
    )
    threads: int = option(1, "CPU threads of the process; changes bits", low=1, high=1024)
    device: str = option(
        "cpu",
        "where arms live; auto: cuda where torch can use it, else cpu, which the run then has in its record",
        choices=("cpu", "cuda", "auto"),
    )
    tf32: bool = option(False, "device = cuda: convolutions of float32 in TF32")
    compile: bool = option(False, "torch.compile of the training forward and backward")
    graphs: bool = option(
        True, "device = cuda: CUDA graphs, where nothing forbids them; the bytes are the same", kind="elastic"
    )
    side_by_side: bool = option(
        False, "graphs: those of all arms at once, each in memory of its own; the bytes are the same", kind="elastic"
    )

    @property
    def dtype(self) -> str:
        """Name of the dtype of weights, gradients, h and z: float32 or float64."""
        return "float64" if self.precision == "float64" else "float32"


@dataclass(frozen=True)
class Record:
    """[record.<stream>] When each stream records."""

    scalars: Schedule = option(Schedule(every=1), "losses, gap, same-class mass, weight gap, digests", kind="recorded")
    layers: Schedule = option(Schedule(every=1), "per-layer norms, distances, angles", kind="recorded")
    motion: Schedule = option(
        Schedule(every=1), "distance from the arm's own start, and its direction", kind="recorded"
    )
    similarity: Schedule = option(
        Schedule(every=1), "each arm's batch similarity matrix as its factor z", kind="recorded", states=False
    )
    panel: Schedule = option(
        # Dense enough that an alignment curve is a curve. 30 and 300 are on every shipped schedule, but not on log = 4.
        Schedule(log=4, steps=(30, 150, 250, 300), last=True),
        "h and z of the panel, eval mode",
        kind="recorded",
    )
    surrogate: Schedule = option(Schedule(log=2, last=True), "z of the surrogate panel, eval mode", kind="recorded")
    flips: Schedule = option(
        Schedule(),
        "units whose sign differs between an arm and its reference, by stage; default: never",
        kind="recorded",
        later=True,
    )
    pixels: Schedule = option(Schedule(log=2), "digest of every view's pixels", kind="recorded", states=False)
    ledger: Schedule = option(
        Schedule(),
        "what the arm's divergence from its reference is made of, layer by layer: a backward more of every arm; "
        "default: never",
        kind="recorded",
        later=True,
    )
    own: Mapping[str, OwnStream] = option(
        {}, "streams of one's own (docs/own_code.md)", kind="recorded", later=True, states=False
    )


@dataclass(frozen=True)
class Ledger:
    """[ledger] What the stream of that name tells besides."""

    contrast: tuple[str, ...] = option(
        (),
        "arms whose gradient is taken at their reference's weights as well: a backward more of the reference for each",
        kind="recorded",
        later=True,
    )


@dataclass(frozen=True)
class Panel:
    """[panel] The fixed samples that arms are compared on; the same ids for every run of a data set."""

    size: int = option(1024, "test samples of the panel, un-augmented", kind="recorded", low=4)
    surrogate_size: int = option(
        128, "training samples of the surrogate panel, two fixed views each", kind="recorded", low=2
    )
    flips_size: int = option(
        64,
        "record.flips looks at this many of the panel's first ids (all, if there are fewer)",
        kind="recorded",
        low=1,
        later=True,
    )
    stages: bool = option(False, "record the pooled features of every encoder stage as well", kind="recorded")


@dataclass(frozen=True)
class Checkpoints:
    """[checkpoints] Which states are kept whole."""

    keep: Schedule = option(Schedule(log=1, last=True), "permanent checkpoints", kind="recorded")
    recovery: Schedule = option(
        Schedule(every=500), "more checkpoints to resume from; the two newest stay on disk", kind="recorded"
    )


@dataclass(frozen=True)
class Paths:
    """[paths] Where things are on this machine."""

    data: str = option(
        "", "folder of the data set's files; default: where its package puts them", kind="elastic", path=True
    )
    runs: str = option("runs", "folder that run directories are made in", kind="elastic", path=True)


@dataclass(frozen=True)
class Writing:
    """[writing] How records and checkpoints reach the disk; their bytes are the same either way."""

    asynchronous: bool = option(True, "a thread of its own writes while the next steps are computed", kind="elastic")
    queue_mib: int = option(512, "what may wait for that thread, MiB; then the run waits", kind="elastic", low=1)


@dataclass(frozen=True)
class Log:
    """[log] Where a run can be followed beside its records, at a bounded rate (docs/watch.md); it has equal bytes."""

    trackers: tuple[str, ...] = option(
        (), "mirrors of losses, gaps, CKA", kind="elastic", choices=("tensorboard", "trackio", "wandb")
    )
    seconds: float = option(2.0, "seconds from one point to the next, at least", kind="elastic", low=0.1, high=86400)
    live: bool = option(True, "log/live.json, for coupled-run watch between two checkpoints", kind="elastic")


@dataclass(frozen=True)
class Ranks:
    """[ranks] How processes share the work, under torchrun or with --ranks (docs/ranks.md)."""

    arms: int | None = option(
        None, "groups that the arms are placed on; default: as many as there are ranks and arms", kind="elastic", low=1
    )
    data: int | None = option(
        None, "ranks that split every batch; default: what ranks.arms leaves, mostly 1", kind="elastic", low=1
    )
    timeout: float = option(
        600.0, "seconds that a rank waits for another before the job ends", kind="elastic", low=1, high=86400
    )
    check: int = option(
        100, "steps between two comparisons of the weights of data ranks, which must be equal", kind="elastic", low=1
    )


@dataclass(frozen=True)
class Written:
    """A whole run as a user wrote it."""

    name: str = option("", "name of the run; default: the config file's", kind="elastic")
    seed: int = option(0, "run seed: initial weights, batches, views", low=0, high=2**64 - 1)
    code: Code = dataclasses.field(default_factory=Code)
    data: Data = dataclasses.field(default_factory=Data)
    batches: Batches = dataclasses.field(default_factory=Batches)
    views: Views = dataclasses.field(default_factory=Views)
    model: Model = dataclasses.field(default_factory=Model)
    optimiser: Optimiser = dataclasses.field(default_factory=Optimiser)
    train: Train = dataclasses.field(default_factory=Train)
    record: Record = dataclasses.field(default_factory=Record)
    ledger: Ledger = dataclasses.field(default_factory=Ledger)
    panel: Panel = dataclasses.field(default_factory=Panel)
    checkpoints: Checkpoints = dataclasses.field(default_factory=Checkpoints)
    paths: Paths = dataclasses.field(default_factory=Paths)
    writing: Writing = dataclasses.field(default_factory=Writing)
    log: Log = dataclasses.field(default_factory=Log)
    ranks: Ranks = dataclasses.field(default_factory=Ranks)
    arms: Mapping[str, Arm] = dataclasses.field(default_factory=dict)
