"""Reads the pickles that LeRobot's client sends, without running them.

Python's unpickler imports and calls whatever a pickle names. This one has no calls: it builds numbers, texts, lists,
dicts and arrays on a stack, knows a handful of names by heart, and refuses everything else. Arrays are views of bytes
that have arrived, so that no size is believed before it is checked.
"""

import math
import pickletools
from dataclasses import dataclass
from typing import Any

import numpy as np

# An observation of a robot with 27 numbers and a picture has 150, one with 1,000 numbers about 3,000.
MAX_OPCODES = 5_000
MAX_DIMENSIONS = 4
DTYPES = {"b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8"}

Name = tuple[str, str]  # module and attribute; never looked up

RECORDS: set[Name] = {
    ("lerobot.async_inference.helpers", "RemotePolicyConfig"),
    ("lerobot.async_inference.helpers", "TimedObservation"),
}
NDARRAY, DTYPE = ("numpy", "ndarray"), ("numpy", "dtype")
# Before NumPy 2 they were in numpy.core.
RECONSTRUCT = {(f"numpy.{core}.multiarray", "_reconstruct") for core in ("_core", "core")}
SCALAR = {(f"numpy.{core}.multiarray", "scalar") for core in ("_core", "core")}
FROMBUFFER = {(f"numpy.{core}.numeric", "_frombuffer") for core in ("_core", "core")}
NAMES = {NDARRAY, DTYPE} | RECORDS | RECONSTRUCT | SCALAR | FROMBUFFER


@dataclass(eq=False)
class Global:
    """A name of NAMES."""

    name: Name


@dataclass(eq=False)
class Record:
    """What was an instance of one of RECORDS."""

    name: str
    fields: dict[str, Any] | None = None


@dataclass(eq=False)
class DType:
    """What was a NumPy type; not complete before its byte order is known."""

    code: str
    is_complete: bool = False


@dataclass(eq=False)
class Array:
    """What was a NumPy array; read-only."""

    array: np.ndarray | None = None


def read_pickle(data: bytes) -> Any:
    """The value of a pickle of protocol 3 to 5.

    Returns:
        None, a bool, int (64 bits), float, str, bytes, list, tuple, dict with texts as keys, `Array` or `Record`.

    Raises:
        ValueError: It is broken, too long, or asks for anything but data.
    """
    reader, end = _Reader(), None
    try:
        for count, (opcode, argument, position) in enumerate(pickletools.genops(data)):
            if count >= MAX_OPCODES:
                raise ValueError(f"more than {MAX_OPCODES} opcodes")
            if opcode.name != "STOP":
                reader.step(opcode.name, argument)
            end = position
        [value] = reader.stack
    except (IndexError, TypeError) as error:  # takes from an empty stack, or what isn't of the type an opcode works on
        raise ValueError("malformed") from error
    if end + 1 != len(data) or reader.marks:
        raise ValueError("goes on after its end")
    return value


class _Reader:
    """A stack machine with the opcodes of data only."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}

    def step(self, opcode: str, argument: Any) -> None:
        push, pop = self.stack.append, self._pop
        match opcode:
            case "SHORT_BINUNICODE" | "BINUNICODE" | "BINUNICODE8":
                argument.encode()  # lone surrogates come through pickletools
                push(argument)
            case "MEMOIZE":
                self.memo[len(self.memo)] = self._top()
            case "BINGET" | "LONG_BINGET":
                if argument not in self.memo:
                    raise ValueError("gets what it has not put")
                push(self.memo[argument])
            case "BINPUT" | "LONG_BINPUT":
                self.memo[argument] = self._top()
            case "BINFLOAT" | "BININT" | "BININT1" | "BININT2" | "SHORT_BINBYTES" | "BINBYTES" | "BINBYTES8":
                push(argument)
            case "BYTEARRAY8":
                push(bytes(argument))
            case "LONG1":
                if not -(2**63) <= argument < 2**63:
                    raise ValueError("an integer of more than 64 bits")
                push(argument)
            case "NONE" | "NEWTRUE" | "NEWFALSE":
                push({"NONE": None, "NEWTRUE": True, "NEWFALSE": False}[opcode])
            case "EMPTY_DICT":
                push({})
            case "EMPTY_LIST":
                push([])
            case "EMPTY_TUPLE":
                push(())
            case "MARK":
                self.marks.append(len(self.stack))
            case "SETITEM":
                value, key = pop(), pop()
                _set_items(self._top(), [key, value])
            case "SETITEMS":
                items = self._pop_marked()
                _set_items(self._top(), items)
            case "APPEND":
                value = pop()
                _extend(self._top(), [value])
            case "APPENDS":
                values = self._pop_marked()
                _extend(self._top(), values)
            case "TUPLE":
                push(tuple(self._pop_marked()))
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                push(tuple([pop() for _ in range(int(opcode[-1]))][::-1]))
            case "STACK_GLOBAL":
                name, module = pop(), pop()
                push(_global(module, name))
            case "GLOBAL":
                push(_global(*argument.split(" ", 1)))
            case "NEWOBJ":
                arguments, made = pop(), pop()
                if not (isinstance(made, Global) and made.name in RECORDS and arguments == ()):
                    raise ValueError("makes an object that no client sends")
                push(Record(made.name[1]))
            case "REDUCE":
                arguments, called = pop(), pop()
                push(_reduce(called, arguments))
            case "BUILD":
                state = pop()
                _build(self._top(), state)
            case "PROTO" | "FRAME":
                pass
            case _:
                raise ValueError(f"opcode {opcode}, which no client sends")

    def _top(self) -> Any:
        if self.marks and len(self.stack) <= self.marks[-1]:
            raise ValueError("malformed")
        return self.stack[-1]

    def _pop(self) -> Any:
        value = self._top()
        self.stack.pop()
        return value

    def _pop_marked(self) -> list[Any]:
        start = self.marks.pop()
        values = self.stack[start:]
        del self.stack[start:]
        return values


def _set_items(target: Any, items: list[Any]) -> None:
    keys, values = items[::2], items[1::2]
    if not isinstance(target, dict) or len(keys) != len(values) or not all(isinstance(key, str) for key in keys):
        raise ValueError("a dict whose keys are no texts")
    target.update(zip(keys, values, strict=True))


def _extend(target: Any, values: list[Any]) -> None:
    if not isinstance(target, list):
        raise ValueError("appends to what is no list")
    target.extend(values)


def _global(module: Any, name: Any) -> Global:
    if not (isinstance(module, str) and isinstance(name, str)) or (module, name) not in NAMES:
        raise ValueError(f"{str(module)[:60]}.{str(name)[:60]}: a name that no client sends")
    return Global((module, name))


def _reduce(called: Any, arguments: Any) -> Any:
    name = called.name if isinstance(called, Global) else None
    match arguments:
        case (str(code), bool(), bool()) if name == DTYPE:
            if code not in DTYPES:
                raise ValueError(f"an array of {code[:20]}, not of numbers")
            return DType(code)
        case (Global(name=made), (0,), b"b") if name in RECONSTRUCT and made == NDARRAY:
            return Array()
        case (DType() as dtype, bytes(raw)) if name in SCALAR:
            return _array(raw, dtype, (), "C").item()
        case (bytes(raw), DType() as dtype, tuple(shape), "C" | "F" as order) if name in FROMBUFFER:
            return Array(_array(raw, dtype, shape, order))
    raise ValueError("a call that no client sends")


def _build(target: Any, state: Any) -> None:
    match target, state:
        case Record(fields=None), dict():
            target.fields = state
        case DType(is_complete=False), (3, "<" | "|", None, None, None, -1, -1, 0):
            target.is_complete = True
        case Array(array=None), (1, tuple(shape), DType() as dtype, bool(is_fortran), bytes(raw)):
            target.array = _array(raw, dtype, shape, "F" if is_fortran else "C")
        case _:
            raise ValueError("a state that no client sends")


def _array(raw: bytes, dtype: DType, shape: tuple[Any, ...], order: str) -> np.ndarray:
    if not dtype.is_complete or len(shape) > MAX_DIMENSIONS or not all(type(n) is int and n >= 0 for n in shape):
        raise ValueError("an array of no shape or type")
    kind = np.dtype(f"<{dtype.code}")
    if math.prod(shape) * kind.itemsize != len(raw):
        raise ValueError(f"an array of {shape} {dtype.code} has {len(raw)} bytes")
    return np.frombuffer(raw, kind).reshape(shape, order=order)
