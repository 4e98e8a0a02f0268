from threading import Thread

import pytest
import torch

from lerobot_qwenvla.backbone import FrozenBackbone
from lerobot_qwenvla.features.frame_memory import FrameMemory

OFFSETS = [-4, -2, 0]
SCREEN = "observation.images.screen"
PICTURES = torch.rand(24, 3, 64, 64, generator=torch.Generator().manual_seed(0))

pytestmark = pytest.mark.usefixtures("no_grad")


@pytest.fixture
def no_grad():
    with torch.no_grad():
        yield


@pytest.fixture(scope="module")
def make_memory(make_settings):
    backbones = {mode: FrozenBackbone(make_settings(frame_encoding=mode)) for mode in ("per_frame", "joint")}

    def make(mode: str = "per_frame") -> FrameMemory:
        return FrameMemory(backbones[mode], OFFSETS)

    return make


def push(memory: FrameMemory, pictures: list[int], sessions: tuple = (0,), step: int | None = None):
    """Adds a picture a step, of the step of its number; session s sees the pictures of s later ones."""
    for picture in pictures:
        images = torch.stack([PICTURES[picture + session] for session in sessions])
        at = picture if step is None else step
        windows = memory.push({SCREEN: images}, sessions, [at] * len(sessions))
    return windows


def decide(memory: FrameMemory, picture: int, instruction: str = "go", step: int | None = None) -> torch.Tensor:
    return memory.encode(push(memory, [picture], step=step), [instruction])[SCREEN]


def encoded(memory: FrameMemory, frames: list[int], instruction: str = "go") -> torch.Tensor:
    """Features of the named pictures, without a memory.  # (1, F, T, D)"""
    return memory.backbone.encode(PICTURES[frames][None], [instruction])


@pytest.mark.parametrize("mode", ["per_frame", "joint"])
@pytest.mark.parametrize("every", [1, 2, 3, 8])
def test_a_decision_sees_its_frames_and_none_is_encoded_twice(make_memory, mode, every):
    memory, seen, asked_for = make_memory(mode), set(), 0
    for step in range(12):
        windows = push(memory, [step])
        if step % every == 0:
            frames = [max(0, step + offset) for offset in OFFSETS]
            features = memory.encode(windows, ["go"])[SCREEN]
            torch.testing.assert_close(features, encoded(memory, frames), atol=1e-4, rtol=0)
            seen |= set(frames)
            asked_for += len(set(frames))
    assert memory.misses == len(seen)
    assert memory.hits == asked_for - len(seen)


def test_the_first_frame_is_repeated_before_the_episode_starts(make_memory):
    memory = make_memory()
    torch.testing.assert_close(decide(memory, 7), encoded(memory, [7, 7, 7]))
    assert (memory.misses, memory.hits) == (1, 0)


def test_frames_are_found_by_step_and_not_by_count(make_memory):
    memory = make_memory()
    push(memory, [0, 1, 5, 11])
    torch.testing.assert_close(decide(memory, 14), encoded(memory, [5, 11, 14]), atol=1e-4, rtol=0)


def test_of_one_step_the_last_frame_counts(make_memory):
    memory = make_memory()
    push(memory, [0, 2])
    push(memory, [9], step=2)
    torch.testing.assert_close(decide(memory, 4), encoded(memory, [0, 9, 4]), atol=1e-4, rtol=0)


def test_a_frame_that_comes_late_takes_its_place(make_memory):
    memory = make_memory()
    push(memory, [0, 4])
    late = memory.encode(push(memory, [3]), ["go"])[SCREEN]
    torch.testing.assert_close(late, encoded(memory, [0, 0, 3]), atol=1e-4, rtol=0)
    torch.testing.assert_close(decide(memory, 5), encoded(memory, [0, 3, 5]), atol=1e-4, rtol=0)


@pytest.mark.parametrize("session", [0, None])
def test_a_new_episode_sees_nothing_of_the_last_one(make_memory, session):
    memory = make_memory()
    push(memory, range(6))
    memory.reset(session)
    torch.testing.assert_close(decide(memory, 10), encoded(memory, [10, 10, 10]))


def test_sessions_keep_their_own_frames_and_end_their_own_episodes(make_memory):
    memory = make_memory()
    push(memory, range(6), sessions=(0, 1, 2))
    memory.reset(1)
    windows = push(memory, [6], sessions=(0, 1, 2))
    features = memory.encode(windows, ["go", "go", "stop it"])[SCREEN]
    torch.testing.assert_close(features[:1], encoded(memory, [2, 4, 6]), atol=1e-4, rtol=0)
    torch.testing.assert_close(features[1:2], encoded(memory, [7, 7, 7]), atol=1e-4, rtol=0)
    torch.testing.assert_close(features[2:], encoded(memory, [4, 6, 8], "stop it"), atol=1e-4, rtol=0)


def test_sessions_may_be_at_different_steps(make_memory):
    memory = make_memory()
    for steps in ([0, 40], [2, 41], [4, 42]):
        windows = memory.push({SCREEN: PICTURES[[steps[0], steps[1] - 30]]}, ["a", "b"], steps)
    features = memory.encode(windows, ["go", "go"])[SCREEN]
    torch.testing.assert_close(features[:1], encoded(memory, [0, 2, 4]), atol=1e-4, rtol=0)
    torch.testing.assert_close(features[1:], encoded(memory, [10, 10, 12]), atol=1e-4, rtol=0)


def test_a_new_instruction_reads_old_frames_again_without_encoding_again(make_memory):
    memory = make_memory()
    windows = push(memory, range(5))
    memory.encode(windows, ["go"])
    features = memory.encode(windows, ["stop it"])[SCREEN]
    torch.testing.assert_close(features, encoded(memory, [0, 2, 4], "stop it"), atol=1e-4, rtol=0)
    assert memory.misses == 3


def test_one_session_is_read_with_several_instructions_at_once(make_memory):
    memory = make_memory()
    cond, uncond = memory.encode(push(memory, range(5)), ["go", ""])[SCREEN]
    torch.testing.assert_close(cond[None], encoded(memory, [0, 2, 4]), atol=1e-4, rtol=0)
    torch.testing.assert_close(uncond[None], encoded(memory, [0, 2, 4], ""), atol=1e-4, rtol=0)
    assert memory.misses == 3


def test_frames_encoded_as_they_arrive_are_not_encoded_at_the_decision(make_memory):
    memory = make_memory()
    for step in range(5):
        windows = push(memory, [step])
        memory.encode_current(windows, ["go"])
    assert memory.misses == 5
    torch.testing.assert_close(memory.encode(windows, ["go"])[SCREEN], encoded(memory, [0, 2, 4]), atol=1e-4, rtol=0)
    assert (memory.misses, memory.hits) == (5, 3)


def test_a_camera_without_a_current_frame_is_left_out_until_it_is_back(make_memory):
    memory = make_memory()
    both = {SCREEN: PICTURES[:1], "observation.images.map": PICTURES[1:2]}
    memory.push(both, [0], [0])
    assert set(memory.push({SCREEN: PICTURES[2:3]}, [0], [1])) == {SCREEN}
    assert set(memory.encode(memory.push(both, [0], [2]), ["go"])) == set(both)


def test_memory_does_not_grow_with_the_episode(make_memory):
    memory = make_memory()
    for step in range(200):
        push(memory, [step % 24], step=step)
    assert len(memory._frames[0][SCREEN]) == 5  # t-4 to t


def test_a_decision_goes_on_when_another_thread_ends_the_episode(make_memory):
    memory = make_memory()
    push(memory, [0, 2])
    windows = push(memory, [4])
    memory.reset()
    torch.testing.assert_close(memory.encode(windows, ["go"])[SCREEN], encoded(memory, [0, 2, 4]), atol=1e-4, rtol=0)


def test_decisions_survive_resets_at_any_moment(make_memory):
    memory, stop, ended = make_memory(), [], []

    def end_episodes() -> None:
        while not stop:
            memory.reset()
            ended.append(True)

    thread = Thread(target=end_episodes)
    thread.start()
    try:
        with torch.no_grad():
            for step in range(30):
                assert decide(memory, step % 24, step=step).isfinite().all()
    finally:
        stop.append(True)
        thread.join()
    assert len(ended) > 10
