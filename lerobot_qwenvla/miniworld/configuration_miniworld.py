"""LeRobot's environment type `miniworld`."""

import multiprocessing
from dataclasses import dataclass, field
from functools import partial

import gymnasium as gym
from lerobot.configs import FeatureType, PolicyFeature
from lerobot.envs.configs import EnvConfig
from lerobot.utils.constants import ACTION, OBS_IMAGES, OBS_STATE

from lerobot_qwenvla.devices.executor import ExecutionConfig
from lerobot_qwenvla.miniworld.tasks import RECORDED, task_names
from recordings_to_lerobot.actions.channels import CHANNELS


def start_method() -> str:
    """How processes begin that draw: one forked from this process would inherit OpenGL contexts that it cannot use."""
    return "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"


@EnvConfig.register_subclass("miniworld")
@dataclass
class MiniworldEnvConfig(EnvConfig):
    """Miniworld played with mouse and keyboard.

    Attributes:
        task: A name in `tasks.TASKS`, or several with commas between them, evaluated one after the other.
        fps: Ticks per second of the recordings; Miniworld itself has no clock.
        canvas_w: Width of the screen in pixels.
        canvas_h: Height of the screen in pixels.
        episode_length: Step budget; None keeps the one of the stock world.
        execution: Thresholds and smoothing of the actions.
        variation: One in `tasks.VARIATIONS`: words, or pairs of colour and shape, that were never recorded, or an
            instruction that names another object than the goal.
    """

    task: str | None = "OneRoom"
    fps: int = 10
    canvas_w: int = 384
    canvas_h: int = 384
    episode_length: int | None = None
    variation: str = RECORDED
    execution: ExecutionConfig = field(default_factory=ExecutionConfig)
    features: dict[str, PolicyFeature] = field(default_factory=dict)
    features_map: dict[str, str] = field(
        default_factory=lambda: {
            ACTION: ACTION,
            "agent_pos": OBS_STATE,
            "pixels/screen": f"{OBS_IMAGES}.screen",
        }
    )

    def __post_init__(self):
        n_channels = len(CHANNELS)
        self.features = {
            ACTION: PolicyFeature(type=FeatureType.ACTION, shape=(n_channels,)),
            "agent_pos": PolicyFeature(type=FeatureType.STATE, shape=(n_channels,)),
            "pixels/screen": PolicyFeature(type=FeatureType.VISUAL, shape=(self.canvas_h, self.canvas_w, 3)),
        }

    @property
    def gym_kwargs(self) -> dict:
        """Arguments of `MiniworldEnv`, but for the task."""
        return {
            "canvas_w": self.canvas_w,
            "canvas_h": self.canvas_h,
            "episode_length": self.episode_length,
            "variation": self.variation,
            "execution": self.execution,
        }

    def get_env_processors(self):
        """LeRobot's identity pipelines; LeRobot asks for them before it trains, early enough to refuse a wrong task.

        Raises:
            ValueError: Unknown task or variation.
        """
        task_names(self.task, self.variation)
        return super().get_env_processors()

    def create_envs(self, n_envs: int, use_async_envs: bool = False) -> dict[str, dict[int, gym.vector.VectorEnv]]:
        """One vector environment for each task, `{"OneRoom": {0: env}}`, so that LeRobot reports each by its name.

        Raises:
            ValueError: Unknown task or variation, or a task that comes twice.
        """
        # Checked here and not at construction, where draccus would replace the message by its own.
        tasks = task_names(self.task, self.variation)
        return {task: {0: self._vector_env(task, n_envs, use_async_envs)} for task in tasks}

    def _vector_env(self, task: str, n_envs: int, use_async_envs: bool) -> gym.vector.VectorEnv:
        # Imported here because it needs OpenGL, and LeRobot hides why a plugin could not be imported.
        from lerobot.envs.utils import _LazyAsyncVectorEnv, freeze_after_episode_end

        from lerobot_qwenvla.miniworld.environment import MiniworldEnv

        make_env = partial(MiniworldEnv, task=task, **self.gym_kwargs)
        # The freeze replays an ended episode's last step, which `SAME_STEP` would hide behind a reset.
        autoreset_mode = gym.vector.AutoresetMode.NEXT_STEP
        if not use_async_envs or n_envs == 1:
            return gym.vector.SyncVectorEnv(
                [freeze_after_episode_end(make_env)] * n_envs, autoreset_mode=autoreset_mode
            )
        # The server that workers are forked from imports LeRobot once, instead of each worker for itself.
        multiprocessing.set_forkserver_preload([__name__])
        if start_method() == "forkserver":
            # As LeRobot's own suites do: the processes of a task begin when it is its turn.
            return _LazyAsyncVectorEnv([make_env] * n_envs)
        env_fns = [freeze_after_episode_end(make_env)] * n_envs
        return gym.vector.AsyncVectorEnv(env_fns, context=start_method(), autoreset_mode=autoreset_mode)
