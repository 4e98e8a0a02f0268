"""`qwenvla-policy-server-status`: a line of JSON about a running policy server."""

import sys
from dataclasses import dataclass
from pathlib import Path

import draccus
import grpc
from draccus.utils import DraccusException

from lerobot_qwenvla.serving.access import open_channel
from lerobot_qwenvla.serving.service import STATUS_METHOD, STATUS_SERVICE

TIMEOUT_S = 30.0


@dataclass
class StatusConfig:
    server_address: str = "127.0.0.1:8080"
    # What the server was started with, if it was.
    tls_certificate: Path | None = None
    token_file: Path | None = None


def status(config: StatusConfig) -> str:
    """Sessions, who waits, counts, decisions a second, latency, and what the similarity filter saved, as JSON.

    Raises:
        ValueError: The server does not answer, or refuses.
    """
    with open_channel(config.server_address, config.tls_certificate, config.token_file) as channel:
        try:
            return channel.unary_unary(f"/{STATUS_SERVICE}/{STATUS_METHOD}")(b"", timeout=TIMEOUT_S).decode()
        except grpc.RpcError as error:
            raise ValueError(f"{config.server_address}: {error.code().name}, {error.details()}") from error


@draccus.wrap()
def _run(config: StatusConfig) -> None:
    print(status(config))


def main() -> None:
    try:
        _run()
    except (ValueError, OSError, DraccusException) as error:
        sys.exit(f"qwenvla-policy-server-status: {' '.join(str(error).split())}")


if __name__ == "__main__":
    main()
