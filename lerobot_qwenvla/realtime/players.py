"""LeRobot's ways to run a policy, each for one episode in a world that does not wait.

Every way makes its decisions `Slowness.delay_s` slower, as a larger policy or a network would.
"""

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from lerobot.async_inference.configs import RobotClientConfig
from lerobot.policies.rtc import RTCConfig
from lerobot.processor import PolicyProcessorPipeline
from lerobot.robots import Robot
from lerobot.rollout.inference import InferenceEngine, RTCInferenceEngine, SyncInferenceEngine
from lerobot.rollout.robot_wrapper import ThreadSafeRobot
from lerobot.utils.constants import ACTION, OBS_STR
from lerobot.utils.feature_utils import build_dataset_frame, hw_to_dataset_features
from lerobot.utils.robot_utils import precise_sleep

from lerobot_qwenvla.miniworld.robot.config_miniworld_robot import MiniworldRobotConfig
from lerobot_qwenvla.miniworld.robot.miniworld_robot import MiniworldRobot
from lerobot_qwenvla.miniworld.robot.real_time_world import EpisodeResult
from lerobot_qwenvla.policy.modeling_qwenvla import QwenVLAPolicy
from lerobot_qwenvla.realtime.measures import Episode, Look
from lerobot_qwenvla.serving.engine import Decision, Engine, Question
from lerobot_qwenvla.serving.wire.messages import SERVED

# LeRobot's defaults, 10 and 30 actions of chunks of 50: of shorter ones, 10 bound actions leave none to react with.
# Below a threshold of a whole chunk, the policy sees only few of the pictures it was trained to look back to.
RTC_HORIZON = 10 / 50
RTC_THRESHOLDS = (30 / 50, 1.0)
POLL_S = 0.02


@dataclass
class Slowness:
    """Makes decisions take longer, and notes when each saw and ended."""

    delay_s: float = 0.0
    looks: list[Look] = field(default_factory=list)

    def note(self, seen_s: float) -> None:
        self.looks.append(Look(seen_s, time.monotonic()))


class SlowPolicy(QwenVLAPolicy):
    """For LeRobot's rollout."""

    slowness: Slowness

    def _decide(self, *args: Any, **kwargs: Any) -> Any:
        seen_s = time.monotonic()
        time.sleep(self.slowness.delay_s)
        chunk = super()._decide(*args, **kwargs)
        self.slowness.note(seen_s)
        return chunk


class SlowEngine(Engine):
    """For the policy server."""

    slowness: Slowness

    def decide(self, questions: Sequence[Question]) -> list[Decision | Exception]:
        time.sleep(self.slowness.delay_s)
        decisions = super().decide(questions)
        for question in questions:
            self.slowness.note(question.sighting.received_s)
        return decisions


@dataclass(frozen=True)
class Rollout:
    """`lerobot-rollout --inference.type=sync`, or with `rtc` that of this threshold, a share of the chunk."""

    policy: SlowPolicy
    preprocessor: PolicyProcessorPipeline
    postprocessor: PolicyProcessorPipeline
    instruction: str
    rtc: RTCConfig | None = None
    queue_threshold: float = 0.0

    def play(self, world: MiniworldRobotConfig) -> Episode:
        self.policy.slowness.looks = []
        self.policy.config.rtc_config = self.rtc
        self.policy.init_rtc_processor()
        robot = MiniworldRobot(world)
        robot.connect()
        engine = self._engine(robot)
        engine.reset()
        engine.start()
        engine.resume()
        try:
            result = _control(robot, engine, world.fps)
        finally:
            engine.stop()
            robot.disconnect()
        return _episode(result, self.policy.slowness)

    def _engine(self, robot: Robot) -> InferenceEngine:
        common = {"policy": self.policy, "preprocessor": self.preprocessor, "postprocessor": self.postprocessor}
        common |= {"task": self.instruction, "device": self.policy.config.device}
        if self.rtc is None:
            return SyncInferenceEngine(
                **common,
                dataset_features=_features(robot),
                ordered_action_keys=list(robot.action_features),
                robot_type=robot.name,
            )
        return RTCInferenceEngine(
            **common,
            robot_wrapper=ThreadSafeRobot(robot),
            rtc_config=self.rtc,
            hw_features=_features(robot),
            fps=robot.config.fps,
            rtc_queue_threshold=round(self.queue_threshold * self.policy.config.chunk_size),
        )


@dataclass(frozen=True)
class AsyncClient:
    """`lerobot.async_inference.robot_client` and `qwenvla-policy-server`."""

    engine: SlowEngine
    address: str
    instruction: str
    chunk_size_threshold: float

    def play(self, world: MiniworldRobotConfig) -> Episode:
        # LeRobot opens a log file when it is imported.
        from lerobot.async_inference.robot_client import RobotClient

        self.engine.slowness.looks = []
        config = RobotClientConfig(
            policy_type="qwenvla", pretrained_name_or_path=SERVED, robot=world, server_address=self.address,
            actions_per_chunk=self.engine.policy.config.chunk_size, fps=round(world.fps), task=self.instruction,
            aggregate_fn_name="latest_only", chunk_size_threshold=self.chunk_size_threshold,
        )  # fmt: skip
        client = RobotClient(config)
        threads = [
            threading.Thread(target=client.receive_actions, daemon=True),
            threading.Thread(target=client.control_loop, args=(self.instruction,), daemon=True),
        ]
        try:
            if not client.start():
                raise ValueError(f"no policy server at {self.address}")
            for thread in threads:
                thread.start()
            while not client.robot.results:
                if not all(thread.is_alive() for thread in threads):
                    raise ValueError("LeRobot's client has ended before the episode; see its log above")
                time.sleep(POLL_S)
            return _episode(client.robot.results[0], self.engine.slowness)
        finally:
            client.shutdown_event.set()
            if threads[1].is_alive():
                threads[1].join()
            client.stop()
            if threads[0].is_alive():
                threads[0].join()


def rtc_config(chunk_size: int) -> RTCConfig:
    """LeRobot's, of a chunk of 50 actions, for one of this size."""
    return RTCConfig(execution_horizon=max(1, round(RTC_HORIZON * chunk_size)))


def _control(robot: MiniworldRobot, engine: InferenceEngine, fps: float) -> EpisodeResult:
    """The loop of LeRobot's rollout, until the episode ends."""
    while not robot.results:
        started_s = time.perf_counter()
        observation = robot.get_observation()
        engine.notify_observation(observation)
        action = engine.get_action(build_dataset_frame(_features(robot), observation, prefix=OBS_STR))
        if action is not None:
            robot.send_action(dict(zip(robot.action_features, action.tolist(), strict=True)))
        precise_sleep(max(0.0, 1 / fps - (time.perf_counter() - started_s)))
    return robot.results[0]


def _features(robot: Robot) -> dict[str, Any]:
    """As LeRobot's datasets have them."""
    return {
        **hw_to_dataset_features(robot.observation_features, OBS_STR),
        **hw_to_dataset_features(robot.action_features, ACTION),
    }


def _episode(result: EpisodeResult, slowness: Slowness) -> Episode:
    return Episode(result.success, result.ticks, result.stalled_ticks, list(slowness.looks))
