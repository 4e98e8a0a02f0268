"""Attacks a policy server with everything of `hostile_payloads.py` while honest clients play.

    python tests/serving/attack_server.py [--honest 3]

The server is a process of its own, with a small untrained policy. Prints one JSON line: how many payloads were
executed, answered without a refusal ("silent") and not answered within 20 s ("hung"), the statuses, how many of them
Python's own unpickler executes, whether honest clients got the actions that each gets alone, and by how much the
server's memory grew. Exits with 1 where one of these is not as it should be.
"""

import argparse
import gzip
import json
import multiprocessing
import pickle
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import grpc
import numpy as np
import psutil
from clients import Client, as_array, features, pieces, start_server
from hostile_payloads import executing, malformed, wrong_observations, wrong_setups
from lerobot.async_inference.helpers import RemotePolicyConfig, TimedObservation
from lerobot.transport import services_pb2
from small_policy import NAMES, PICTURE, save_policy

HUNG_S = 20.0
MEMORY_MB = 50
BEGIN, MIDDLE, END = services_pb2.TRANSFER_BEGIN, services_pb2.TRANSFER_MIDDLE, services_pb2.TRANSFER_END
DECLARED = features(NAMES, PICTURE)


def observe(seed: int) -> dict:
    rng = np.random.default_rng(seed)
    state = dict(zip(NAMES, rng.uniform(-1, 1, len(NAMES)).tolist(), strict=True))
    return {**state, "screen": rng.integers(0, 255, PICTURE, dtype=np.uint8), "task": "go to the red box"}


Attack = Callable[[Client], None]


def streams() -> Iterator[tuple[str, list[tuple[int, bytes]]]]:
    """Transfer states and pieces that are no observation."""
    yield "no piece", []
    yield "begin only", [(BEGIN, b"a")]
    yield "middle first", [(MIDDLE, b"a"), (END, b"a")]
    yield "begins twice", [(BEGIN, b"a"), (BEGIN, b"a"), (END, b"a")]
    yield "unknown state", [(0, b"a")]
    yield "state 7", [(7, b"a")]
    yield "empty end", [(END, b"")]
    yield "thousands of tiny pieces", [(BEGIN, b"a"), *[(MIDDLE, b"a")] * 5_000, (END, b"a")]
    yield "thousands of empty pieces", [(BEGIN, b""), *[(MIDDLE, b"")] * 5_000, (END, b"")]
    yield "100 MB", [(BEGIN, bytes(2 << 20)), *[(MIDDLE, bytes(2 << 20))] * 50, (END, b"")]
    yield "a message of 5 MB", [(END, bytes(5 << 20))]


def attacks(marker: Path) -> Iterator[tuple[str, Attack]]:
    """Every attack, as what a client that has a session does."""
    good = TimedObservation(1.0, 0, observe(0))
    good_setup = RemotePolicyConfig("qwenvla", "served", DECLARED, 50)

    def observing(data: bytes) -> Attack:
        return lambda client: client.stub.SendObservations(pieces(data) if data else iter(()), timeout=HUNG_S)

    def setting_up(data: bytes) -> Attack:
        return lambda client: client.stub.SendPolicyInstructions(services_pb2.PolicySetup(data=data), timeout=HUNG_S)

    def streaming(parts: list[tuple[int, bytes]]) -> Attack:
        messages = [services_pb2.Observation(transfer_state=state, data=data) for state, data in parts]
        return lambda client: client.stub.SendObservations(iter(messages), timeout=HUNG_S)

    for name, data in (*executing(marker), *malformed(), *wrong_observations(good, "screen", NAMES[0])):
        yield f"observation: {name}", observing(data)
    for name, data in (*executing(marker), *malformed(), *wrong_setups(good_setup, "observation.images.screen")):
        yield f"setup: {name}", setting_up(data)
    for name, parts in streams():
        yield f"stream: {name}", streaming(parts)
    for method in ("Ready", "SendPolicyInstructions", "GetActions", "Unknown", "StreamParameters"):
        for data in (b"\xff\xff\xff", b"\x0a\xff\xff\xff\xff\x0f", gzip.compress(bytes(10_000))):
            yield (
                f"{method} of {data[:3]!r}…",
                lambda client, method=method, data=data: client.channel.unary_unary(
                    f"/transport.AsyncInference/{method}"
                )(data, timeout=HUNG_S),
            )
    yield (
        "a bomb of gzip",
        lambda client: client.stub.SendObservations(
            (services_pb2.Observation(transfer_state=MIDDLE if i else BEGIN, data=bytes(4_000_000)) for i in range(64)),
            compression=grpc.Compression.Gzip,
            timeout=HUNG_S,
        ),
    )
    yield (
        "a bomb of gzip in one message",
        lambda client: client.stub.SendObservations(
            iter([services_pb2.Observation(transfer_state=END, data=bytes(256 << 20))]),
            compression=grpc.Compression.Gzip,
            timeout=HUNG_S,
        ),
    )

    def flood(client: Client) -> None:
        asked = [client.stub.GetActions.future(services_pb2.Empty(), timeout=HUNG_S) for _ in range(100)]
        refused = [error for each in asked if (error := each.exception())]
        if len(refused) > len(asked) / 2:  # one at a time waits, and is told after 2 s that there is nothing
            raise refused[0]

    yield "100 requests for actions at once", flood

    def left_open(first: list[services_pb2.Observation]) -> Attack:
        def attack(client: Client) -> None:
            over = threading.Event()

            def stream() -> Iterator[services_pb2.Observation]:
                yield from first
                over.wait(HUNG_S)

            try:
                client.stub.SendObservations(stream(), timeout=HUNG_S)
            finally:
                over.set()

        return attack

    yield "a stream left open", left_open([services_pb2.Observation(transfer_state=BEGIN, data=b"a")])
    yield "a stream left open before its first piece", left_open([])

    def drip(client: Client) -> None:
        def stream() -> Iterator[services_pb2.Observation]:
            while True:
                yield services_pb2.Observation(transfer_state=MIDDLE, data=b"a")
                time.sleep(0.5)

        client.stub.SendObservations(stream(), timeout=HUNG_S)

    yield "a stream that drips", drip


def attack_all(address: str, marker: Path, result: dict) -> None:
    """In order, each from a client with a session of its own where the last one lost it."""
    statuses, silent, hung = Counter(), [], []
    client = Client(address).start(DECLARED)
    count = 0
    for name, attack in attacks(marker):
        count += 1
        start_s = time.monotonic()
        try:
            attack(client)
        except grpc.RpcError as error:
            statuses[error.code().name] += 1
            if time.monotonic() - start_s >= HUNG_S:
                hung.append(name)
        else:
            silent.append(name)
        client.start(DECLARED)
    client.close()
    result.update(payloads=count, statuses=dict(statuses), silent=silent, hung=hung)


def connections(address: str, count: int) -> list[socket.socket]:
    """Half of them silent, half speaking no HTTP/2."""
    host, port = address.split(":")
    opened = [socket.create_connection((host, int(port))) for _ in range(count)]
    for each in opened[::2]:
        each.sendall(b"GET / HTTP/1.1\r\n\r\n")
    return opened


def play(address: str, number: int) -> np.ndarray:
    """The actions of a short episode.  # (decisions, chunk, A)"""
    with Client(address) as client:
        client.start(DECLARED)
        answers = []
        for step in range(0, 10, 2):
            client.show(step, observe(1000 * number + step), must_go=True)
            answers.append(as_array(client.actions()))
        return np.stack(answers)


def executed_by_python(marker: Path) -> int:
    """How many of the payloads run when Python's unpickler loads them, in processes that end with that."""
    context, executed = multiprocessing.get_context("fork"), 0
    for _, data in executing(marker):
        child = context.Process(target=_load_quietly, args=(data,))
        child.start()
        child.join()
        files = [each for each in marker.parent.iterdir() if each.name.startswith(marker.name)]
        executed += bool(files)
        for each in files:
            each.unlink()
    return executed


def _load_quietly(data: bytes) -> None:
    with suppress(BaseException):
        pickle.loads(data)


def memory_mb(server: subprocess.Popen) -> float:
    return psutil.Process(server.pid).memory_info().rss / 2**20


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--honest", type=int, default=3)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        marker = Path(folder) / "markers" / "executed"
        marker.parent.mkdir()
        by_python = executed_by_python(marker)
        server, address = start_server(save_policy(Path(folder) / "checkpoint"))
        try:
            alone = [play(address, number) for number in range(args.honest)]
            with ThreadPoolExecutor(args.honest) as together:  # batches take memory, too, which is not the attack's
                list(together.map(lambda number: play(address, number), range(args.honest)))
            before_mb, result, rounds, wrong = memory_mb(server), {}, [0] * args.honest, [0] * args.honest
            attacker = threading.Thread(target=attack_all, args=(address, marker, result))

            def honest(number: int) -> None:
                while attacker.is_alive() or not rounds[number]:
                    wrong[number] += not np.allclose(play(address, number), alone[number], atol=1e-4)
                    rounds[number] += 1

            opened = connections(address, 200)
            attacker.start()
            players = [threading.Thread(target=honest, args=(number,)) for number in range(args.honest)]
            for thread in players:
                thread.start()
            for thread in (attacker, *players):
                thread.join()
            for each in opened:
                each.close()
            after = [play(address, number) for number in range(args.honest)]
            served = all(np.allclose(one, other, atol=1e-4) for one, other in zip(alone, after, strict=True))
            grown_mb = memory_mb(server) - before_mb
        finally:
            server.terminate()
            server.wait()
        executed = len(list(marker.parent.iterdir()))
    result |= {
        "executed": executed,
        "executed_by_pythons_unpickler": by_python,
        "honest_clients": args.honest,
        "honest_episodes": sum(rounds),
        "honest_episodes_wrong": sum(wrong),
        "served_afterwards": served,
        "memory_grown_mb": round(grown_mb, 1),
    }
    print(json.dumps(result))
    failed = executed or result["silent"] or result["hung"] or sum(wrong) or not served or grown_mb > MEMORY_MB
    return int(bool(failed) or len(rounds) != args.honest)


if __name__ == "__main__":
    sys.exit(main())
