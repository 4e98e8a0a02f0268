"""LeRobot's gRPC service: what its client calls, answered or refused with a status and a reason."""

import asyncio
import json
import logging
from collections.abc import AsyncIterable, Awaitable

import grpc
from grpc import StatusCode
from grpc.aio import ServicerContext
from lerobot.transport import services_pb2, services_pb2_grpc

from lerobot_qwenvla.serving.dispatcher import Dispatcher
from lerobot_qwenvla.serving.wire.messages import read_observation, read_setup
from lerobot_qwenvla.serving.wire.refusal import Refusal, short
from lerobot_qwenvla.serving.wire.streams import join

logger = logging.getLogger(__name__)

# LeRobot's client asks again at once, whatever it is told.
HOLD_FAILED_S = 1.0
NOTHING_NEW_S = 2.0
STREAM_S = 10.0
# An honest client sends one after the other; one more where it has given up the last.
MAX_STREAMS = 2

STATUS_SERVICE, STATUS_METHOD = "qwenvla.PolicyServer", "Status"


class PolicyService(services_pb2_grpc.AsyncInferenceServicer):
    """The four calls of LeRobot's client, which the session of its connection answers."""

    def __init__(self, dispatcher: Dispatcher, policy_path: str) -> None:
        self.dispatcher, self.policy_path = dispatcher, policy_path

    async def Ready(self, request: services_pb2.Empty, context: ServicerContext) -> services_pb2.Empty:  # noqa: N802
        return await self._answer(self._ready(context.peer()), context)

    async def SendPolicyInstructions(  # noqa: N802
        self, request: services_pb2.PolicySetup, context: ServicerContext
    ) -> services_pb2.Empty:
        return await self._answer(self._set_up(context.peer(), request.data), context)

    async def SendObservations(  # noqa: N802
        self, request_iterator: AsyncIterable[services_pb2.Observation], context: ServicerContext
    ) -> services_pb2.Empty:
        return await self._answer(self._observe(context.peer(), request_iterator), context)

    async def GetActions(  # noqa: N802
        self, request: services_pb2.Empty, context: ServicerContext
    ) -> services_pb2.Actions:
        return await self._answer(self._act(context.peer()), context, hold_s=HOLD_FAILED_S)

    async def status(self, request: bytes, context: ServicerContext) -> bytes:
        """A line of JSON; of a service of its own, as LeRobot's has no such call."""
        return json.dumps(self.dispatcher.status()).encode()

    async def _answer[T](self, work: Awaitable[T], context: ServicerContext, hold_s: float = 0.0) -> T:
        try:
            return await work
        except Refusal as refusal:
            code, reason = refusal.code, short(refusal)
        except ValueError as error:
            code, reason = StatusCode.INVALID_ARGUMENT, short(error)
        except Exception as error:
            logger.exception("%s: a request failed", short(context.peer()))
            code, reason = StatusCode.INTERNAL, short(f"{type(error).__name__}: {error}")
        self.dispatcher.figures.refused[code.name] += 1
        await asyncio.sleep(hold_s)
        await context.abort(code, reason)

    async def _ready(self, peer: str) -> services_pb2.Empty:
        self.dispatcher.open(peer)
        return services_pb2.Empty()

    async def _set_up(self, peer: str, data: bytes) -> services_pb2.Empty:
        session, policy = self.dispatcher.of(peer), self.dispatcher.engine.policy
        session.setup = read_setup(data, policy.config, policy.backbone.token_grid, self.policy_path)
        return services_pb2.Empty()

    async def _observe(self, peer: str, stream: AsyncIterable[services_pb2.Observation]) -> services_pb2.Empty:
        session, setup = self.dispatcher.set_up(peer)
        if session.streams >= MAX_STREAMS:
            raise Refusal(StatusCode.RESOURCE_EXHAUSTED, f"{MAX_STREAMS} observations at a time")
        session.streams += 1
        try:
            data = await join(stream, max_bytes=setup.max_bytes, max_s=STREAM_S)
        finally:
            session.streams -= 1
        self.dispatcher.take(session, read_observation(data, setup))
        return services_pb2.Empty()

    async def _act(self, peer: str) -> services_pb2.Actions:
        session, _ = self.dispatcher.set_up(peer)
        try:
            return services_pb2.Actions(data=await self.dispatcher.answer(session, NOTHING_NEW_S))
        except asyncio.CancelledError:  # its connection is gone
            self.dispatcher.close(session)
            raise


def add_to_server(service: PolicyService, server: grpc.aio.Server) -> None:
    services_pb2_grpc.add_AsyncInferenceServicer_to_server(service, server)
    status = grpc.unary_unary_rpc_method_handler(service.status)
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(STATUS_SERVICE, {STATUS_METHOD: status})])
