"""The standard streams of a command: if nobody can read the output, the work goes on; every encoding can show it."""

import io
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final, TextIO, cast

# Our own signs where the encoding is not UTF-8. Others (of names and paths) are shown if it has them, else escaped.
_SPELLED: Final = str.maketrans(
    {
        "…": "...", "–": "-", "−": "-", "±": "+/-", "×": "x", "÷": "/", "·": "*", "√": "sqrt ", "½": "1/2", "²": "^2",
        "ᵀ": "^T", "′": "'", "‖": "||", "≤": "<=", "≥": ">=", "≠": "!=", "Δ": "Delta", "Σ": "Sigma", "δ": "delta",
        "ε": "epsilon", "η": "eta", "λ": "lambda", "π": "pi", "ρ": "rho", "τ": "tau", "μ": "mu", "θ": "theta", "ℓ": "l",
        "→": "->", "∞": "infinity", "⁻": "^-", "⁰": "0", "¹": "1", "³": "^3", "⁵": "5", "₀": "_0",
    }
)  # fmt: skip


def spelled(text: str, encoding: str | None) -> str:
    """The text, with characters that the encoding lacks spelled out; as it is if the encoding is not known (None)."""
    if text.isascii() or encoding is None:
        return text
    if not encoding.lower().startswith("utf"):
        text = text.translate(_SPELLED)
    # A file name that is not UTF-8 has characters (surrogates) that not even UTF-8 can show.
    return text.encode(encoding, "backslashreplace").decode(encoding)


class Output:
    """A standard stream that accepts every write and raises no error.

    `failure`: the first error that kept text from being shown; nothing is shown after it.
    """

    def __init__(self, stream: TextIO | None) -> None:
        self._stream: TextIO = stream or cast(TextIO, _Nowhere())
        self.failure: OSError | None = None

    def write(self, text: str) -> int:
        self._try(lambda: self._stream.write(spelled(text, self._stream.encoding)))
        return len(text)

    def flush(self) -> None:
        self._try(self._stream.flush)

    def end(self) -> None:
        """Drop the text that was not shown: Python would try again as it exits, and complain."""
        if self.failure is not None:
            with suppress(OSError):  # a stream without a descriptor
                nowhere = os.open(os.devnull, os.O_WRONLY)
                try:
                    os.dup2(nowhere, self._stream.fileno())
                finally:
                    os.close(nowhere)

    def _try(self, act: Callable[[], object]) -> None:
        if self.failure is None:
            try:
                act()
            except OSError as error:
                self.failure = error

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def standard() -> Iterator[Output]:
    """Inside, sys.stdout and sys.stderr are `Output`; yields the first. Descriptors 0, 1 and 2 are open."""
    _open_closed()
    before = sys.stdout, sys.stderr
    outputs = [Output(stream) for stream in before]
    sys.stdout, sys.stderr = (cast(TextIO, output) for output in outputs)
    try:
        yield outputs[0]
    finally:
        for output in outputs:
            output.flush()
            output.end()
        sys.stdout, sys.stderr = before


def _open_closed() -> None:
    """Standard descriptors that are closed (`>&-`) lead to /dev/null, also in processes that this one starts.

    Otherwise the next file to be opened would get the number, and a library would print into it.
    """
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest number that is free: this one
            os.set_inheritable(number, True)


class _Nowhere(io.TextIOBase):
    """Takes the place of a stream that was closed when Python started."""

    def write(self, text: str) -> int:
        return len(text)
