"""LeRobot's own client, unchanged, and ours, against the server, in real time."""

import signal
import sys
import threading
import time
from dataclasses import dataclass

import pytest
from lerobot.async_inference.configs import RobotClientConfig
from lerobot.robots import Robot, RobotConfig

from tests.serving.clients import running, start_server
from tests.serving.conftest import NAMES

FPS = 20
SIZE = (64, 64, 3)


@RobotConfig.register_subclass("flip_book")
@dataclass
class FlipBookConfig(RobotConfig):
    pass


# LeRobot looks for a robot in the package of its config's module, which this module stands for here.
FlipBookConfig.__module__ = f"{__name__}.config"


class FlipBook(Robot):
    """Shows another picture after each action, and keeps what was done to it."""

    config_class = FlipBookConfig
    name = "flip_book"
    is_calibrated = True
    is_connected = False
    cameras = {}  # noqa: RUF012
    action_features = dict.fromkeys(NAMES, float)
    observation_features = {**action_features, "screen": SIZE}  # noqa: RUF012
    make_values = None

    def __init__(self, config: FlipBookConfig) -> None:
        super().__init__(config)
        self.performed: list[list[float]] = []
        self.performed_s: list[float] = []

    def connect(self, calibrate: bool = True) -> None:
        self.is_connected = True

    def calibrate(self) -> None: ...

    def configure(self) -> None: ...

    def get_observation(self) -> dict:
        values = FlipBook.make_values(len(self.performed))
        del values["task"]
        return values

    def send_action(self, action: dict[str, float]) -> dict[str, float]:
        self.performed.append(list(action.values()))
        self.performed_s.append(time.monotonic())
        return action

    def disconnect(self) -> None:
        self.is_connected = False


@pytest.fixture(autouse=True)
def pictures(make_values, monkeypatch, tmp_path):
    monkeypatch.setattr(FlipBook, "make_values", staticmethod(make_values))
    monkeypatch.chdir(tmp_path)  # LeRobot's client writes logs where it is started


def play(client, *, actions: int, seconds: float = 20) -> None:
    """Until the robot has performed that many."""
    receiver = threading.Thread(target=client.receive_actions, daemon=True)
    control = threading.Thread(target=client.control_loop, args=("go",), daemon=True)
    receiver.start()
    control.start()
    until_s = time.monotonic() + seconds
    while len(client.robot.performed) < actions and time.monotonic() < until_s:
        time.sleep(0.01)
    client.shutdown_event.set()
    control.join()
    client.stop()
    receiver.join(10)


@pytest.mark.parametrize("threshold", [0.0, 0.5, 1.0])
def test_lerobots_client_performs_every_label(engine, threshold):
    from lerobot.async_inference.robot_client import RobotClient

    with running(engine, fps=FPS) as address:
        config = RobotClientConfig(
            policy_type="qwenvla", pretrained_name_or_path="served", robot=FlipBookConfig(), actions_per_chunk=6,
            server_address=address, fps=FPS, aggregate_fn_name="latest_only", chunk_size_threshold=threshold, task="go",
        )  # fmt: skip
        client = RobotClient(config)
        assert client.start()
        labels = []
        perform = client.control_loop_action
        client.control_loop_action = lambda verbose: (perform(verbose), labels.append(client.latest_action))
        play(client, actions=30)
    assert len(client.robot.performed) >= 30
    # LeRobot's client performs a label twice when a chunk arrives between taking an action and noting its label.
    assert labels == sorted(labels) and set(labels) == set(range(1, labels[-1] + 1))


def test_our_client_goes_on_when_the_server_is_back(engine):
    from lerobot_qwenvla.serving.robot_client import PatientRobotClient, QwenVLARobotClientConfig

    with running(engine, fps=FPS) as address:
        config = QwenVLARobotClientConfig(robot=FlipBookConfig(), server_address=address, fps=FPS, task="go")
        client = PatientRobotClient(config)
        assert client.start()
        threads = [
            threading.Thread(target=client.receive_actions, daemon=True),
            threading.Thread(target=client.control_loop, args=("go",), daemon=True),
        ]
        for thread in threads:
            thread.start()
        wait_for(lambda: len(client.robot.performed) >= 10)
    gone_s = time.monotonic()
    wait_for(client._is_lost.is_set)
    wait_for(lambda: client.action_queue.empty())
    performed = len(client.robot.performed)
    time.sleep(0.3)
    assert len(client.robot.performed) <= performed + 1 and client.robot.performed_s[-1] - gone_s < 0.5
    with running(engine, fps=FPS, port=int(address.split(":")[1])):
        wait_for(lambda: len(client.robot.performed) >= performed + 10)
        client.shutdown_event.set()
        client.stop()
        for thread in threads:
            thread.join(10)
    assert client.failure is None


def test_our_client_stops_when_the_server_stays_away(engine):
    from lerobot_qwenvla.serving import robot_client

    with running(engine, fps=FPS) as address:
        config = robot_client.QwenVLARobotClientConfig(
            robot=FlipBookConfig(), server_address=address, fps=FPS, reconnect_s=0.5
        )
        failure = []

        def run() -> None:
            with pytest.raises(ValueError, match=r"is gone .* was not back after 0\.5 s"):
                robot_client.run(config)
            failure.append(True)

        thread = threading.Thread(target=run)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(signal, "signal", lambda *_: None)  # not of the main thread
            thread.start()
            time.sleep(1)
    thread.join(10)
    assert failure


def test_our_client_says_that_there_is_no_server():
    from lerobot_qwenvla.serving import robot_client

    config = robot_client.QwenVLARobotClientConfig(robot=FlipBookConfig(), server_address="127.0.0.1:9")
    with pytest.raises(ValueError, match=r"no policy server at 127\.0\.0\.1:9"):
        robot_client.run(config)


def wait_for(condition, seconds: float = 20) -> None:
    until_s = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until_s
        time.sleep(0.005)


def test_the_command_serves_until_it_is_told_to_stop(checkpoint):
    server, address = start_server(checkpoint)
    assert f"--server_address={address} " in server.stdout.readline()
    server.terminate()
    server.communicate(timeout=60)
    assert server.returncode == 0


def test_a_wrong_path_is_told_in_a_line(monkeypatch, capsys, tmp_path):
    from lerobot_qwenvla.serving import server

    for arguments in ([], [f"--policy.path={tmp_path}"]):
        monkeypatch.setattr(sys, "argv", ["qwenvla-policy-server", *arguments])
        with pytest.raises(SystemExit) as exit_:
            server.main()
        assert str(exit_.value.code).startswith("qwenvla-policy-server: ") and "--policy.path" in str(exit_.value.code)
