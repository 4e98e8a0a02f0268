"""Clients over the network: each has its own episode, every refusal has a status and a reason, none goes unanswered."""

import json
import pickle
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import grpc
import numpy as np
import pytest
from grpc import StatusCode
from lerobot.async_inference.helpers import RemotePolicyConfig, TimedObservation
from lerobot.policies.rtc import RTCConfig
from lerobot.transport import services_pb2

from lerobot_qwenvla.serving import service
from lerobot_qwenvla.serving.status import StatusConfig, status
from tests.serving.clients import EMPTY, Client, as_array, pieces, running, setup
from tests.serving.conftest import NAMES
from tests.serving.hostile_payloads import executing, malformed, wrong_observations, wrong_setups

END, BEGIN, MIDDLE = services_pb2.TRANSFER_END, services_pb2.TRANSFER_BEGIN, services_pb2.TRANSFER_MIDDLE


@pytest.fixture(scope="module")
def address(engine):
    patch = pytest.MonkeyPatch()
    patch.setattr(service, "HOLD_FAILED_S", 0.05)
    patch.setattr(service, "NOTHING_NEW_S", 0.2)
    with running(engine, "checkpoint", max_clients=100, similarity_threshold=0.02) as address:
        yield address
    patch.undo()


@pytest.fixture
def client(address, declared):
    with Client(address) as client:
        yield client.start(declared)


def refusal(call, *arguments) -> tuple[StatusCode, str]:
    with pytest.raises(grpc.RpcError) as error:
        call(*arguments)
    return error.value.code(), error.value.details()


def test_chunks_are_labelled_for_the_next_action(client, make_values):
    for timestep in (0, 6, 11):
        client.show(timestep, make_values(timestep), must_go=True)
        assert [each.get_timestep() for each in client.actions()] == list(range(timestep + 1, timestep + 7))


def test_nothing_to_decide_about_is_an_empty_answer(client):
    start_s = time.monotonic()
    assert client.actions() == []
    assert time.monotonic() - start_s >= 0.2


def test_ready_begins_a_new_episode(client, declared, make_values):
    def play() -> np.ndarray:
        for step in (0, 2, 4):
            client.show(step, make_values(step))
        return as_array(client.actions())

    first = play()
    for step in range(5, 20):
        client.show(step, make_values(step))
    client.start(declared)
    np.testing.assert_allclose(play(), first, atol=1e-5)


def test_an_instruction_changes_in_mid_episode(client, make_values):
    def after(task: str) -> np.ndarray:
        client.show(0, make_values(0, task=task), must_go=True)
        return as_array(client.actions())

    one, other = after("go to box 1"), after("go to box 2")
    assert not np.allclose(one, other, atol=1e-3)
    np.testing.assert_allclose(after("go to box 1"), one, atol=1e-5)


def test_clients_at_once_get_what_each_gets_alone(address, declared, make_values, engine):
    """Dense, sparse, in bursts and standing still; answers are compared by their labels."""
    patterns = [range(20), range(0, 60, 3), [0, 0, 5, 6, 7, 7, 20, 21], [0, 10, 20, 30], [5, 4, 3, 9], [0] * 5]

    def play(number: int) -> list[np.ndarray]:
        answers = []
        with Client(address) as client:
            client.start(declared)
            for timestep in patterns[number]:
                client.show(timestep, make_values(100 * number + timestep), must_go=True)
                # A busy machine may take longer than the server keeps one call waiting.
                chunk = next(filter(None, (client.actions() for _ in range(20))))
                assert chunk[0].get_timestep() == timestep + 1
                answers.append(as_array(chunk))
        return answers

    alone = [play(number) for number in range(len(patterns))]
    with ThreadPoolExecutor(len(patterns)) as clients:
        together = list(clients.map(play, range(len(patterns))))
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_allclose(other, one, atol=1e-5)


def test_what_comes_during_a_decision_is_for_the_next(client, make_values, address, engine, monkeypatch):
    sample = engine.policy.model.sample
    monkeypatch.setattr(engine.policy.model, "sample", lambda *a, **k: (time.sleep(0.3), sample(*a, **k))[1])
    before = json.loads(status(StatusConfig(server_address=address)))["decisions"]
    client.show(0, make_values(0))
    first = client.stub.GetActions.future(EMPTY)
    time.sleep(0.1)
    client.show(1, make_values(1))
    assert pickle.loads(first.result().data)[0].get_timestep() == 1
    assert client.actions()[0].get_timestep() == 2
    got = json.loads(status(StatusConfig(server_address=address)))
    assert got["decisions"] == before + 2


def test_a_running_chunk_is_continued(make_engine, declared, make_values):
    """Over a protocol that knows nothing of it: the server knows what it sent, and the timestep what was performed."""

    def distance(engine) -> float:
        with running(engine) as address, Client(address) as client:
            client.start(declared)
            client.show(0, make_values(0))
            first = as_array(client.actions())
            client.show(3, make_values(3), must_go=True)
            second = as_array(client.actions())
        return float(np.abs(second[:3] - first[3:]).mean())

    assert distance(make_engine(rtc=RTCConfig(execution_horizon=6))) < 0.7 * distance(make_engine())


def test_what_is_similar_waits_and_what_is_not_does_not(client, make_values, address):
    client.show(0, make_values(0))
    assert len(client.actions()) == 6
    client.show(1, make_values(0))
    assert client.actions() == []
    client.show(2, make_values(3))
    assert len(client.actions()) == 6


def test_without_ready_there_is_no_session(address, make_values, declared):
    with Client(address) as stranger:
        for call, argument in (
            (stranger.stub.GetActions, EMPTY),
            (stranger.stub.SendObservations, iter([])),
            (stranger.stub.SendPolicyInstructions, services_pb2.PolicySetup(data=setup(declared))),
        ):
            code, reason = refusal(call, argument)
            assert code == StatusCode.FAILED_PRECONDITION and "call Ready" in reason
        stranger.stub.Ready(EMPTY)
        code, reason = refusal(stranger.show, 0, make_values(0))
        assert code == StatusCode.FAILED_PRECONDITION and "SendPolicyInstructions" in reason


def test_the_last_place_is_not_given_twice_and_becomes_free(engine, declared, make_values):
    with running(engine, max_clients=2) as address, Client(address) as one:
        one.start(declared)
        with Client(address) as two, Client(address) as three:
            two.start(declared)
            assert refusal(three.stub.Ready, EMPTY)[0] == StatusCode.RESOURCE_EXHAUSTED
            waits = two.stub.GetActions.future(EMPTY)
            time.sleep(0.1)
            waits.cancel()  # as when a client is killed
            until_s = time.monotonic() + 5
            while time.monotonic() < until_s:
                try:
                    three.start(declared)
                    break
                except grpc.RpcError:
                    time.sleep(0.02)
            one.show(0, make_values(0))
            assert len(one.actions()) == 6


def test_the_silent_are_forgotten(engine, declared):
    with running(engine, max_clients=1, max_silence_s=0.5) as address, Client(address) as silent:
        silent.start(declared)
        with Client(address) as other:
            assert refusal(other.stub.Ready, EMPTY)[0] == StatusCode.RESOURCE_EXHAUSTED
            until_s = time.monotonic() + 5
            while time.monotonic() < until_s:
                try:
                    other.start(declared)
                    break
                except grpc.RpcError:
                    time.sleep(0.05)
            assert refusal(silent.stub.GetActions, EMPTY)[0] == StatusCode.FAILED_PRECONDITION


@pytest.mark.parametrize(
    ("stream", "reason"),
    [
        ([], "without its end"),
        ([(BEGIN, b"a")], "without its end"),
        ([(MIDDLE, b"a"), (END, b"b")], "out of order"),
        ([(BEGIN, b"a"), (BEGIN, b"b"), (END, b"c")], "out of order"),
        ([(services_pb2.TRANSFER_UNKNOWN, b"a")], "out of order"),
        ([(7, b"a")], "out of order"),
        ([(BEGIN, b"a" * 40_000), (END, b"a" * 40_000)], "more than the 77824 bytes"),
        ([(BEGIN, b"")] + [(MIDDLE, b"")] * 100 + [(END, b"")], "more than 64 pieces"),
        ([(END, b"")], "no TimedObservation"),
    ],
)
def test_wrong_streams_are_refused(client, make_values, stream, reason):
    code, got = refusal(
        client.stub.SendObservations, iter([services_pb2.Observation(transfer_state=s, data=d) for s, d in stream])
    )
    assert code == StatusCode.INVALID_ARGUMENT and reason in got
    client.show(0, make_values(0))
    assert len(client.actions()) == 6


def test_a_picture_in_pieces_arrives(client, make_values):
    data = pickle.dumps(TimedObservation(1.0, 0, make_values(0)))
    cut = [data[i : i + 1000] for i in range(0, len(data), 1000)]
    states = [BEGIN, *[MIDDLE] * (len(cut) - 2), END]
    stream = [services_pb2.Observation(transfer_state=s, data=d) for s, d in zip(states, cut, strict=True)]
    client.stub.SendObservations(iter(stream))
    assert len(client.actions()) == 6


def test_a_stream_left_open_ends(engine, declared, make_values, monkeypatch):
    monkeypatch.setattr(service, "STREAM_S", 0.3)
    release = threading.Event()

    def endless():
        yield services_pb2.Observation(transfer_state=BEGIN, data=b"a")
        release.wait(20)

    with running(engine) as address, Client(address) as client:
        client.start(declared)
        streams = [client.stub.SendObservations.future(endless()) for _ in range(4)]
        client_codes = sorted(stream.exception().code().name for stream in streams)
        assert client_codes == ["ABORTED", "ABORTED", "RESOURCE_EXHAUSTED", "RESOURCE_EXHAUSTED"]
        release.set()
        client.show(0, make_values(0))
        assert len(client.actions()) == 6


def test_one_request_for_actions_at_a_time(client):
    first = client.stub.GetActions.future(EMPTY)
    time.sleep(0.05)
    assert refusal(client.stub.GetActions, EMPTY)[0] == StatusCode.RESOURCE_EXHAUSTED
    assert first.result().data == b""


def test_what_is_no_message_is_refused(client, make_values):
    for method in ("SendPolicyInstructions", "GetActions", "Ready"):
        call = client.channel.unary_unary(f"/transport.AsyncInference/{method}")
        assert refusal(call, b"\xff\xff\xff")[0] != StatusCode.OK
    assert refusal(client.channel.unary_unary("/transport.AsyncInference/Rm"), b"")[0] == StatusCode.UNIMPLEMENTED
    client.show(0, make_values(0))
    assert len(client.actions()) == 6


def test_reasons_are_short_and_printable(client):
    wrong = setup({}, path="\n\u2028é" * 100_000)
    code, reason = refusal(client.stub.SendPolicyInstructions, services_pb2.PolicySetup(data=wrong))
    assert code == StatusCode.INVALID_ARGUMENT and len(reason) <= 300 and reason.isascii() and reason.isprintable()


def test_an_error_of_the_policy_is_told_after_a_pause(client, make_values, engine, monkeypatch):
    monkeypatch.setattr(engine.policy.model, "sample", lambda *_, **__: 1 / 0)
    client.show(0, make_values(0))
    start_s = time.monotonic()
    code, reason = refusal(client.stub.GetActions, EMPTY)
    assert code == StatusCode.INTERNAL and "ZeroDivisionError" in reason and time.monotonic() - start_s >= 0.05
    monkeypatch.undo()
    client.show(0, make_values(0))
    assert len(client.actions()) == 6


def test_hostile_clients_hurt_nobody(address, declared, make_values, tmp_path):
    """All kinds of `attack_server.py`, each once; meanwhile and afterwards an honest client gets its own actions."""
    good = TimedObservation(1.0, 0, make_values(0))
    good_setup = RemotePolicyConfig("qwenvla", "served", declared, 6)
    marker = tmp_path / "executed"
    observations = [*executing(marker), *malformed(), *wrong_observations(good, "screen", NAMES[0])]
    setups = [*executing(marker), *wrong_setups(good_setup, "observation.images.screen")]
    refused, statuses = [], set()

    def attack() -> None:
        with Client(address) as attacker:
            attacker.start(declared)
            for _, data in setups:
                call = attacker.stub.SendPolicyInstructions
                refused.append(refusal(call, services_pb2.PolicySetup(data=data)))
            for _, data in observations:
                if data:  # else LeRobot sends nothing at all
                    refused.append(refusal(attacker.stub.SendObservations, pieces(data)))
            statuses.update(code for code, _ in refused)

    def play() -> np.ndarray:
        with Client(address) as honest:
            honest.start(declared)
            answers = []
            for step in range(0, 10, 2):
                honest.show(step, make_values(step), must_go=True)
                answers.append(as_array(honest.actions()))
            return np.stack(answers)

    alone = play()
    thread = threading.Thread(target=attack)
    thread.start()
    rounds = 0
    while thread.is_alive() or not rounds:
        np.testing.assert_allclose(play(), alone, atol=1e-5)
        rounds += 1
    assert len(refused) == len(setups) + len(observations) - 1 >= 300
    assert statuses == {StatusCode.INVALID_ARGUMENT} and all(reason for _, reason in refused)
    assert not list(tmp_path.iterdir())


def test_status_is_a_line_of_json(client, make_values, address):
    client.show(0, make_values(0))
    client.actions()
    client.show(1, make_values(0))
    line = status(StatusConfig(server_address=address))
    got = json.loads(line)
    assert got["sessions"] >= 1 and got["decisions"] >= 1 and got["skipped_as_similar"] >= 1
    assert got["latency_ms"]["p50"] <= got["latency_ms"]["p99"] and "\n" not in line


def test_a_server_that_stopped_leaves_no_thread(engine, declared, make_values):
    before = threading.active_count()
    with running(engine) as address, Client(address) as client:
        client.start(declared)
        client.show(0, make_values(0))
        client.actions()
    until_s = time.monotonic() + 5
    while threading.active_count() > before and time.monotonic() < until_s:
        time.sleep(0.02)
    assert threading.active_count() <= before
