"""The process that opens checkpoints of unknown origin: `python child.py SOCKET`, a descriptor.

Each request is a line of JSON (`form`, `output`, `seconds`) with the descriptor of a file; the answer is another: the
`epoch`, or the `fault` of the file. A fork of this process reads the file: it runs nothing that the file asks for
(weights_only), can take no more memory and time than a file of its size may, and hands the tensors over as `output`, in
safetensors. The program is run by its path and loads nothing of ours, so that it starts as fast as torch does.
"""

import json
import os
import re
import resource
import signal
import socket
import sys
import warnings
import zipfile
from pathlib import Path
from typing import Any, BinaryIO, Final

# The tensors once, the bytes that they are read from and written to; and what a small file takes.
_COPIES: Final = 4
_SMALL_BYTES: Final = 256 << 20
_HEADER_BYTES: Final = 1 << 20  # of OUTPUT
_TENSORS: Final = 10_000
_LONGEST_NAME: Final = 200  # characters


class Fault(Exception):  # noqa: N818 - as in coupled.errors, its name says what it is of
    """What is wrong with the file, in words."""


def main(descriptor: int) -> None:
    """Answers requests until nobody asks."""
    # Loaded once, before any limit is set: what torch itself takes is no concern of theirs.
    import torch  # noqa: F401
    from safetensors import numpy  # noqa: F401

    with socket.socket(fileno=descriptor) as asking:
        while True:
            request, descriptors, _, _ = socket.recv_fds(asking, 1 << 16, 1)
            if not request:
                return
            asking.sendall(json.dumps(_forked(descriptors[0], **json.loads(request))).encode() + b"\n")
            os.close(descriptors[0])


def _forked(descriptor: int, form: str, output: str, seconds: int) -> dict[str, Any]:
    """The answer of a fork that reads one file."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.write(writer, json.dumps(answer(descriptor, form, output, seconds)).encode())
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        reply = pipe.read()
    ended = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if reply:
        return json.loads(reply)
    how = signal.Signals(-ended).name if ended < 0 else "without a word"
    return {"fault": f"the process that loaded it ended ({how})"}


def answer(descriptor: int, form: str, output: str, seconds: int) -> dict[str, Any]:
    """Loads the file of this descriptor and writes its tensors."""
    import torch
    from safetensors.numpy import save_file

    with open(descriptor, "rb", closefd=False) as file:
        size = os.fstat(descriptor).st_size
        _limit(size, seconds)
        try:
            _check_records(file, size)
            content = torch.load(file, map_location="cpu", weights_only=True)
            state, epoch = (content, None) if form == "epoch" else _parts(content)
            arrays = {name: _array(name, tensor) for name, tensor in _named(state, size).items()}
            save_file(arrays, output)
        except Fault as fault:
            return {"fault": str(fault)}
        except (Exception, RecursionError) as error:
            return {"fault": _reason(f"{type(error).__name__}: {error}")}
    return {"epoch": epoch}


def _limit(size: int, seconds: int) -> None:
    """From here on, a file of this size can have memory in proportion to it, and write as much as it holds."""
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    written = size + _HEADER_BYTES
    resource.setrlimit(resource.RLIMIT_FSIZE, (written, written))
    mapped = Path("/proc/self/statm")
    if mapped.exists():  # on Linux
        pages = int(mapped.read_text().split()[0])
        limit = pages * resource.getpagesize() + _COPIES * size + _SMALL_BYTES
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def _check_records(file: BinaryIO, size: int) -> None:
    """Fault unless the file is a zip file as torch.save writes it: nothing packed, nothing larger than the file."""
    try:
        with zipfile.ZipFile(file) as archive:
            records = archive.infolist()
    except Exception:  # whatever the reader stumbles over
        raise Fault("it is no file that torch.save wrote (a zip file since torch 1.6), or was cut short") from None
    if any(record.compress_type != zipfile.ZIP_STORED for record in records):
        raise Fault("it is packed, which torch.save never does")
    declared = sum(record.file_size for record in records)
    if declared > size:
        raise Fault(f"it has {size} bytes and declares {declared}")
    file.seek(0)


def _parts(content: Any) -> tuple[Any, int]:
    """The state dict of a snapshot, and its number."""
    if not isinstance(content, dict) or "MODEL_STATE" not in content:
        raise Fault("it has no MODEL_STATE")
    epoch = content.get("EPOCHS_RUN")
    if type(epoch) is not int:
        raise Fault("its EPOCHS_RUN is no whole number")
    return content["MODEL_STATE"], epoch


def _named(state: Any, size: int) -> dict[str, Any]:
    """The tensors of a state dict. Fault unless it is one, of numbers that the file can hold."""
    import torch

    if not isinstance(state, dict) or not 0 < len(state) <= _TENSORS:
        raise Fault("its weights are no state dict")
    total = 0
    for name, tensor in state.items():
        if type(name) is not str or not 0 < len(name) <= _LONGEST_NAME or name == "__metadata__":
            raise Fault("a name in its state dict is no name of a tensor")
        plain = type(tensor) in (torch.Tensor, torch.nn.Parameter) and tensor.layout == torch.strided
        if not plain or tensor.device.type != "cpu" or tensor.is_quantized:
            raise Fault(f"{name} is no plain tensor")
        if tensor.dtype not in (torch.float32, torch.int64):
            raise Fault(f"{name} is of {str(tensor.dtype).removeprefix('torch.')}, and float32 is needed")
        total += tensor.numel() * tensor.element_size()
    if total > size:
        raise Fault(f"it has {size} bytes, and its tensors {total}")
    return state


def _array(name: str, tensor: Any) -> Any:
    try:
        return tensor.detach().contiguous().numpy()
    except (RuntimeError, TypeError) as error:
        raise Fault(f"{name} is no plain tensor ({_reason(str(error))})") from None


def _reason(text: str) -> str:
    """torch's message, which may be a page, in a line."""
    if code := re.search(r"GLOBAL (\S+)", text):
        return f"it asks for {code[1]}, which is code: only tensors and plain values are loaded"
    if re.search(r"MemoryError|can't allocate|not enough memory|bad_alloc|bad allocation", text):
        return "it asks for more memory than a file of its size may"
    unpickling = re.search(r"WeightsUnpickler error: ([^\n]*)", text)
    lines = (unpickling[1] if unpickling else text).strip().splitlines()
    return f"it cannot be loaded: {lines[0][:300] if lines else 'no reason is given'}"


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    main(int(sys.argv[1]))
