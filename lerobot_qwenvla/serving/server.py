"""`qwenvla-policy-server`: serves a policy to LeRobot's asynchronous clients.

Takes `--policy.path=CHECKPOINT`; loads it once, decides once to warm up, and prints how a client is started.
"""

import asyncio
import logging
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import grpc
from draccus.utils import DraccusException
from lerobot.configs import PreTrainedConfig, parser
from lerobot.policies.rtc import RTCConfig
from lerobot.transport.utils import MAX_MESSAGE_SIZE
from lerobot.utils.utils import init_logging

from lerobot_qwenvla.policy.checkpoint import config_of_path
from lerobot_qwenvla.policy.configuration_qwenvla import QwenVLAConfig
from lerobot_qwenvla.serving.access import TokenCheck, is_loopback, read_token, server_credentials
from lerobot_qwenvla.serving.dispatcher import Dispatcher
from lerobot_qwenvla.serving.engine import Engine
from lerobot_qwenvla.serving.service import PolicyService, add_to_server
from lerobot_qwenvla.serving.wire.messages import SERVED

logger = logging.getLogger(__name__)

GRACE_S = 1.0


@dataclass
class PolicyServerConfig:
    """The policy to serve, and:"""

    policy: PreTrainedConfig | None = None
    # Where to listen: from elsewhere than this machine only with TLS and a token.
    host: str = "127.0.0.1"
    port: int = 8080
    # PEM files of this server, and a file with the secret that clients must know.
    tls_certificate: Path | None = None
    tls_key: Path | None = None
    token_file: Path | None = None
    # Actions a second that clients perform, as the policy was trained on.
    fps: float = 10.0
    # How many clients may be connected at a time, and how long one may be silent; LeRobot's client never is, as it
    # waits for actions.
    max_clients: int = 16
    max_silence_s: float = 10.0
    # A client that has actions left is given new ones if a number of its state, or a block of 16×16 pixels, has changed
    # by more than this share of its full range since the last decision; 0 always.
    similarity_threshold: float = 0.02
    # LeRobot's real-time chunking: a new chunk continues the running one.
    rtc: RTCConfig = field(default_factory=lambda: RTCConfig(enabled=False))
    # Of the noise, which is the same for the same timestep.
    seed: int = 0

    @classmethod
    def __get_path_fields__(cls) -> list[str]:
        """Lets LeRobot's parser take `--policy.path`."""
        return ["policy"]

    def check(self, policy: QwenVLAConfig) -> None:
        """Raises ValueError where a setting is out of its range, or the server would be open to a network."""
        files = (self.tls_certificate, self.tls_key, self.token_file)
        if not is_loopback(self.host) and not all(files):
            raise ValueError(
                f"--host={self.host} can be reached from other machines: pass --tls_certificate, --tls_key and "
                "--token_file, or listen on 127.0.0.1 and let clients come through an SSH tunnel"
            )
        if bool(self.tls_certificate) != bool(self.tls_key) or (self.token_file and not self.tls_key):
            raise ValueError("--tls_certificate and --tls_key belong together, and --token_file needs both")
        for name in ("fps", "max_clients", "max_silence_s"):
            if not getattr(self, name) > 0:
                raise ValueError(f"--{name} must be greater than 0, got {getattr(self, name)}")
        if not 0 <= self.port <= 65535:
            raise ValueError(f"--port must be from 0 (any free one) to 65535, got {self.port}")
        if not 0 <= self.similarity_threshold <= 1:
            raise ValueError(f"--similarity_threshold must be between 0 and 1, got {self.similarity_threshold}")
        if self.seed < 0:
            raise ValueError(f"--seed must be at least 0, got {self.seed}")
        if self.rtc.enabled and not 1 <= self.rtc.execution_horizon <= policy.chunk_size:
            raise ValueError(
                f"--rtc.execution_horizon={self.rtc.execution_horizon} must be between 1 and the {policy.chunk_size} "
                "actions of a chunk"
            )


def client_command(config: PolicyServerConfig, policy: QwenVLAConfig, port: int) -> str:
    """What to type on the robot's side."""
    if config.tls_certificate:
        access = ["--tls_certificate=CERTIFICATE", "--token_file=TOKEN_FILE"] if config.token_file else []
        program, host = ["qwenvla-robot-client", *(access or ["--tls_certificate=CERTIFICATE"])], "THIS_MACHINE"
    else:
        program, host = ["python -m lerobot.async_inference.robot_client"], config.host
    return " ".join(
        [
            *program, f"--server_address={host}:{port}", "--robot.type=ROBOT", "--task='INSTRUCTION'",
            "--policy_type=qwenvla", f"--pretrained_name_or_path={SERVED}", f"--actions_per_chunk={policy.chunk_size}",
            "--aggregate_fn_name=latest_only", f"--fps={config.fps:g}",
        ]
    )  # fmt: skip


def make_server(service: PolicyService, config: PolicyServerConfig) -> tuple[grpc.aio.Server, int]:
    """A gRPC server, not yet started, and its port.

    Raises:
        ValueError: A token or the address can't be used.
        OSError: A file can't be read.
    """
    interceptors = [TokenCheck(read_token(config.token_file))] if config.token_file else []
    server = grpc.aio.server(
        interceptors=interceptors,
        options=[
            ("grpc.max_receive_message_length", MAX_MESSAGE_SIZE),
            ("grpc.max_send_message_length", MAX_MESSAGE_SIZE),
            ("grpc.so_reuseport", 0),  # a second server on the same port would take half of the clients
            # Of a connection; of all together there is no limit, which one client could exhaust for the others.
            ("grpc.max_concurrent_streams", 16),
            # A client whose machine is gone says no goodbye.
            ("grpc.keepalive_time_ms", 20_000),
            ("grpc.keepalive_timeout_ms", 10_000),
            ("grpc.max_connection_idle_ms", 120_000),
        ],
    )
    add_to_server(service, server)
    address = f"{config.host}:{config.port}"
    try:
        if config.tls_certificate:
            port = server.add_secure_port(address, server_credentials(config.tls_certificate, config.tls_key))
        else:
            port = server.add_insecure_port(address)
    except RuntimeError as error:
        raise ValueError(f"can't listen on {address}: is a server running there already?") from error
    return server, port


async def serve(
    engine: Engine,
    config: PolicyServerConfig,
    policy_path: str,
    stop: asyncio.Event,
    started: Callable[[int], None],
) -> None:
    """Serves until `stop`; tells its port when it has `started`.

    Raises:
        ValueError: The address can't be listened on.
        OSError: A file can't be read.
    """
    dispatcher = Dispatcher(
        engine,
        max_clients=config.max_clients,
        max_silence_s=config.max_silence_s,
        similarity_threshold=config.similarity_threshold,
        fps=config.fps,
    )
    server, port = make_server(PolicyService(dispatcher, policy_path), config)
    deciding = asyncio.create_task(dispatcher.run())
    stopping = asyncio.create_task(stop.wait())
    await server.start()
    started(port)
    try:
        await asyncio.wait({deciding, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if deciding.done():
            deciding.result()
    finally:
        dispatcher.close_all()
        await server.stop(GRACE_S)
        for task in (deciding, stopping):
            task.cancel()
        await asyncio.gather(deciding, stopping, return_exceptions=True)


async def _serve_until_signal(engine: Engine, config: PolicyServerConfig, policy_path: str) -> None:
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: loop.call_soon_threadsafe(stop.set))

    def say(port: int) -> None:
        print(f"Serving {policy_path} on {config.host}:{port}. A client:", flush=True)
        print(f"  {client_command(config, engine.policy.config, port)}", flush=True)

    await serve(engine, config, policy_path, stop, say)


@parser.wrap()
def _run(config: PolicyServerConfig) -> None:
    policy_config, path = config_of_path()
    config.check(policy_config)
    engine = Engine.load(path, policy_config, seed=config.seed, rtc=config.rtc)
    engine.warm_up()
    asyncio.run(_serve_until_signal(engine, config, path))


def main() -> None:
    init_logging()
    try:
        _run()
    except (ValueError, OSError, DraccusException) as error:
        sys.exit(f"qwenvla-policy-server: {' '.join(str(error).split())}")


if __name__ == "__main__":
    main()
