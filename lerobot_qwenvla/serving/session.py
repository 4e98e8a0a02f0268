"""What the server knows of one client, from its `Ready` on."""

from asyncio import Future
from collections import deque
from dataclasses import dataclass, field

from torch import Tensor

from lerobot_qwenvla.features.frame_memory import Windows
from lerobot_qwenvla.serving.similarity import difference
from lerobot_qwenvla.serving.wire.messages import Observation, Setup

# So many decisions back, the slowest one tells how long the next may take.
DELAYS_KEPT = 10
TIMES_KEPT = 64


@dataclass(frozen=True, eq=False)
class Sighting:
    """An observation with all that a decision about it needs.

    Attributes:
        state: Normalised, (1, S), None where the policy has none.
        windows: The frames it looks at.
        received_s: Of the clock of the server.
    """

    observation: Observation
    instruction: str
    state: Tensor | None
    windows: Windows
    received_s: float


@dataclass(frozen=True, eq=False)
class Sent:
    """A chunk of actions that a client got: actions `timestep` + 1, + 2, …

    Attributes:
        actions: As the policy made them, (n, A).
    """

    timestep: int
    actions: Tensor

    @property
    def last_timestep(self) -> int:
        return self.timestep + len(self.actions)

    def left_after(self, performed: int) -> Tensor | None:
        """What follows the action `performed`, None where nothing does.  # (L, A)"""
        left = self.actions[max(0, performed - self.timestep) :]
        return left if len(left) and performed >= self.timestep else None


@dataclass(eq=False)
class Session:
    """One client's episode.

    Attributes:
        heard_s: When it was last heard of.
        streams: How many observations it is sending at this moment.
        request: Its open `GetActions`.
        pending: Its newest observation worth a decision.
        decided: The last one that was decided about.
        sent: The last chunk it got.
        performed: The newest action it says it has performed.
        delays: How many actions it performed during each of the last decisions.
        skipped: Observations that were too similar to the last one decided about.
    """

    peer: str
    heard_s: float
    setup: Setup | None = None
    streams: int = 0
    request: Future[bytes] | None = None
    is_being_decided: bool = False
    pending: Sighting | None = None
    decided: Observation | None = None
    sent: Sent | None = None
    performed: int = -1
    skipped: int = 0
    delays: deque[int] = field(default_factory=lambda: deque([0], DELAYS_KEPT))
    times: deque[tuple[int, float]] = field(default_factory=lambda: deque(maxlen=TIMES_KEPT))
    is_closed: bool = False

    @property
    def waits(self) -> bool:
        """Whether it asks for a decision, and has something new to decide about."""
        return self.pending is not None and self.request is not None and not self.request.done()

    def take(self, sighting: Sighting, threshold: float) -> None:
        """Keeps an observation for the next decision, unless the last decision still does."""
        observation = sighting.observation
        is_worth_it = (
            self.decided is None
            or self._has_no_actions(observation)
            or threshold <= 0
            or difference(observation, self.decided) >= threshold
        )
        self.performed = max(self.performed, observation.timestep)
        self.times.append((observation.timestep, observation.timestamp_s))
        if is_worth_it:
            self.pending = sighting
        else:
            self.skipped += 1

    def _has_no_actions(self, observation: Observation) -> bool:
        """Whether the client's queue is empty, of which its own word may get lost.

        A client that has actions performs one between two observations, so the same timestep again says so, too.
        """
        return (
            observation.must_go
            or self.sent is None
            or observation.timestep >= self.sent.last_timestep
            or observation.timestep == self.performed
        )

    def answered(self, observation: Observation, sent: Sent) -> None:
        """Takes note of a chunk that goes to the client now."""
        self.decided, self.sent = observation, sent
        self.delays.append(max(0, self.performed - observation.timestep))
        if self.pending is not None and self.pending.observation.timestep <= observation.timestep:
            self.pending = None  # has the same actions left as the one decided about: those that it gets now

    def clock_error(self, offset: int, fps: float) -> float | None:
        """How much longer ago, in s, the frame at an offset (in steps, negative) was than it should be.

        None where there was none yet. A client that waits for actions performs none, and its timestep stands still.
        """
        timestep, now_s = self.times[-1]
        earlier = [at_s for step, at_s in self.times if step <= timestep + offset]
        return now_s - earlier[-1] + offset / fps if earlier else None
