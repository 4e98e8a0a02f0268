"""Pickles that no client of LeRobot's sends: those that execute something where they are loaded, and malformed ones."""

import io
import os
import pickle
import struct
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lerobot.async_inference.helpers import RemotePolicyConfig, TimedObservation

NAN, INF = float("nan"), float("inf")


class Call:
    """Pickles as the call of a function, with what a class may add to it."""

    def __init__(self, *reduced: Any) -> None:
        self.reduced = reduced

    def __reduce__(self) -> tuple:
        return self.reduced


def executing(marker: Path) -> Iterator[tuple[str, bytes]]:
    """Each creates the file `marker` when Python's unpickler loads it."""
    touch = f"open({str(marker)!r}, 'w').close()"
    command = f"touch {marker}"

    def calls() -> dict[str, Any]:  # anew, as an iterator is pickled once
        system = Call(os.system, (command,))
        return {
            "os.system": system,
            "exec": Call(exec, (touch,)),
            "eval": Call(eval, (touch,)),
            "open": Call(open, (str(marker), "w")),
            "Path.touch": Call(Path.touch, (marker,)),
            "items of a list": Call(list, (), None, iter([system])),
            "items of a dict": Call(dict, (), None, None, iter([("a", system)])),
            "state": Call(Exception, (), {"a": system}),
            "in tuples": (1, (2, (3, system))),
            "ndarray.tofile": Call(np.ndarray.tofile, (np.zeros(1), str(marker))),
            "numpy.savetxt": Call(np.savetxt, (str(marker), np.zeros(1))),
            "torch.save": Call(torch.save, ({}, str(marker))),
        }

    places = {
        "alone": lambda value: value,
        "in an observation": lambda value: TimedObservation(0.0, 0, {"a": value}),
        "as a timestep": lambda value: TimedObservation(0.0, value, {}),
        "in a setup": lambda value: RemotePolicyConfig("qwenvla", "served", {"a": value}, 1),
    }
    for protocol in range(6):
        for place, put in places.items():
            for name, value in calls().items():
                yield f"{name} {place}, protocol {protocol}", pickle.dumps(put(value), protocol)
    string = b"S'" + command.encode() + b"'\n"
    short = lambda text: b"\x8c" + bytes([len(text)]) + text  # noqa: E731
    yield "GLOBAL and REDUCE", b"cos\nsystem\n(" + string + b"tR."
    yield "INST", b"(" + string + b"ios\nsystem\n."
    yield "OBJ", b"(cos\nsystem\n" + string + b"o."
    yield "NEWOBJ", b"\x80\x02cos\nsystem\n" + string + b"\x85\x81."
    yield "NEWOBJ_EX", b"\x80\x04" + short(b"os") + short(b"system") + b"\x93" + string + b"\x85}\x92."
    yield "STACK_GLOBAL, dotted", b"\x80\x04" + short(b"numpy") + short(b"os.system") + b"\x93" + string + b"\x85R."
    yield (
        "STACK_GLOBAL, through a known module",
        (b"\x80\x04" + short(b"lerobot.async_inference.helpers") + short(b"os.system") + b"\x93" + string + b"\x85R."),
    )
    yield "GLOBAL, dotted", b"\x80\x04cnumpy\nf2py.os.system\n" + string + b"\x85R."
    yield "EXT1", b"\x80\x02\x82\x01."
    yield "EXT2", b"\x80\x02\x83\x01\x01."
    yield "EXT4", b"\x80\x02\x84\x01\x01\x01\x01."
    yield "PERSID", b"Pabc\n."
    yield "BINPERSID", b"\x80\x04" + short(b"abc") + b"Q."
    yield "NEXT_BUFFER", b"\x80\x05\x97."
    yield "READONLY_BUFFER", b"\x80\x05C\x01a\x98."
    yield (
        "BUILD with a setter",
        (
            b"\x80\x04" + short(b"lerobot.async_inference.helpers") + short(b"TimedObservation") + b"\x93)\x81"
            b"}" + short(b"__class__") + b"cos\nsystem\nsb."
        ),
    )
    numpy_module = short(b"numpy._core.multiarray")
    for name in (b"fromfile", b"set_string_function", b"_load_from_filelike", b"array", b"frombuffer", b"empty"):
        yield (
            f"numpy {name.decode()}",
            (b"\x80\x04" + numpy_module + short(name) + b"\x93" + short(str(marker).encode()) + b"\x85R."),
        )
    buffer = io.BytesIO()
    torch.save(Call(os.system, (command,)), buffer)
    yield "torch storage", pickle.dumps(Call(torch.storage._load_from_bytes, (buffer.getvalue(),)))
    yield "torch tensor", pickle.dumps(TimedObservation(0.0, 0, {"screen": torch.zeros(3)}))
    yield "torch storage alone", pickle.dumps(torch.zeros(3).untyped_storage())
    objects = np.array([Call(os.system, (command,))], dtype=object)
    for protocol in (3, 4, 5):
        yield (
            f"object array, protocol {protocol}",
            pickle.dumps(TimedObservation(0.0, 0, {"screen": objects}), protocol),
        )
    yield "structured array", pickle.dumps(np.zeros(2, [("a", "f4"), ("b", "O")]))


def malformed() -> Iterator[tuple[str, bytes]]:
    """Broken, endless, or far larger than they look."""
    yield "nothing", b""
    yield "stop", b"."
    yield "empty stack", b"\x80\x04R."
    yield "two values", b"\x80\x04K\x01K\x02."
    yield "after its end", b"\x80\x04K\x01.."
    yield "no stop", b"\x80\x04K\x01"
    yield "unknown opcode", b"\x80\x04\xfe."
    yield "unbalanced mark", b"\x80\x04((K\x01t."
    yield "mark only", b"\x80\x04(."
    yield "tuple of nothing", b"\x80\x04\x86."
    yield "items of nothing", b"\x80\x04}(K\x01u."
    yield "a list as key", b"\x80\x04}]K\x01s."
    yield "memo that was not put", b"\x80\x04j\xff\xff\xff\x7f."
    yield "memo far away", b"\x80\x04K\x01r\xff\xff\xff\x7f."
    yield "itself in itself", b"\x80\x04]\x94h\x00a."
    yield "protocol 255", b"\x80\xffK\x01."
    yield "frame of 2^63 bytes", b"\x80\x04\x95" + struct.pack("<Q", 2**63) + b"K\x01."
    for name, head in {
        "text": b"X" + struct.pack("<I", 2**32 - 1),
        "long text": b"\x8d" + struct.pack("<Q", 2**62),
        "bytes": b"B" + struct.pack("<I", 2**32 - 1),
        "long bytes": b"\x8e" + struct.pack("<Q", 2**62),
        "bytearray": b"\x96" + struct.pack("<Q", 2**62),
        "integer": b"\x8b" + struct.pack("<i", 2**31 - 1),
    }.items():
        yield f"claims a {name}", b"\x80\x05" + head + b"abc."
    yield "large integer", b"\x80\x04\x8a\xff" + b"\xff" * 254 + b"\x7f."
    yield "decimal integer", b"I" + b"9" * 10_000 + b"\n."
    yield "lone surrogate", b"\x80\x04\x8c\x03\xed\xa0\x80."
    yield "no unicode", b"\x80\x04\x8c\x02\xff\xff."
    yield "deep tuples", b"\x80\x04)" + b"\x85" * 100_000 + b"."
    yield "deep lists", b"\x80\x04" + b"]" * 50_000 + b"a" * 49_999 + b"."
    yield "many marks", b"\x80\x04" + b"(" * 100_000 + b"."
    yield "many memos", b"\x80\x04K\x01" + b"\x94" * 100_000 + b"."
    yield "many values", b"\x80\x04(" + b"K\x01" * 200_000 + b"t."
    doubled = b"".join(b"h" + bytes([level]) + b"\x86\x94" for level in range(100))
    yield "billion laughs", b"\x80\x04K\x01\x94" + doubled + b"."
    yield "long line", b"c" + b"a" * 300_000 + b"\nb\n."
    rng = np.random.default_rng(0)
    for length in (1, 10, 100, 1_000, 10_000, 400_000):
        for turn in range(5):
            yield f"{length} random bytes, {turn}", rng.bytes(length)


def wrong_observations(good: TimedObservation, camera: str, number: str) -> Iterator[tuple[str, bytes]]:
    """Of the right form, with something in it that was not declared or makes no sense."""
    image: np.ndarray = good.observation[camera]
    height, width, _ = image.shape
    for name, picture in {
        "none": None,
        "a text": "picture",
        "a number": 1.0,
        "a list": image.tolist()[:1],
        "bytes": image.tobytes(),
        "floats": image.astype(np.float32),
        "NaN": np.full(image.shape, NAN, np.float32),
        "infinite": np.full(image.shape, INF, np.float64),
        "signed": image.astype(np.int8),
        "bools": image.astype(bool),
        "complex": image[:1].astype(np.complex64),
        "dates": np.zeros(3, "datetime64[s]"),
        "texts": np.array(["a", "b"]),
        "void": np.zeros(3, "V8"),
        "big-endian": image[:1].astype(">u2"),
        "grey": image[..., 0],
        "four channels": np.zeros((height, width, 4), np.uint8),
        "channels first": image.transpose(2, 0, 1).copy(),
        "smaller": image[: height // 2],
        "empty": np.zeros((0, width, 3), np.uint8),
        "five dimensions": np.zeros((1,) * 5, np.uint8),
        "a batch": image[None],
        "a scalar": np.uint8(1),
    }.items():
        yield f"picture: {name}", pickle.dumps(replace(good, observation={**good.observation, camera: picture}))
    for value in (None, "1", NAN, INF, -INF, 1e30, [1.0], np.zeros(2), np.float32(NAN), 10**400, b"1", {}):
        yield f"state: {str(value)[:20]}", pickle.dumps(replace(good, observation={**good.observation, number: value}))
    for value in (-1, -(2**63), 2**63, 10**100, 1.5, "1", None, True, NAN, [0], np.int64(-5), 10**9 + 1):
        yield f"timestep: {str(value)[:20]}", pickle.dumps(replace(good, timestep=value))
    for value in (NAN, INF, "now", None, 10**400, [0.0]):
        yield f"timestamp: {str(value)[:20]}", pickle.dumps(replace(good, timestamp=value))
    for value in (1, None, "yes", [True]):
        yield f"must_go: {value}", pickle.dumps(replace(good, must_go=value))
    for value in (1, None, b"go", ["go"], "x" * 1_001, "x" * 100_000):
        yield f"task: {str(value)[:20]}", pickle.dumps(replace(good, observation={**good.observation, "task": value}))
    for value in (None, [], "seen", 1, {}, {camera: image}):
        yield f"observation: {str(value)[:20]}", pickle.dumps(replace(good, observation=value))
    for name, value in {
        "a dict": good.__dict__,
        "a list": [good],
        "a setup": RemotePolicyConfig("a", "b", {}, 1),
    }.items():
        yield f"instead of an observation: {name}", pickle.dumps(value)
    data = pickle.dumps(good)
    for quarter in (1, 2, 3):
        yield f"cut after {quarter} quarters", data[: quarter * len(data) // 4]
    yield "cut by a byte", data[:-1]
    yield "with a byte more", data + b"."
    yield "a picture that claims 2^93 bytes", _reshaped(image, (2**31 - 1,) * 3)
    yield "a picture that claims twice its bytes", _reshaped(image, (2 * height, width, 3))
    yield "a picture of negative size", _reshaped(image, (-1, width, 3))


def _reshaped(image: np.ndarray, shape: tuple[int, ...]) -> bytes:
    _, _, (version, _, dtype, is_fortran, raw) = image.__reduce__()
    made = Call(np._core.multiarray._reconstruct, (np.ndarray, (0,), b"b"), (version, shape, dtype, is_fortran, raw))
    return pickle.dumps(TimedObservation(0.0, 0, {"screen": made}))


def wrong_setups(good: RemotePolicyConfig, camera: str) -> Iterator[tuple[str, bytes]]:
    """Policy instructions that this server can't follow."""
    for path in ("/etc/passwd", "lerobot/smolvla_base", "../checkpoint", "", "x" * 100_000, None, 1, "\x00", "served "):
        yield f"path: {str(path)[:20]}", pickle.dumps(replace(good, pretrained_name_or_path=path))
    for kind in ("act", "", None, "qwenvla ", ["qwenvla"]):
        yield f"policy type: {kind}", pickle.dumps(replace(good, policy_type=kind))
    for count in (0, -1, None, 1.5, "50", True, NAN, 10**30):
        yield f"actions: {count}", pickle.dumps(replace(good, actions_per_chunk=count))
    for features in (None, [], "all", {}, {"a": 1}, {camera: None}, {1: {}}):
        yield f"features: {features}", pickle.dumps(replace(good, lerobot_features=features))
    for shape in (None, (), (1,), (64, 64), (-64, -64, 3), (0, 0, 3), (2**31, 2**31, 3), (64, 64, 1), ("64", 64, 3),
                  (10**30, 1, 3), (64, 128, 3), (64.0, 64.0, 3.0), (20_000, 20_000, 3)):  # fmt: skip
        declared = {**good.lerobot_features, camera: {"shape": shape}}
        yield f"shape: {shape}", pickle.dumps(replace(good, lerobot_features=declared))
    for names in (None, "ab", [], ["a"], [1] * 5, [f"n{i}" for i in range(10_000)]):
        declared = {**good.lerobot_features, "observation.state": {"names": names}}
        yield f"names: {str(names)[:20]}", pickle.dumps(replace(good, lerobot_features=declared))
    yield "an observation", pickle.dumps(TimedObservation(0.0, 0, {}))
    data = pickle.dumps(good)
    for quarter in (1, 2, 3):
        yield f"cut after {quarter} quarters", data[: quarter * len(data) // 4]
    yield "300 KB", pickle.dumps(replace(good, device="x" * 300_000))
