"""A Miniworld that goes on, tick by tick, whatever comes in."""

from dataclasses import dataclass

import numpy as np

from lerobot_qwenvla.devices.executor import RealTimeExecutor
from lerobot_qwenvla.miniworld.environment import MiniworldEnv


@dataclass(frozen=True)
class EpisodeResult:
    """How an episode ended.

    Attributes:
        seed: Of its world.
        task: The instruction.
        success: Whether the goal was reached.
        ticks: How long it took.
        stalled_ticks: How many of them passed without a new action.
    """

    seed: int
    task: str
    success: bool
    ticks: int
    stalled_ticks: int


class RealTimeWorld:
    """Episodes one after the other; whoever owns it calls `tick` at the world's rate.

    Attributes:
        screen: What is seen now.  # (canvas_h, canvas_w, 3) uint8
        state: What mouse and keyboard hold now.  # (len(CHANNELS),) float32
    """

    def __init__(self, env: MiniworldEnv, executor: RealTimeExecutor, first_seed: int):
        self._env, self._executor = env, executor
        self._seed = first_seed
        self._begin()

    @property
    def task(self) -> str:
        """The instruction of this episode."""
        return self._env.task_description

    def tick(self) -> EpisodeResult | None:
        """One step with what is held, whether or not an action came; how the episode ended, if it did.

        The next one begins at once, with nothing held.
        """
        observation, _, terminated, truncated, info = self._env.step(self._executor.tick())
        self._ticks += 1
        if terminated or truncated:
            stalled_ticks = self._executor.stalled_ticks - self._stalled_before
            result = EpisodeResult(self._seed, self.task, info["is_success"], self._ticks, stalled_ticks)
            self._executor.let_go()
            self._seed += 1
            self._begin()
            return result
        self._see(observation)
        return None

    def _begin(self) -> None:
        observation, _ = self._env.reset(seed=self._seed)
        self._ticks, self._stalled_before = 0, self._executor.stalled_ticks
        self._see(observation)

    def _see(self, observation: dict) -> None:
        self.screen: np.ndarray = observation["pixels"]["screen"]
        self.state: np.ndarray = self._executor.state
