"""Process-wide settings that determinism needs, in one place."""

import gc
import hashlib
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Final

import torch

import coupled
from coupled.config import Config
from coupled.errors import UserError
from coupled.gpu_libraries import libraries
from coupled.models.timm_models import LIBRARY, is_timm, timm_version

_CUDA_SETTINGS: Final = (
    "CUBLAS_WORKSPACE_CONFIG",
    "CUBLASLT_WORKSPACE_SIZE",
    "NVIDIA_TF32_OVERRIDE",
    "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE",
)


def configure(config: Config) -> torch.device:
    """Set threads and deterministic kernels; returns the arms' device. Touches no random generator."""
    # cuBLAS reads this when CUDA starts; without it its reductions may differ from call to call.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.set_num_threads(config.train.threads)
    if config.train.compile:
        torch.use_deterministic_algorithms(True)
    else:
        # The same without the compiler's own flag: setting that would load the compiler, which takes as long as torch.
        torch.set_deterministic_debug_mode("error")
    # Nothing here reads memory it has not written; filling it first would cost 5 % of a step.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[reportAttributeAccessIssue]
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.allow_tf32 = config.train.tf32
    # Similarities are divided by the temperature: TF32 would leave the losses three digits.
    torch.backends.cuda.matmul.allow_tf32 = False
    # Parts of a sum would be put together in bfloat16, in as many parts as the library likes.
    torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction = False
    check_device(config)
    return torch.device(config.train.device)


def check_device(config: Config) -> None:
    """UserError if the arms' device is not here."""
    if config.train.device == "cuda" and not torch.cuda.is_available():
        raise UserError(
            "train.device = cuda", "this machine has no CUDA device that torch can use", "use train.device = cpu"
        )


def device_memory(config: Config) -> int | None:
    """All bytes of the GPU that this process's arms would live on; None for a CPU, or where no GPU is here."""
    if config.train.device != "cuda" or not torch.cuda.is_available():
        return None
    return torch.cuda.get_device_properties(torch.cuda.current_device()).total_memory


def take_gpu(config: Config, number: int) -> None:
    """Where arms live on a GPU, the one of this number, counted round those that are here, is theirs from now on."""
    if config.train.device == "cuda" and torch.cuda.is_available():
        torch.cuda.set_device(number % torch.cuda.device_count())


def forget_run() -> None:
    """Gives back the memory of a run that has ended: the next one in this process has as much room as a first one."""
    gc.collect()  # a run's parts name each other
    give_back_memory()


def give_back_memory() -> None:
    """What torch keeps of a GPU's memory for tensors to come, of the stream that had it last, is for all again."""
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()


def has_streams(device: torch.device) -> bool:
    """Can the device copy, and make a batch, beside a step? Then what goes there is pinned: from other memory it is
    copied while the host waits.
    """
    return device.type == "cuda"


def runs_behind(device: torch.device) -> bool:
    """Does the device compute while the host goes on, so that asking for a number is to wait?"""
    return has_streams(device)


@contextmanager
def one_thread() -> Iterator[None]:
    """One CPU thread inside. With small tensors, waking other threads takes longer than they save: observing took twice
    the time.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def versions(encoder: str = "") -> dict[str, str]:
    """Versions of all that the bits depend on, that of timm where the encoder is one of its models; that of coupled
    ends in a digest of its code.
    """
    names = ("torch", "torchvision", "numpy", "numba", "pillow", "safetensors")
    own = f"{coupled.__version__}+{_code_digest()[:12]}"
    return {"coupled": own, "python": platform.python_version(), **{name: version(name) for name in names}} | (
        {LIBRARY: timm_version()} if is_timm(encoder) else {}
    )


@cache
def _code_digest() -> str:
    """SHA-256 (hex) of the package's Python files, names and bytes."""
    root, sha = Path(__file__).parent, hashlib.sha256()
    for path in sorted(root.rglob("*.py"), key=lambda path: path.relative_to(root).as_posix()):
        data = path.read_bytes()
        sha.update(f"{path.relative_to(root).as_posix()}\0{len(data)}\0".encode() + data)
    return sha.hexdigest()


def machine(device: torch.device) -> dict[str, str]:
    """The machine type, without its name: float bytes are comparable between runs of one type only."""
    facts = {"architecture": platform.machine(), "device": device.type}
    if device.type != "cuda":
        return facts | {"capability": torch.backends.cpu.get_cpu_capability()}
    return facts | {"capability": torch.cuda.get_device_name(device)} | _cuda_facts()


def _cuda_facts() -> dict[str, str]:
    """What the bits of a GPU's kernels depend on beside the card and torch: libraries, settings in the environment."""
    return libraries() | {name.lower(): os.environ[name] for name in _CUDA_SETTINGS if name in os.environ}
