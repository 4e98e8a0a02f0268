"""A server in a thread, and a client that does what LeRobot's does, one call at a time."""

import pickle
import re
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import grpc
import numpy as np
from lerobot.async_inference.helpers import RemotePolicyConfig, TimedAction, TimedObservation
from lerobot.transport import services_pb2, services_pb2_grpc
from lerobot.transport.utils import grpc_channel_options, send_bytes_in_chunks

from lerobot_qwenvla.serving.background import serving
from lerobot_qwenvla.serving.engine import Engine
from lerobot_qwenvla.serving.server import PolicyServerConfig

EMPTY = services_pb2.Empty()
TIMEOUT_S = 30


def running(engine: Engine, path: str = "checkpoint", **options: Any) -> AbstractContextManager[str]:
    """A server of its own in another thread; its address."""
    return serving(engine, PolicyServerConfig(**{"port": 0, **options}), path)


def start_server(checkpoint: Path, *options: str) -> tuple[subprocess.Popen, str]:
    """A server in a process of its own, on a free port; its address."""
    command = [
        sys.executable,
        "-m",
        "lerobot_qwenvla.serving.server",
        f"--policy.path={checkpoint}",
        "--port=0",
        *options,
    ]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    for line in server.stdout:  # LeRobot says something first
        if found := re.match(rf"Serving {re.escape(str(checkpoint))} on (\S+)\. A client:", line):
            return server, found[1]
    raise RuntimeError(f"the server ended with {server.wait()}")


def features(names: Iterable[str], picture_shape: tuple[int, int, int], camera: str = "screen") -> dict[str, Any]:
    """As LeRobot's client declares a robot's."""
    names = list(names)
    return {
        "observation.state": {"dtype": "float32", "shape": (len(names),), "names": names},
        f"observation.images.{camera}": {
            "dtype": "image",
            "shape": picture_shape,
            "names": ["height", "width", "channels"],
            "info": {"is_depth_map": False},
        },
    }


def setup(declared: dict[str, Any], *, path: str = "served", actions: int = 1000) -> bytes:
    return pickle.dumps(RemotePolicyConfig("qwenvla", path, declared, actions, "cpu"))


def pieces(data: bytes) -> Iterator[services_pb2.Observation]:
    return send_bytes_in_chunks(data, services_pb2.Observation)


class Client:
    """One connection."""

    def __init__(self, address: str, channel: grpc.Channel | None = None) -> None:
        # Else all clients of a process share a connection, and are one to the server.
        options = [*grpc_channel_options(enable_retries=False), ("grpc.use_local_subchannel_pool", 1)]
        self.channel = channel or grpc.insecure_channel(address, options)
        self.stub = services_pb2_grpc.AsyncInferenceStub(self.channel)

    def start(self, declared: dict[str, Any], **arguments: Any) -> "Client":
        self.stub.Ready(EMPTY, timeout=TIMEOUT_S)
        data = setup(declared, **arguments)
        self.stub.SendPolicyInstructions(services_pb2.PolicySetup(data=data), timeout=TIMEOUT_S)
        return self

    def show(
        self, timestep: int, values: dict[str, Any], must_go: bool = False, timestamp_s: float | None = None
    ) -> None:
        timestamp_s = time.time() if timestamp_s is None else timestamp_s
        data = pickle.dumps(TimedObservation(timestamp_s, timestep, values, must_go))
        self.stub.SendObservations(pieces(data), timeout=TIMEOUT_S)

    def actions(self) -> list[TimedAction]:
        """Of one call; none where the server has nothing to decide about."""
        data = self.stub.GetActions(EMPTY, timeout=TIMEOUT_S).data
        return pickle.loads(data) if data else []

    def close(self) -> None:
        self.channel.close()

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()


def as_array(actions: list[TimedAction]) -> np.ndarray:
    """(n, A)"""
    return np.stack([action.get_action().numpy() for action in actions])
