"""Miniworld as a gymnasium environment that is played with mouse and keyboard."""

import functools
import math
from dataclasses import dataclass

import gymnasium as gym
import numpy as np
from PIL import Image

from lerobot_qwenvla.devices.executor import ExecutionConfig, Executor
from lerobot_qwenvla.miniworld.controls import MAX_TURN_DEG, Controls, decode_controls
from lerobot_qwenvla.miniworld.tasks import NEW_WORDS, RECORDED, WORLD_OPTIONS, WRONG_OBJECT, find_task
from lerobot_qwenvla.miniworld.worlds import world_class
from recordings_to_lerobot.actions.channels import CHANNELS, MOUSE_CHANNELS
from recordings_to_lerobot.inspection.painting import Painter

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
        """Check the settings; the world is built when an episode begins.

        Args:
            task: A name in `tasks.TASKS`.
            canvas_w: Width of the screen in pixels.
            canvas_h: Height of the screen in pixels.
            episode_length: Step budget; None keeps the one of the stock world.
            variation: One in `tasks.VARIATIONS`.
            execution: How actions become what is held; None for the defaults.

        Raises:
            ValueError: Unknown task or variation, or a canvas or budget that is too small.
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
        self._known, self._variation, self._episode_length = known, variation, episode_length
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

    @functools.cached_property
    def world(self):
        """The Miniworld, built when it is first needed: an evaluation of many tasks makes all environments at once.

        Raises:
            OpenGLMissingError: A system library is missing.
        """
        width_px, height_px = self.canvas_px
        options = WORLD_OPTIONS.get(self._variation, {})
        # The window for human eyes is never drawn here, and at stock size it would cost 120 MB.
        world = world_class(self._known.world)(
            obs_width=width_px, obs_height=height_px, window_width=1, window_height=1, **options
        )
        if self._episode_length is not None:  # most stock worlds take no other budget than theirs
            world.max_episode_steps = self._episode_length
        return world

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
    def screen(self) -> np.ndarray:
        """The screen as it was last observed.  # (canvas_h, canvas_w, 3) uint8"""
        return self._screen

    @property
    def goal(self):
        """The entity to reach or to take, None where any will do."""
        return getattr(self.world, self._known.goal) if self._known.goal else None

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
        # Some worlds also end an episode for a failure, and some reward steps on the way.
        success = bool(terminated and reward > 0)
        return self._observation(), float(reward), terminated, truncated, {"is_success": success}

    def render(self) -> np.ndarray:
        """The screen for an onlooker: with the instruction, the mouse, and what is held down.  # (H, W, 3) uint8"""
        painter = Painter(self.canvas_px, CHANNELS, self.task_description)
        picture = Image.fromarray(self._screen).resize(painter.picture_px, Image.Resampling.NEAREST)
        pressed = [name for name, value in zip(CHANNELS, self._executor.state, strict=True) if value == 1.0]
        cursor = tuple((self._executor.state[: len(MOUSE_CHANNELS)] + 1) / 2)
        steps = self.world.step_count
        return np.asarray(painter.paint(picture, cursor, pressed, steps / FPS, steps))

    def close(self) -> None:
        """Give the world's OpenGL context back."""
        if "world" in self.__dict__:
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
        rng = self.world.np_random if self.world.domain_rand else None
        if controls.turn_deg:
            # The edge of the screen turns by the world's own step, which is the usual one in all but Sign.
            self.world.turn_agent(controls.turn_deg * (self.world.params.sample(rng, "turn_step") / MAX_TURN_DEG))
        if controls.walk or controls.sidestep:
            step_m = self.world.params.sample(rng, "forward_step")
            self.world.move_agent(controls.walk * step_m, controls.sidestep * step_m)

    def _hand_action(self, controls: Controls) -> int:
        actions = self.world.actions
        if controls.picks_up:
            return actions.pickup
        # `done` does nothing in the stock worlds: time passes, rewards and budgets are computed.
        return actions.drop if controls.drops else actions.done
