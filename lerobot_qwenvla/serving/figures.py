"""What a running server counts."""

from collections import Counter, deque
from dataclasses import dataclass, field

import numpy as np

RECENT = 1_000
RATE_OVER_S = 60.0


@dataclass
class Figures:
    """Counts since the start, and the latency of the last decisions: from an observation's arrival to its answer.

    Attributes:
        batches: Times the policy was asked.
        late_frames: Decisions that looked at frames much older than the policy was trained on, because the client stood
            still for want of actions.
        refused: Requests refused, by status.
    """

    observations: int = 0
    skipped: int = 0
    decisions: int = 0
    batches: int = 0
    late_frames: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    latencies_ms: deque[float] = field(default_factory=lambda: deque(maxlen=RECENT))
    decided_s: deque[float] = field(default_factory=lambda: deque(maxlen=100 * RECENT))

    def decided(self, now_s: float, received_s: float) -> None:
        self.decisions += 1
        self.latencies_ms.append(1000 * (now_s - received_s))
        self.decided_s.append(now_s)

    def summary(self, now_s: float) -> dict[str, object]:
        """For machines: what JSON can hold."""
        while self.decided_s and self.decided_s[0] < now_s - RATE_OVER_S:
            self.decided_s.popleft()
        over_s = min(RATE_OVER_S, now_s - self.decided_s[0]) if self.decided_s else 0
        p50, p99 = np.percentile(self.latencies_ms, [50, 99]).round(1).tolist() if self.latencies_ms else (None, None)
        return {
            "observations": self.observations,
            "skipped_as_similar": self.skipped,
            "decisions": self.decisions,
            "decisions_per_s": round(len(self.decided_s) / over_s, 2) if over_s else 0.0,
            "decisions_per_batch": round(self.decisions / self.batches, 2) if self.batches else None,
            "latency_ms": {"p50": p50, "p99": p99},
            "decisions_with_late_frames": self.late_frames,
            "refused": dict(self.refused),
        }
