"""`qwenvla-robot-client`: LeRobot's asynchronous client, over TLS with a token, and able to lose its server.

LeRobot's own client works as well, on the same machine or through an SSH tunnel. Like it, this one unpickles what the
server sends, which can run anything: connect to servers you trust, and elsewhere over TLS.
"""

import logging
import pickle
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from queue import Queue

import draccus
import grpc
from draccus.utils import DraccusException
from grpc import StatusCode
from lerobot.async_inference.configs import RobotClientConfig
from lerobot.async_inference.robot_client import RobotClient
from lerobot.transport import services_pb2, services_pb2_grpc
from lerobot.utils.import_utils import register_third_party_plugins

from lerobot_qwenvla.serving.access import open_channel
from lerobot_qwenvla.serving.wire.messages import SERVED

logger = logging.getLogger(__name__)

SEND_S, ANSWER_S = 2.0, 30.0
RETRY_S = 0.2
# A server that does not know this connection has been started anew.
LOST = {StatusCode.UNAVAILABLE, StatusCode.FAILED_PRECONDITION, StatusCode.DEADLINE_EXCEEDED, StatusCode.CANCELLED}


@dataclass(kw_only=True)
class QwenVLARobotClientConfig(RobotClientConfig):
    """LeRobot's settings, and:"""

    # The server's policy, and as many of its actions as it predicts.
    policy_type: str = "qwenvla"
    pretrained_name_or_path: str = SERVED
    actions_per_chunk: int = 1_000
    fps: int = 10
    # A key is down or up: half of an old and half of a new action is neither.
    aggregate_fn_name: str = "latest_only"
    # Of the server, or of who signed it; and the secret that it was started with.
    tls_certificate: Path | None = None
    token_file: Path | None = None
    # How long to look for a server that is gone.
    reconnect_s: float = 30.0


class PatientRobotClient(RobotClient):
    """Drops its actions when it loses the server, so that the robot stops, and goes on when the server is back.

    Attributes:
        failure: Why it has stopped, if not because it was asked to.
    """

    def __init__(self, config: QwenVLARobotClientConfig) -> None:
        """Raises ValueError or OSError where the server can't be connected to as the config says."""
        channel = open_channel(config.server_address, config.tls_certificate, config.token_file, enable_retries=False)
        super().__init__(config)
        self.channel.close()
        self.channel, self.stub = channel, _Calls(services_pb2_grpc.AsyncInferenceStub(channel), self._lost)
        self.failure: str | None = None
        self._is_lost = threading.Event()

    def _ready_to_send_observation(self) -> bool:
        return not self._is_lost.is_set() and super()._ready_to_send_observation()

    def _lost(self, error: grpc.RpcError) -> None:
        """Returns when the server is back, or the client is to stop.

        Not by `start`, which would make a client go on that is being stopped.
        """
        if not self.running:
            return
        self._is_lost.set()
        with self.action_queue_lock:
            self.action_queue = Queue()
        logger.warning("Lost the policy server (%s); no more actions until it is back", _say(error))
        until_s = time.monotonic() + self.config.reconnect_s
        while self.running and time.monotonic() < until_s:
            try:
                self.stub.Ready(services_pb2.Empty())
                self.stub.SendPolicyInstructions(services_pb2.PolicySetup(data=pickle.dumps(self.policy_config)))
            except grpc.RpcError:
                self.shutdown_event.wait(RETRY_S)
            else:
                self.must_go.set()
                self._is_lost.clear()
                logger.warning("The policy server is back: a new session")
                return
        if self.running:
            self.failure = (
                f"the policy server at {self.server_address} is gone ({_say(error)}) and was not back after "
                f"{self.config.reconnect_s:g} s; start it again, then this client"
            )
            self.shutdown_event.set()


class _Calls:
    """LeRobot's stub, whose calls have deadlines, and who tells when `GetActions` finds no server."""

    def __init__(self, stub: services_pb2_grpc.AsyncInferenceStub, lost: Callable[[grpc.RpcError], None]) -> None:
        self._stub, self._lost = stub, lost

    def Ready(self, request: services_pb2.Empty) -> services_pb2.Empty:  # noqa: N802
        return self._stub.Ready(request, timeout=SEND_S)

    def SendPolicyInstructions(self, request: services_pb2.PolicySetup) -> services_pb2.Empty:  # noqa: N802
        return self._stub.SendPolicyInstructions(request, timeout=SEND_S)

    def SendObservations(self, pieces: Iterator[services_pb2.Observation]) -> services_pb2.Empty:  # noqa: N802
        return self._stub.SendObservations(pieces, timeout=SEND_S)

    def GetActions(self, request: services_pb2.Empty) -> services_pb2.Actions:  # noqa: N802
        try:
            return self._stub.GetActions(request, timeout=ANSWER_S)
        except grpc.RpcError as error:
            if error.code() in LOST:
                self._lost(error)
            raise


def _say(error: grpc.RpcError) -> str:
    return f"{error.code().name}: {error.details()}"


def run(config: QwenVLARobotClientConfig) -> None:
    """Controls the robot until interrupted.

    Raises:
        ValueError: There is no server, or not any more.
        OSError: A file can't be read.
    """
    client = PatientRobotClient(config)
    signal.signal(signal.SIGTERM, lambda *_: client.shutdown_event.set())
    receiver = threading.Thread(target=client.receive_actions, daemon=True)
    try:
        if not client.start():
            raise ValueError(f"no policy server at {config.server_address} that takes this client; see the log above")
        receiver.start()
        client.control_loop(task=config.task)
    except KeyboardInterrupt:
        pass
    finally:
        client.stop()
        if receiver.is_alive():
            receiver.join()
    if client.failure:
        raise ValueError(client.failure)


@draccus.wrap()
def _run(config: QwenVLARobotClientConfig) -> None:
    run(config)


def main() -> None:
    register_third_party_plugins()
    try:
        _run()
    except (ValueError, OSError, DraccusException) as error:
        sys.exit(f"qwenvla-robot-client: {' '.join(str(error).split())}")


if __name__ == "__main__":
    main()
