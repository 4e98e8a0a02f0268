"""Plays episodes: the one loop behind the recorder and behind the baselines of an evaluation."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from tqdm import tqdm

from lerobot_qwenvla.envs.miniworld_env import MiniworldEnv
from lerobot_qwenvla.recorder.clock import FRAME_PERIOD_TICKS, frame_ticks
from lerobot_qwenvla.recorder.hand import Hand
from lerobot_qwenvla.recorder.input_device import InputDevice, InputEvent
from lerobot_qwenvla.recorder.scripted_expert import ScriptedExpert
from lerobot_qwenvla.recorder.sight import look


@dataclass(frozen=True)
class Step:
    """One frame and what was done in its interval.

    Attributes:
        tick: Capture time of the frame.
        screen: (canvas_h, canvas_w, 3) uint8, the world before the action.
        action: (len(CHANNELS),) float32, what the environment was stepped with.
        events: The input events that the action sums up; none if the player does not use its hands.
        success: Whether this step reached the goal.
    """

    tick: int
    screen: np.ndarray
    action: np.ndarray
    events: list[InputEvent]
    success: bool


class Player(Protocol):
    """Plays one episode, interval by interval."""

    def play(self, start_tick: int, end_tick: int) -> tuple[np.ndarray, list[InputEvent]]:
        """Action (len(CHANNELS),) for the interval between two ticks, and the events that it sums up."""
        ...


class ScriptedPlayer:
    """The scripted expert, playing by hand."""

    def __init__(self, env: MiniworldEnv, seed: int):
        self._env = env
        self._expert = ScriptedExpert(env.canvas_px)
        self._hand = Hand(env.canvas_px, seeded_rng(seed, "hand"))
        self._device = InputDevice(env.canvas_px)

    def play(self, start_tick: int, end_tick: int) -> tuple[np.ndarray, list[InputEvent]]:
        """Look, intend, move the hand."""
        intention = self._expert.intend(look(self._env))
        events = self._hand.carry_out(intention, start_tick, end_tick)
        return self._device.play(events), events


class RandomPlayer:
    """Uniformly random actions: what success comes to by chance."""

    def __init__(self, env: MiniworldEnv, seed: int):
        self._action_space = env.action_space
        self._action_space.seed(seed)

    def play(self, start_tick: int, end_tick: int) -> tuple[np.ndarray, list[InputEvent]]:
        """A sample of the action space."""
        return self._action_space.sample(), []


PLAYERS: dict[str, Callable[[MiniworldEnv, int], Player]] = {
    "scripted": ScriptedPlayer,
    "random": RandomPlayer,
}


def play_episode(env: MiniworldEnv, make_player: Callable[[MiniworldEnv, int], Player], seed: int) -> Iterator[Step]:
    """Steps of the episode with this seed, until the environment ends it."""
    observation, _ = env.reset(seed=seed)
    player = make_player(env, seed)
    ticks = frame_ticks(seeded_rng(seed, "clock"))
    tick = next(ticks)
    done = False
    while not done:
        next_tick = next(ticks)
        # A late next frame must not draw events beyond the nominal period: that is all the last frame owns.
        action, events = player.play(tick, min(next_tick, tick + FRAME_PERIOD_TICKS))
        next_observation, _, terminated, truncated, info = env.step(action)
        yield Step(tick, observation["pixels"]["screen"], action, events, info["is_success"])
        done = terminated or truncated
        observation, tick = next_observation, next_tick


def evaluate_player(player_name: str, task: str, seeds: Iterable[int], canvas_w: int, canvas_h: int) -> list[bool]:
    """Success of a player in `PLAYERS` on each of the seeds, with a progress bar.

    Raises:
        ValueError: Unknown player or task.
    """
    if player_name not in PLAYERS:
        raise ValueError(f"Unknown player {player_name!r}. Known players: {', '.join(sorted(PLAYERS))}.")
    env = MiniworldEnv(task, canvas_w, canvas_h)
    try:
        progress = tqdm(list(seeds), desc=f"{player_name} player", unit="episode")
        return [any(step.success for step in play_episode(env, PLAYERS[player_name], seed)) for seed in progress]
    finally:
        env.close()


def seeded_rng(seed: int, stream: str) -> np.random.Generator:
    """Generator of its own for each use, so that none shifts the draws of another."""
    return np.random.default_rng([seed, *stream.encode()])
