"""Pickles of CIFAR's python version, and no others: dictionaries of bytes, numbers, lists and arrays of bytes.

Python's own unpickler is not used, not even a restricted one: it calls what a file names with what a file holds, makes
a table as large as the largest number a file claims, and hashes tuples that a few bytes nest a million deep. Here the
instructions of a pickle (Python's `pickletools` documents them) are followed one by one, and only those which Python 2
wrote for such a dictionary. The four names that occur in it (`_NAMES`) stay names: nothing is imported and nothing is
called, whatever a file holds. Arrays are views of the file's own bytes.
"""

from collections.abc import Callable
from dataclasses import dataclass

_RECONSTRUCT, _NDARRAY, _DTYPE = "numpy.core.multiarray _reconstruct", "numpy ndarray", "numpy dtype"
_NAMES = {_RECONSTRUCT, _NDARRAY, _DTYPE, "numpy._core.multiarray _reconstruct"}  # the last as NumPy 2 writes it
_LONGEST_NAME = 80  # bytes
_LONGEST_KEY = 80  # bytes
_LONGEST_LIST = 1 << 20  # no file of CIFAR has lists of more than 50,000
_LONGEST_TUPLE = 16  # numpy has eight in the state of a type
_LONGEST_INTEGER = 8  # bytes


class RefusedError(Exception):
    """What a pickle holds that is not admitted, in words that follow its path."""


@dataclass(eq=False)
class Bytes:
    """An array of uint8. `content` is None until the pickle has filled it; it has as many bytes as `shape` says."""

    shape: tuple[int, ...] = ()
    by_columns: bool = False
    content: memoryview | None = None


class _Name(str):
    """A name of `_NAMES`, which is nothing but its text."""


class _Uint8:
    """The type of an array's elements: no other is admitted."""


_MARK = object()
# What may be an element of a list and of a tuple: nothing that holds others, but for an array's shape in its state. So
# nothing is nested, and no value can be small in the file and large when it is looked through.
_SCALARS = (int, bytes, type(None))
_IN_TUPLES = (*_SCALARS, memoryview, _Name, _Uint8)
_IN_DICTIONARIES = (*_SCALARS, memoryview, list, Bytes)


def unpickle(content: memoryview, most: int) -> dict[bytes, object]:
    """The dictionary that a pickle of at most `most` instructions holds, from all of its bytes.

    Values are int, bytes, None, `Bytes`, memoryview (of long strings), and lists of the first three. RefusedError for
    anything else.
    """
    return _Machine(content, most).run()


class _Machine:
    """A pickle's stack and its memo (values that may be used again, by number). Each instruction is a method."""

    def __init__(self, content: memoryview, most: int) -> None:
        self._content, self._most, self._at = content, most, 0
        self._stack: list[object] = []
        self._memo: dict[int, object] = {}

    def run(self) -> dict[bytes, object]:
        for _ in range(self._most):
            (code,) = self._take(1)
            if code == _STOP:
                return self._result()
            instruction = _INSTRUCTIONS.get(code)
            if instruction is None:
                raise RefusedError(f"has the instruction {bytes([code])!r} at byte {self._at - 1}: it is not admitted")
            instruction(self)
        raise RefusedError(f"has more than {self._most} instructions")

    def _result(self) -> dict[bytes, object]:
        if self._at != len(self._content):
            raise RefusedError(f"goes on for {len(self._content) - self._at} bytes behind its end")
        if len(self._stack) != 1 or not isinstance(self._stack[0], dict):
            raise RefusedError("is a pickle of something else than one dictionary")
        return self._stack[0]

    # What all instructions need.

    def _take(self, length: int) -> memoryview:
        """The next bytes; none are copied."""
        start, self._at = self._at, self._at + length
        if self._at > len(self._content):
            raise RefusedError(f"ends inside {length} bytes that begin at byte {start}")
        return self._content[start : self._at]

    def _number(self, length: int, *, signed: bool = False) -> int:
        return int.from_bytes(self._take(length), "little", signed=signed)

    def _line(self) -> str:
        """The text up to the next end of a line."""
        content = bytes(self._content[self._at : self._at + _LONGEST_NAME])
        line, end, _ = content.partition(b"\n")
        if not end:
            raise RefusedError(f"has a name of more than {_LONGEST_NAME} bytes at byte {self._at}")
        self._at += len(line) + 1
        return line.decode("latin-1")

    def _pop(self) -> object:
        if not self._stack or self._stack[-1] is _MARK:
            raise RefusedError(f"takes a value that is not there before byte {self._at}")
        return self._stack.pop()

    def _top(self, kind: type) -> object:
        """The value on the stack, which stays there and must be of a kind."""
        if not self._stack or type(self._stack[-1]) is not kind:
            raise RefusedError(f"changes something else than a {kind.__name__.lower()} before byte {self._at}")
        return self._stack[-1]

    def _since_mark(self) -> list[object]:
        """The values above the last mark, taken from the stack with it."""
        start = len(self._stack) - 1
        while start >= 0 and self._stack[start] is not _MARK:
            start -= 1
        if start < 0:
            raise RefusedError(f"lacks a mark before byte {self._at}")
        values = self._stack[start + 1 :]
        del self._stack[start:]
        return values

    def _check(self, values: list[object], kinds: tuple[type, ...], place: str) -> None:
        for value in values:
            if not isinstance(value, kinds):
                kind = type(value).__name__.strip("_").lower()
                raise RefusedError(f"puts a {kind} into a {place} before byte {self._at}")

    # Values.

    def protocol(self) -> None:
        (number,) = self._take(1)
        if number > 2:
            raise RefusedError(f"is of protocol {number}; Python 2 wrote 2 at most")

    def short_string(self) -> None:
        """Short strings are copied: views of them would take more memory than they do."""
        self._stack.append(bytes(self._take(self._number(1))))

    def string(self) -> None:
        self._stack.append(self._take(self._number(4)))

    def integer(self, length: int, *, signed: bool = False) -> None:
        if length > _LONGEST_INTEGER:
            raise RefusedError(f"has a number of {length} bytes before byte {self._at}")
        self._stack.append(self._number(length, signed=signed))

    def long_integer(self) -> None:
        self.integer(self._number(1), signed=True)

    def truth(self) -> None:
        """Protocol 1 writes True and False as numbers of two digits; any other number in digits is refused."""
        line = self._line()
        if line not in ("00", "01"):
            raise RefusedError(f"has a number in digits before byte {self._at}")
        self._stack.append(line == "01")

    def push(self, value: object) -> None:
        self._stack.append(value)

    def name(self) -> None:
        name = f"{self._line()} {self._line()}"
        if name not in _NAMES:
            raise RefusedError(f"names {name.replace(' ', '.', 1)!a}, which is not admitted")
        self._stack.append(_Name(name))

    # Values of values.

    def tuple_of(self, length: int) -> None:
        self._tuple([self._pop() for _ in range(length)][::-1])

    def tuple_since_mark(self) -> None:
        self._tuple(self._since_mark())

    def _tuple(self, values: list[object]) -> None:
        # Long ones inside each other would take long to check.
        if len(values) > _LONGEST_TUPLE:
            raise RefusedError(f"has a tuple of more than {_LONGEST_TUPLE} elements")
        shapes = [value for value in values if isinstance(value, tuple)]
        for shape in shapes:
            self._check(list(shape), (int, bytes), "tuple inside a tuple")
        self._check([value for value in values if not isinstance(value, tuple)], _IN_TUPLES, "tuple")
        self._stack.append(tuple(values))

    def append(self) -> None:
        self._extend([self._pop()])

    def appends(self) -> None:
        self._extend(self._since_mark())

    def _extend(self, values: list[object]) -> None:
        self._check(values, _SCALARS, "list")
        target = self._top(list)
        assert isinstance(target, list)
        if len(target) + len(values) > _LONGEST_LIST:
            raise RefusedError(f"has a list of more than {_LONGEST_LIST} elements")
        target += values

    def set_item(self) -> None:
        value, key = self._pop(), self._pop()
        self._update([key, value])

    def set_items(self) -> None:
        self._update(self._since_mark())

    def _update(self, pairs: list[object]) -> None:
        target = self._top(dict)
        assert isinstance(target, dict)
        if len(pairs) % 2:
            raise RefusedError(f"has a key without a value before byte {self._at}")
        for key, value in zip(pairs[::2], pairs[1::2], strict=True):
            if not isinstance(key, bytes) or len(key) > _LONGEST_KEY or key in target:
                raise RefusedError(f"has a key that is not a short string, or is there twice, before byte {self._at}")
            self._check([value], _IN_DICTIONARIES, "dictionary")
            target[key] = value

    # The memo.

    def put(self, length: int) -> None:
        number = self._number(length)
        if not self._stack or self._stack[-1] is _MARK:
            raise RefusedError(f"keeps a value that is not there before byte {self._at}")
        self._memo[number] = self._stack[-1]

    def get(self, length: int) -> None:
        number = self._number(length)
        if number not in self._memo:
            raise RefusedError(f"uses value {number} before it has one, before byte {self._at}")
        self._stack.append(self._memo[number])

    # Arrays: an empty one and the type of its elements are made, then each is given its state.

    def make(self) -> None:
        arguments, maker = self._pop(), self._pop()
        reconstructs = isinstance(maker, _Name) and maker.endswith("_reconstruct")
        if reconstructs and arguments == (_NDARRAY, (0,), b"b"):
            self._stack.append(Bytes())
        elif isinstance(maker, _Name) and maker == _DTYPE and arguments == (b"u1", 0, 1):
            self._stack.append(_Uint8())
        else:
            raise RefusedError(f"makes something else than an array of bytes before byte {self._at}")

    def fill(self) -> None:
        state, target = self._pop(), self._stack[-1] if self._stack else None
        if isinstance(target, _Uint8) and isinstance(state, tuple):
            # Version, order of bytes, then None or small numbers: an element has no parts, no fields, no shape.
            if all(item is None or item in (b"|", b"<", b"=") or item in range(-1, 5) for item in state):
                return
        elif isinstance(target, Bytes) and target.content is None and isinstance(state, tuple) and len(state) == 5:
            _version, shape, kind, by_columns, content = state
            if isinstance(content, bytes):
                content = memoryview(content)
            if isinstance(kind, _Uint8) and isinstance(content, memoryview) and _fits(shape, len(content)):
                target.shape, target.by_columns, target.content = shape, by_columns == 1, content
                return
        raise RefusedError(f"gives an array or its type a state that is not one of bytes, before byte {self._at}")


def _fits(shape: object, length: int) -> bool:
    """Is it a shape of one or two numbers for so many bytes?"""
    if not isinstance(shape, tuple) or not 1 <= len(shape) <= 2:
        return False
    if not all(isinstance(size, int) and 0 <= size <= length for size in shape):
        return False
    return (shape[0] * shape[1] if len(shape) == 2 else shape[0]) == length


_STOP = ord(".")
_INSTRUCTIONS: dict[int, Callable[[_Machine], None]] = {
    0x80: _Machine.protocol,
    ord("U"): _Machine.short_string,
    ord("T"): _Machine.string,
    ord("K"): lambda machine: machine.integer(1),
    ord("M"): lambda machine: machine.integer(2),
    ord("J"): lambda machine: machine.integer(4, signed=True),
    ord("I"): _Machine.truth,
    0x8A: _Machine.long_integer,
    0x88: lambda machine: machine.push(True),
    0x89: lambda machine: machine.push(False),
    ord("N"): lambda machine: machine.push(None),
    ord("("): lambda machine: machine.push(_MARK),
    ord("]"): lambda machine: machine.push([]),
    ord("}"): lambda machine: machine.push({}),
    ord(")"): lambda machine: machine.push(()),
    0x85: lambda machine: machine.tuple_of(1),
    0x86: lambda machine: machine.tuple_of(2),
    0x87: lambda machine: machine.tuple_of(3),
    ord("t"): _Machine.tuple_since_mark,
    ord("a"): _Machine.append,
    ord("e"): _Machine.appends,
    ord("s"): _Machine.set_item,
    ord("u"): _Machine.set_items,
    ord("q"): lambda machine: machine.put(1),
    ord("r"): lambda machine: machine.put(4),
    ord("h"): lambda machine: machine.get(1),
    ord("j"): lambda machine: machine.get(4),
    ord("c"): _Machine.name,
    ord("R"): _Machine.make,
    ord("b"): _Machine.fill,
}
