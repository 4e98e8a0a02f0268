"""Miniworld as a gymnasium environment that is played with mouse and keyboard."""

import math
from dataclasses import dataclass

import gymnasium as gym
import numpy as np

from lerobot_qwenvla.devices.executor import ExecutionConfig, Executor
from lerobot_qwenvla.miniworld.controls import Controls, decode_controls
from lerobot_qwenvla.miniworld.tasks import NEW_PAIRS, NEW_WORDS, RECORDED, WRONG_OBJECT, find_task
from lerobot_qwenvla.miniworld.worlds import world_class
from recordings_to_lerobot.actions.channels import CHANNELS, MOUSE_CHANNELS

SMALLEST_CANVAS_PX = 16
FPS = 10


@dataclass(frozen=True)
class Pose:
    """Where the player stands on the floor, and the way it faces: counter-clockwise, in [0, 360)."""

    x_m: float
    z_m: float
    heading_deg: float


class MiniworldEnv(gym.Env):
    """A stock Miniworld world behind a screen, mouse and keyboard; dynamics, rewards and budget are its own.

    Observation: `pixels/screen` (canvas_h, canvas_w, 3) uint8, and `agent_pos` (len(CHANNELS),) float32, the
    state of mouse and keyboard: where the last action left the mouse and what it held down.
    Action: (len(CHANNELS),) float32. Mouse x steers, w/s walk, a/d step aside, the left button picks up and
    the right one drops.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": FPS}  # noqa: RUF012 (gymnasium's own convention)
    render_mode = "rgb_array"

    def __init__(
        self,
        task: str = "OneRoom",
        canvas_w: int = 384,
        canvas_h: int = 384,
        episode_length: int | None = None,
        variation: str = RECORDED,
        execution: ExecutionConfig | None = None,
    ):
        """Build the world of a task.

        Args:
            task: A name in `tasks.TASKS`.
            canvas_w: Width of the screen in pixels.
            canvas_h: Height of the screen in pixels.
            episode_length: Step budget; None keeps the one of the stock world.
            variation: One in `tasks.VARIATIONS`.
            execution: How actions become what is held; None for the defaults.

        Raises:
            ValueError: Unknown task or variation, or a canvas or budget that is too small.
            OpenGLMissingError: A system library is missing.
        """
        known = find_task(task, variation)
        if min(canvas_w, canvas_h) < SMALLEST_CANVAS_PX:
            raise ValueError(
                f"The canvas must be at least {SMALLEST_CANVAS_PX} pixels wide and high, not {canvas_w}x{canvas_h}."
            )
        if episode_length is not None and episode_length < 1:
            raise ValueError(f"episode_length must be at least 1, not {episode_length}.")
        self.task = task
        self.task_description = ""  # what the player is told; known once an episode has begun
        options = {} if episode_length is None else {"max_episode_steps": episode_length}
        if variation == NEW_PAIRS:
            options["new_pairs"] = True
        # The window for human eyes is never drawn here, and at stock size it would cost 120 MB.
        self.world = world_class(known.world)(
            obs_width=canvas_w, obs_height=canvas_h, window_width=1, window_height=1, **options
        )
        self._known, self._variation = known, variation
        self._screen = np.zeros((canvas_h, canvas_w, 3), dtype=np.uint8)
        self._executor = Executor(execution)
        lowest = np.zeros(len(CHANNELS), dtype=np.float32)
        lowest[: len(MOUSE_CHANNELS)] = -1.0
        self.action_space = gym.spaces.Box(lowest, np.ones_like(lowest))
        self.observation_space = gym.spaces.Dict(
            {
                "pixels": gym.spaces.Dict({"screen": gym.spaces.Box(0, 255, self._screen.shape, np.uint8)}),
                "agent_pos": gym.spaces.Box(lowest, np.ones_like(lowest)),
            }
        )

    @property
    def canvas_px(self) -> tuple[int, int]:
        """Width and height of the screen."""
        height, width, _ = self._screen.shape
        return width, height

    @property
    def pose(self) -> Pose:
        """Where the player stands now."""
        agent = self.world.agent
        return Pose(float(agent.pos[0]), float(agent.pos[2]), math.degrees(agent.dir) % 360)

    @property
    def goal(self):
        """The stock entity that the task is about."""
        return getattr(self.world, self._known.goal)

    @property
    def others(self) -> list:
        """The entities that must not be touched."""
        return [entity for entity in self.world.names if entity is not self.goal] if self._known.names_goal else []

    @property
    def _max_episode_steps(self) -> int:
        # LeRobot's rollout asks every environment for its budget under this name.
        return self.world.max_episode_steps

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple[dict, dict]:
        """Start an episode; the same seed gives the same world."""
        super().reset(seed=seed)
        self._screen, _ = self.world.reset(seed=seed)
        self._executor.reset()
        self.task_description = self._instruction()
        return self._observation(), {"is_success": False}

    def step(self, action: np.ndarray) -> tuple[dict, float, bool, bool, dict]:
        """Play one tick.

        Raises:
            ValueError: The action has the wrong shape or holds a value that is not finite.
        """
        controls = decode_controls(self._executor.perform(action))
        self._move(controls)
        self._screen, reward, terminated, truncated, _ = self.world.step(self._hand_action(controls))
        # Some worlds also end an episode for a failure, then without a reward.
        return self._observation(), float(reward), terminated, truncated, {"is_success": bool(reward > 0)}

    def render(self) -> np.ndarray:
        """The screen as it was last observed.  # (canvas_h, canvas_w, 3) uint8"""
        return self._screen

    def close(self) -> None:
        """Give the world's OpenGL context back."""
        self.world.close()

    def _instruction(self) -> str:
        """In words of this episode, drawn apart from the world, so that the same seed gives the same world."""
        words = self._known.new_words if self._variation == NEW_WORDS else self._known.words
        sentence = words[self.np_random.integers(len(words))]
        if not self._known.names_goal:
            return sentence
        goal, other, *_ = self.world.names.values()
        return sentence.format(goal=other if self._variation == WRONG_OBJECT else goal)

    def _observation(self) -> dict:
        return {"pixels": {"screen": self._screen}, "agent_pos": self._executor.state.copy()}

    def _move(self, controls: Controls) -> None:
        if controls.turn_deg:
            self.world.turn_agent(controls.turn_deg)
        if controls.walk or controls.sidestep:
            rng = self.world.np_random if self.world.domain_rand else None
            step_m = self.world.params.sample(rng, "forward_step")
            self.world.move_agent(controls.walk * step_m, controls.sidestep * step_m)

    def _hand_action(self, controls: Controls) -> int:
        actions = self.world.actions
        if controls.picks_up:
            return actions.pickup
        # `done` does nothing in the stock worlds: time passes, rewards and budgets are computed.
        return actions.drop if controls.drops else actions.done
