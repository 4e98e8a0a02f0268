"""An observation comes as a stream of pieces, put together within bounds of time and size."""

import asyncio
from collections.abc import AsyncIterable

from grpc import StatusCode
from lerobot.transport import services_pb2

from lerobot_qwenvla.serving.wire.refusal import Refusal

# LeRobot's client sends pieces of 2 MB.
MAX_PIECES = 64


async def join(stream: AsyncIterable[services_pb2.Observation], *, max_bytes: int, max_s: float) -> bytes:
    """The bytes of a whole stream.

    Raises:
        Refusal: It is longer than that, takes longer, or has no beginning or end.
    """
    try:
        async with asyncio.timeout(max_s):
            return await _join(stream, max_bytes)
    except TimeoutError:
        # Not DEADLINE_EXCEEDED, which LeRobot's client would answer by sending it all again.
        raise Refusal(StatusCode.ABORTED, f"an observation that was not complete after {max_s:g} s") from None


async def _join(stream: AsyncIterable[services_pb2.Observation], max_bytes: int) -> bytes:
    pieces, size = [], 0
    async for message in stream:
        state = message.transfer_state
        begins = state == services_pb2.TRANSFER_BEGIN
        if state == services_pb2.TRANSFER_UNKNOWN or (begins == bool(pieces) and state != services_pb2.TRANSFER_END):
            raise Refusal(StatusCode.INVALID_ARGUMENT, "pieces of an observation out of order")
        pieces.append(message.data)
        size += len(message.data)
        if size > max_bytes or len(pieces) > MAX_PIECES:
            raise Refusal(
                StatusCode.INVALID_ARGUMENT,
                f"an observation of more than the {max_bytes} bytes that were declared, or in more than "
                f"{MAX_PIECES} pieces",
            )
        if state == services_pb2.TRANSFER_END:
            return b"".join(pieces)
    raise Refusal(StatusCode.INVALID_ARGUMENT, "an observation without its end")
