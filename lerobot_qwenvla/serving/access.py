"""Who may connect: on loopback anyone on the machine, elsewhere who has the token, over TLS."""

import hmac
import ipaddress
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import grpc
from grpc import StatusCode
from lerobot.transport.utils import grpc_channel_options

MIN_TOKEN = 16  # characters
# gRPC would wait up to two minutes before it looks again for a server that was gone.
RECONNECT = [("grpc.initial_reconnect_backoff_ms", 200), ("grpc.max_reconnect_backoff_ms", 1_000)]


def is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def read_token(file: Path) -> str:
    """The secret that server and clients share.

    Raises:
        ValueError: The file is no token.
        OSError: It can't be read.
    """
    token = file.read_text(encoding="utf-8").strip()
    if len(token) < MIN_TOKEN or not token.isascii() or not token.isprintable() or " " in token:
        raise ValueError(f"{file}: a token is at least {MIN_TOKEN} letters and digits (openssl rand -hex 32)")
    return token


def server_credentials(certificate: Path, key: Path) -> grpc.ServerCredentials:
    """Raises OSError where a file can't be read."""
    return grpc.ssl_server_credentials([(key.read_bytes(), certificate.read_bytes())])


class TokenCheck(grpc.aio.ServerInterceptor):
    """Refuses every call without the token, before any of it is read."""

    def __init__(self, token: str) -> None:
        self._expected = f"Bearer {token}".encode()

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler]],
        details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler:
        given = dict(details.invocation_metadata).get("authorization", "")
        given = given if isinstance(given, bytes) else given.encode()
        handler = await continuation(details)
        if handler is None or hmac.compare_digest(given, self._expected):
            return handler
        if handler.request_streaming:
            return grpc.stream_unary_rpc_method_handler(_refuse)
        return grpc.unary_unary_rpc_method_handler(_refuse)


async def _refuse(_: Any, context: grpc.aio.ServicerContext) -> None:
    await context.abort(StatusCode.UNAUTHENTICATED, "no token, or a wrong one")


def open_channel(
    address: str, tls_certificate: Path | None = None, token_file: Path | None = None, **options: Any
) -> grpc.Channel:
    """A channel to a policy server.

    Args:
        address: host:port.
        tls_certificate: Of the server, or of who signed it.
        token_file: What the server has been given, too.
        options: Of LeRobot's `grpc_channel_options`.

    Raises:
        ValueError: There is a token but no TLS, which would tell everyone the token.
        OSError: A file can't be read.
    """
    if token_file is not None and tls_certificate is None:
        raise ValueError("a token is sent over TLS only: pass --tls_certificate, too")
    channel_options = [*grpc_channel_options(**options), *RECONNECT]
    if tls_certificate is None:
        return grpc.insecure_channel(address, channel_options)
    credentials = grpc.ssl_channel_credentials(tls_certificate.read_bytes())
    if token_file is not None:
        token = grpc.access_token_call_credentials(read_token(token_file))
        credentials = grpc.composite_channel_credentials(credentials, token)
    return grpc.secure_channel(address, credentials, channel_options)
