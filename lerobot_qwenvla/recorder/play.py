"""Plays episodes: the one loop behind the recorder and behind the baselines of an evaluation."""

import contextlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from tqdm import tqdm

from lerobot_qwenvla.devices.input_device import InputDevice, InputEvent
from lerobot_qwenvla.miniworld.environment import MiniworldEnv
from lerobot_qwenvla.miniworld.players.scripted import make_planner
from lerobot_qwenvla.miniworld.players.sight import look
from lerobot_qwenvla.recorder.clock import FRAME_PERIOD_TICKS, frame_ticks
from lerobot_qwenvla.recorder.hand import Hand

# A recorder that is faster than the screen captures some pictures twice.
DUPLICATE_PROBABILITY = 0.02


@dataclass(frozen=True)
class Interval:
    """What a player does between one frame and the next.

    Attributes:
        tick: Capture time of the frame.
        action: (len(CHANNELS),) float32.
        events: The input events that the action sums up, and before them those that set the state in which the
            episode starts; none if the player does not use its hands.
        n_captures: How often the frame was captured.
    """

    tick: int
    action: np.ndarray
    events: list[InputEvent]
    n_captures: int = 1


@dataclass(frozen=True)
class Player:
    """Someone who plays.

    Attributes:
        name: As recordings and reports call it.
        intervals: Plays the episode with this seed, just reset in this environment: one interval after the other
            without end, each before the environment is stepped with its action.
    """

    name: str
    intervals: Callable[[MiniworldEnv, int], Iterator[Interval]]


@dataclass(frozen=True)
class Step:
    """One frame and what was done in its interval.

    Attributes:
        screen: (canvas_h, canvas_w, 3) uint8, the world before the action.
        interval: What the environment was stepped with, and when.
        reward: What the world gives for the step.
        success: Whether this step reached the goal.
    """

    screen: np.ndarray
    interval: Interval
    reward: float
    success: bool


@dataclass(frozen=True)
class Outcome:
    """How an episode ended: whether in success, after how many steps, and with what reward in all."""

    success: bool
    steps: int
    reward: float


def _play_by_script(env: MiniworldEnv, seed: int) -> Iterator[Interval]:
    """Look, plan, move the hand."""
    planner = make_planner(env)
    hand = Hand(env.canvas_px, seeded_rng(seed, "hand"))
    device = InputDevice(env.canvas_px)
    duplicates_rng = seeded_rng(seed, "duplicates")
    for tick, next_tick in pairwise(frame_ticks(seeded_rng(seed, "clock"))):
        # A late next frame must not draw events beyond the nominal period: that is all the last frame owns.
        events = hand.carry_out(planner.intend(look(env)), tick, min(next_tick, tick + FRAME_PERIOD_TICKS))
        n_captures = 2 if duplicates_rng.random() < DUPLICATE_PROBABILITY else 1
        yield Interval(tick, device.play(events), events, n_captures)


def _play_at_random(env: MiniworldEnv, seed: int) -> Iterator[Interval]:
    env.action_space.seed(seed)
    for tick in frame_ticks(seeded_rng(seed, "clock")):
        yield Interval(tick, env.action_space.sample(), [])


SCRIPTED = Player("scripted", _play_by_script)
# Uniformly random actions: what success comes to by chance.
RANDOM = Player("random", _play_at_random)
PLAYERS = {player.name: player for player in (SCRIPTED, RANDOM)}


def play_episode(env: MiniworldEnv, player: Player, seed: int) -> Iterator[Step]:
    """Steps of the episode with this seed, until the environment ends it."""
    observation, _ = env.reset(seed=seed)
    for interval in player.intervals(env, seed):
        next_observation, reward, terminated, truncated, info = env.step(interval.action)
        yield Step(observation["pixels"]["screen"], interval, reward, info["is_success"])
        if terminated or truncated:
            return
        observation = next_observation


def play_seeds(player_name: str, task: str, seeds: Iterable[int], canvas_w: int, canvas_h: int) -> list[Outcome]:
    """How a player in `PLAYERS` fares on each of the seeds, with a progress bar.

    Raises:
        ValueError: Unknown player or task.
    """
    if player_name not in PLAYERS:
        raise ValueError(f"Unknown player {player_name!r}. Known players: {', '.join(sorted(PLAYERS))}.")
    with contextlib.closing(MiniworldEnv(task, canvas_w, canvas_h)) as env:
        progress = tqdm(list(seeds), desc=f"{task}, {player_name} player", unit="episode")
        return [_outcome(list(play_episode(env, PLAYERS[player_name], seed))) for seed in progress]


def evaluate_player(player_name: str, task: str, seeds: Iterable[int], canvas_w: int, canvas_h: int) -> list[bool]:
    """Success of a player in `PLAYERS` on each of the seeds.

    Raises:
        ValueError: Unknown player or task.
    """
    return [outcome.success for outcome in play_seeds(player_name, task, seeds, canvas_w, canvas_h)]


def _outcome(steps: list[Step]) -> Outcome:
    return Outcome(any(step.success for step in steps), len(steps), sum(step.reward for step in steps))


def seeded_rng(seed: int, stream: str) -> np.random.Generator:
    """Generator of its own for each use, so that none shifts the draws of another."""
    return np.random.default_rng([seed, *stream.encode()])
