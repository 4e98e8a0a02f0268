"""Who is served when: sessions, and the one thread in which the policy decides about all that wait."""

import asyncio
import logging
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from grpc import StatusCode

from lerobot_qwenvla.serving.engine import Decision, Engine, Question
from lerobot_qwenvla.serving.figures import Figures
from lerobot_qwenvla.serving.session import Sent, Session
from lerobot_qwenvla.serving.wire.messages import Observation, Setup, write_actions
from lerobot_qwenvla.serving.wire.refusal import Refusal, short

logger = logging.getLogger(__name__)

LOOK_FOR_SILENT_S = 1.0


class Dispatcher:
    """Sessions of up to `max_clients` at a time; all of it runs in the event loop but for the decisions."""

    def __init__(
        self, engine: Engine, *, max_clients: int, max_silence_s: float, similarity_threshold: float, fps: float
    ) -> None:
        self.engine, self.figures = engine, Figures()
        self.max_clients, self.max_silence_s = max_clients, max_silence_s
        self.similarity_threshold, self.fps = similarity_threshold, fps
        self.sessions: dict[str, Session] = {}
        self._arrival = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, "decisions")

    # --- Sessions ---

    def open(self, peer: str) -> Session:
        """A new session in the place of the peer's last one.

        Raises:
            Refusal: There are as many clients as there may be.
        """
        if peer in self.sessions:
            self.close(self.sessions[peer])
        if len(self.sessions) >= self.max_clients:
            raise Refusal(
                StatusCode.RESOURCE_EXHAUSTED, f"{self.max_clients} clients are being served already; try again later"
            )
        self.sessions[peer] = Session(peer, time.monotonic())
        logger.info("%s: connected", short(peer))
        return self.sessions[peer]

    def of(self, peer: str) -> Session:
        """Raises Refusal where the peer has no session."""
        if peer not in self.sessions:
            raise Refusal(StatusCode.FAILED_PRECONDITION, "no session: call Ready first, also after a reconnect")
        session = self.sessions[peer]
        session.heard_s = time.monotonic()
        return session

    def set_up(self, peer: str) -> tuple[Session, Setup]:
        """Raises Refusal where the peer has no session, or has declared nothing."""
        session = self.of(peer)
        if session.setup is None:
            raise Refusal(StatusCode.FAILED_PRECONDITION, "call SendPolicyInstructions first")
        return session, session.setup

    def close(self, session: Session) -> None:
        """Forgets a client."""
        if session.is_closed:
            return
        session.is_closed = True
        del self.sessions[session.peer]
        if session.request is not None:
            session.request.cancel()
        self.engine.forget(session)
        logger.info("%s: gone", short(session.peer))

    # --- Observations and requests ---

    def take(self, session: Session, observation: Observation) -> None:
        """An observation joins its session."""
        if session.is_closed:  # while it was on its way
            return
        skipped = session.skipped
        session.take(self.engine.see(session, observation, time.monotonic()), self.similarity_threshold)
        self.figures.observations += 1
        self.figures.skipped += session.skipped - skipped
        self._arrival.set()

    async def answer(self, session: Session, timeout_s: float) -> bytes:
        """The next chunk of actions for a client; empty where it has shown nothing to decide about for so long.

        Raises:
            Refusal: It is asking already, or its session has ended.
        """
        if session.request is not None:
            raise Refusal(StatusCode.RESOURCE_EXHAUSTED, "one GetActions at a time")
        session.request = request = asyncio.get_running_loop().create_future()
        self._arrival.set()
        try:
            await asyncio.wait({request}, timeout=timeout_s)
            if not request.done() and not session.is_being_decided:
                return b""
            await asyncio.wait({request})
            if request.cancelled():
                raise Refusal(StatusCode.FAILED_PRECONDITION, "the session has ended; call Ready for a new one")
            return request.result()
        finally:
            request.cancel()
            session.request, session.heard_s = None, time.monotonic()

    # --- Decisions ---

    async def run(self) -> None:
        """Decides for ever; to be cancelled."""
        silence = asyncio.create_task(self._close_silent())
        try:
            while True:
                await self._arrival.wait()
                self._arrival.clear()
                await self._decide()
        finally:
            silence.cancel()
            self._thread.shutdown(wait=True, cancel_futures=True)

    def close_all(self) -> None:
        for session in list(self.sessions.values()):
            self.close(session)

    async def _close_silent(self) -> None:
        while True:
            await asyncio.sleep(LOOK_FOR_SILENT_S)
            limit_s = time.monotonic() - self.max_silence_s
            for session in list(self.sessions.values()):
                if session.heard_s < limit_s and session.request is None and not session.streams:
                    self.close(session)

    async def _decide(self) -> None:
        """About all that wait at this moment."""
        asked = [session for session in self.sessions.values() if session.waits]
        if not asked:
            return
        questions = []
        for session in asked:
            sighting, session.pending = session.pending, None
            performed = sighting.observation.timestep
            running = session.sent.left_after(performed) if session.sent else None
            questions.append(Question(sighting, running, max(session.delays)))
            session.is_being_decided = True
        requests = [session.request for session in asked]
        decisions = await asyncio.get_running_loop().run_in_executor(self._thread, self.engine.decide, questions)
        self.figures.batches += 1
        self._arrival.set()  # what came meanwhile
        for session, request, question, decision in zip(asked, requests, questions, decisions, strict=True):
            session.is_being_decided = False
            if request.done():  # the client is gone
                continue
            if isinstance(decision, Exception):
                request.set_exception(decision)
            else:
                request.set_result(self._send(session, question, decision))

    def _send(self, session: Session, question: Question, decision: Decision) -> bytes:
        observation, count = question.sighting.observation, session.setup.actions_per_chunk
        session.answered(observation, Sent(observation.timestep, decision.normalised[:count]))
        self.figures.decided(time.monotonic(), question.sighting.received_s)
        self._watch_clock(session)
        return write_actions(decision.actions[:count], observation.timestep, observation.timestamp_s, self.fps)

    def _watch_clock(self, session: Session) -> None:
        offset = self.engine.policy.config.frame_offsets[0]
        error_s = session.clock_error(offset, self.fps)
        if error_s is not None and error_s > -offset / self.fps:
            self.figures.late_frames += 1

    def status(self) -> dict[str, Any]:
        return {
            "sessions": len(self.sessions),
            "waiting": sum(session.waits for session in self.sessions.values()),
            **self.figures.summary(time.monotonic()),
        }
