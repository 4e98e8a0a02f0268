"""Real-time chunking: a new chunk continues the one being executed, by itself and in lerobot-rollout."""

import sys
from contextlib import nullcontext
from dataclasses import dataclass
from threading import Event

import pytest
import torch
from lerobot.configs import FeatureType, PolicyFeature, parser
from lerobot.policies.factory import make_pre_post_processors
from lerobot.policies.rtc import RTCConfig, RTCProcessor
from lerobot.robots import Robot, RobotConfig
from lerobot.rollout import RolloutConfig, build_rollout_context, create_strategy
from lerobot.utils.constants import ACTION, OBS_IMAGES, OBS_STATE

from lerobot_qwenvla.miniworld.environment import MiniworldEnv
from lerobot_qwenvla.policy.modeling_qwenvla import QwenVLAPolicy
from lerobot_qwenvla.policy.rtc import executed_steps, steering
from lerobot_qwenvla.policy.solvers import evaluation_times, integrate
from recordings_to_lerobot.actions.channels import CHANNELS

CHUNK = 12
HORIZON = 8
DELAY = 3
OBSERVATION = {
    f"{OBS_IMAGES}.screen": torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0)),
    OBS_STATE: torch.rand(1, 5, generator=torch.Generator().manual_seed(1)),
    "task": ["go to the red box"],
}
NOISE = torch.randn(1, CHUNK, 5, generator=torch.Generator().manual_seed(2))
LEFT_OVER = 2 * torch.rand(CHUNK, 5, generator=torch.Generator().manual_seed(3)) - 1


@pytest.fixture
def make_actor(pixel_dataset, make_trainee):
    def make(**overrides) -> QwenVLAPolicy:
        return make_trainee(pixel_dataset, chunk_size=CHUNK, **overrides)

    return make


def start_rtc(policy: QwenVLAPolicy, **settings) -> None:
    """As LeRobot's rollout does."""
    policy.config.rtc_config = RTCConfig(**{"execution_horizon": HORIZON, **settings})
    policy.init_rtc_processor()


def decide(policy: QwenVLAPolicy, **arguments) -> torch.Tensor:
    policy.reset()
    return policy.predict_action_chunk(OBSERVATION, noise=NOISE, **arguments)


def distance(chunk: torch.Tensor, left_over: torch.Tensor) -> torch.Tensor:
    """Mean over the channels.  # (B, T)"""
    return (chunk[:, : left_over.shape[-2]] - left_over).abs().mean(-1)


GUIDED = {"guidance_scale": 2.0, "instruction_dropout": 0.1}


@pytest.mark.parametrize("settings", [{}, {"solver": "heun"}, {"solver": "rk4"}, GUIDED], ids=str)
def test_without_leftover_actions_are_those_of_the_plain_policy(make_actor, settings):
    policy = make_actor(**settings)
    plain = decide(policy)
    start_rtc(policy)
    assert torch.equal(decide(policy, inference_delay=0, prev_chunk_left_over=None), plain)


@pytest.mark.parametrize("left_over", [LEFT_OVER, LEFT_OVER[:HORIZON], LEFT_OVER[None]], ids=["all", "less", "batch"])
@pytest.mark.parametrize("guidance", [{}, GUIDED], ids=["told", "guided"])
@pytest.mark.parametrize("solver", ["euler", "heun", "rk4"])
def test_a_chunk_continues_what_is_left_of_the_last_one(make_actor, solver, guidance, left_over):
    policy = make_actor(solver=solver, **guidance)
    before = distance(decide(policy), left_over)
    start_rtc(policy)
    after = distance(decide(policy, inference_delay=DELAY, prev_chunk_left_over=left_over), left_over)
    # Bound to it while the decision is being made, less between, and free behind the horizon.
    assert (after[:, :DELAY] < 0.3 * before[:, :DELAY]).all()
    assert (after[:, DELAY : HORIZON - 1] < before[:, DELAY : HORIZON - 1]).all()
    torch.testing.assert_close(after[:, HORIZON:], before[:, HORIZON:], atol=0.05, rtol=0)


def test_a_chunk_is_bound_by_the_guidance_of_real_time_chunking_freer_from_step_to_step(make_actor):
    policy = make_actor(solver="euler")
    constant = torch.randn_like(LEFT_OVER)
    # The same at all times and everywhere: what bends it is the guidance alone.
    policy.model.velocity = lambda x_t, modulations, context: constant + 0 * x_t
    free = LEFT_OVER - decide(policy)
    start_rtc(policy)
    bound = LEFT_OVER - decide(policy, inference_delay=DELAY, prev_chunk_left_over=LEFT_OVER)

    # Black et al. 2025, Real-Time Execution of Action Chunking Flow Policies, equations 2 and 4, with t=1 as noise: the
    # distance e to what is left of the last chunk falls by de/dt = min(β, (t² + (1-t)²) / (t·(1-t)))·w·e.
    steps_between = HORIZON - DELAY
    weights = torch.tensor(
        [1.0] * DELAY + [1 - i / (steps_between + 1) for i in range(1, steps_between + 1)] + [0.0] * (CHUNK - HORIZON)
    )
    times = evaluation_times(policy.config.num_inference_steps, "euler")
    strengths = [min(10.0, (t**2 + (1 - t) ** 2) / max(t * (1 - t), 1e-9)) for t in times]
    shares = integrate(
        lambda e, i: strengths[i] * weights * e, torch.ones(CHUNK), policy.config.num_inference_steps, "euler"
    )
    torch.testing.assert_close(bound, shares[:, None] * free, atol=1e-5, rtol=1e-4)
    assert (shares[DELAY - 1 : HORIZON + 1].diff() > 0).all() and (shares[HORIZON:] == 1).all()


def test_what_is_left_of_the_last_chunk_bends_a_chunk_only_as_far_as_the_noise_decides_about_it():
    processor = RTCProcessor(RTCConfig(execution_horizon=HORIZON))
    steer = steering(processor, inference_delay=DELAY, prev_chunk_left_over=LEFT_OVER[None], execution_horizon=None)

    def sure(x_t):  # of its actions, whatever the noise
        return (x_t - LEFT_OVER.flip(0)) / 0.7

    def undecided(x_t):  # its actions are what the noise says
        return 0 * x_t

    torch.testing.assert_close(steer(NOISE, 0.7, sure), sure(NOISE), atol=1e-4, rtol=0)
    assert (steer(NOISE, 0.7, undecided)[:, :DELAY] != 0).all()


@pytest.mark.parametrize("context", [nullcontext, torch.no_grad, torch.inference_mode])
def test_actions_are_the_same_in_every_gradient_mode_and_carry_no_gradient(make_actor, context):
    policy = make_actor()
    start_rtc(policy)
    expected = decide(policy, inference_delay=DELAY, prev_chunk_left_over=LEFT_OVER)
    with context():
        chunk = decide(policy, inference_delay=DELAY, prev_chunk_left_over=LEFT_OVER.clone())
    assert torch.equal(chunk, expected)
    assert not chunk.requires_grad
    assert all(parameter.grad is None for parameter in policy.parameters())


def test_a_compiled_velocity_is_differentiated_too(make_actor):
    policy = make_actor()
    start_rtc(policy)
    eager = decide(policy, inference_delay=DELAY, prev_chunk_left_over=LEFT_OVER)
    policy.model.velocity = torch.compile(policy.model.velocity, fullgraph=True, backend="aot_eager")
    compiled = decide(policy, inference_delay=DELAY, prev_chunk_left_over=LEFT_OVER)
    torch.testing.assert_close(compiled, eager, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("executed", range(CHUNK + 1))
def test_what_is_left_of_a_chunk_tells_the_step(executed):
    chunk = torch.randn(CHUNK, 5)
    left_over = torch.zeros(HORIZON, 5)  # LeRobot cuts to the horizon and pads with zeros
    rest = chunk[executed:][:HORIZON]
    left_over[: len(rest)] = rest
    assert executed_steps(chunk, left_over) == executed


def test_what_is_left_of_another_chunk_tells_nothing():
    assert executed_steps(torch.randn(CHUNK, 5), torch.randn(HORIZON, 5)) is None


def test_frames_are_found_by_the_step_that_the_rest_of_the_last_chunk_tells(make_actor):
    policy = make_actor()
    start_rtc(policy)
    chunk, seen = None, []
    for executed in (0, 3, 2, 7):
        screen = f"{OBS_IMAGES}.screen"
        seen.append(torch.rand(1, 3, 64, 64))
        left_over = None if chunk is None else chunk[0, executed:][:HORIZON]
        chunk = policy.predict_action_chunk(
            {**OBSERVATION, screen: seen[-1]}, NOISE, inference_delay=1, prev_chunk_left_over=left_over
        )
    assert policy._step == 12
    # Steps 0, 3, 5 and 12: four steps before the last, the newest was that of step 5.
    [frames] = policy.perception.memory._frames[0].values()
    assert [frame.step for frame in frames] == [5, 12]


def test_single_actions_are_refused(make_actor):
    policy = make_actor()
    start_rtc(policy)
    with pytest.raises(ValueError, match=r"whole chunks from predict_action_chunk; unset rtc_config"):
        policy.select_action(OBSERVATION)


def test_a_horizon_beyond_the_chunk_is_refused(make_actor):
    with pytest.raises(ValueError, match=r"execution_horizon=13 exceeds the 12 actions of a chunk"):
        start_rtc(make_actor(), execution_horizon=13)


@RobotConfig.register_subclass("miniworld_player")
@dataclass
class MiniworldPlayerConfig(RobotConfig):
    pass


# LeRobot looks for a robot in the package of its config's module, which this module stands for here.
MiniworldPlayerConfig.__module__ = f"{__name__}.config"


class MiniworldPlayer(Robot):
    """Mouse and keyboard of a Miniworld as LeRobot's robots are: a float for each channel, a picture of the screen."""

    config_class = MiniworldPlayerConfig
    name = "miniworld_player"
    is_calibrated = True

    def __init__(self, config: MiniworldPlayerConfig) -> None:
        super().__init__(config)
        self.world: MiniworldEnv | None = None
        self.played: list[list[float]] = []
        self.last_tick: int | None = None
        self.shutdown = Event()

    # lerobot-rollout passes on only numbers whose names end like this.
    action_features = {f"{channel}.pos": float for channel in CHANNELS}  # noqa: RUF012
    observation_features = {**action_features, "screen": (64, 64, 3)}  # noqa: RUF012

    @property
    def is_connected(self) -> bool:
        return self.world is not None

    def connect(self, calibrate: bool = True) -> None:
        self.world = MiniworldEnv(canvas_w=64, canvas_h=64)
        self.observation, _ = self.world.reset(seed=0)

    def calibrate(self) -> None: ...

    def configure(self) -> None: ...

    def get_observation(self) -> dict:
        numbers = zip(self.action_features, self.observation["agent_pos"].tolist(), strict=True)
        return {**dict(numbers), "screen": self.observation["pixels"]["screen"]}

    def send_action(self, action: dict[str, float]) -> dict[str, float]:
        self.played.append([action[name] for name in self.action_features])
        self.observation, *_ = self.world.step(self.played[-1])
        if len(self.played) == self.last_tick:
            self.shutdown.set()
        return action

    def disconnect(self) -> None:
        self.world.close()
        self.world = None


@pytest.fixture
def checkpoint(make_config, tmp_path):
    """An untrained policy that plays with mouse and keyboard."""
    vector = (len(CHANNELS),)
    config = make_config(
        chunk_size=30,
        input_features={
            f"{OBS_IMAGES}.screen": PolicyFeature(FeatureType.VISUAL, (3, 64, 64)),
            OBS_STATE: PolicyFeature(FeatureType.STATE, vector),
        },
        output_features={ACTION: PolicyFeature(FeatureType.ACTION, vector)},
    )
    bounds = {"min": torch.full(vector, -1.0), "max": torch.full(vector, 1.0)}
    QwenVLAPolicy(config).save_pretrained(tmp_path)
    for pipeline in make_pre_post_processors(config, dataset_stats={ACTION: bounds, OBS_STATE: bounds}):
        pipeline.save_pretrained(tmp_path)
    return tmp_path


@parser.wrap()
def parsed(config: RolloutConfig) -> RolloutConfig:
    return config


@pytest.mark.parametrize("inference", ["sync", "rtc"])
def test_lerobot_rollout_plays_a_robot(checkpoint, tmp_path, monkeypatch, caplog, inference):
    arguments = [
        "lerobot-rollout", f"--policy.path={checkpoint}", f"--inference.type={inference}", "--task=go", "--fps=20",
        "--robot.type=miniworld_player", f"--robot.calibration_dir={tmp_path}", "--return_to_initial_position=false",
    ]  # fmt: skip
    monkeypatch.setattr(sys, "argv", arguments)
    # What follows is what the command does between setting up logging and signals.
    shutdown = Event()
    context = build_rollout_context(parsed(), shutdown)
    robot = context.hardware.robot_wrapper.inner
    robot.shutdown, robot.last_tick = shutdown, 40
    strategy = create_strategy(context.runtime.cfg.strategy)
    strategy.setup(context)
    strategy.run(context)
    strategy.teardown(context)

    assert [record.message for record in caplog.records if record.levelname == "ERROR"] == []
    assert torch.tensor(robot.played).shape == (40, len(CHANNELS))  # more than the 30 of a chunk
    assert torch.tensor(robot.played).isfinite().all()
    assert not robot.is_connected
    if inference == "rtc":
        assert not context.policy.inference.failed
        assert context.policy.policy.perception.memory.misses > 1  # the second had something to continue
