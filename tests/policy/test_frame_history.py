import pytest
import torch

from lerobot_qwenvla.frame_history import FrameHistory

OFFSETS = [-4, -2, 0]


class CountingEncoder:
    """Features that show which picture and which instruction they come from."""

    def __init__(self) -> None:
        self.pictures = 0

    def __call__(self, images: dict[str, torch.Tensor], instructions: list[str]) -> torch.Tensor:
        pictures = images["screen"]
        self.pictures += len(pictures)
        assert len(pictures) == len(instructions)
        lengths = torch.tensor([float(len(text)) for text in instructions])
        return torch.stack([pictures[:, 0, 0, 0], lengths], dim=-1)[:, None]  # (N, 1, 2)


def picture(step: int, batch: int = 1) -> dict[str, torch.Tensor]:
    return {"screen": torch.full((batch, 3, 2, 2), float(step)) + 100 * torch.arange(batch)[:, None, None, None]}


def make_history() -> tuple[FrameHistory, CountingEncoder]:
    encoder = CountingEncoder()
    return FrameHistory(OFFSETS, encoder), encoder


@pytest.mark.parametrize("every", [1, 2, 3, 8])
def test_no_frame_is_encoded_twice_however_often_one_decides(every):
    history, encoder = make_history()
    looked_at = set()
    for step in range(20):
        history.push(picture(step), ["go"])
        if step % every == 0:
            frames = [max(0, step + offset) for offset in OFFSETS]
            assert history.features()[0, :, 0, 0].tolist() == frames
            looked_at |= set(frames)
    assert encoder.pictures == history.encoded == len(looked_at)


def test_the_first_frame_is_repeated_before_the_episode_starts():
    history, encoder = make_history()
    history.push(picture(7), ["go"])
    assert history.features()[0, :, 0, 0].tolist() == [7, 7, 7]
    assert encoder.pictures == 1
    assert history.reused == 0


def test_a_new_episode_sees_nothing_of_the_last_one():
    history, _ = make_history()
    for step in range(6):
        history.push(picture(step), ["go"])
    history.clear()
    history.push(picture(50), ["go"])
    assert history.features()[0, :, 0, 0].tolist() == [50, 50, 50]


def test_environments_in_a_batch_keep_their_own_frames():
    history, _ = make_history()
    for step in range(6):
        history.push(picture(step, batch=3), ["go"] * 3)
    assert history.features()[:, :, 0, 0].tolist() == [[1, 3, 5], [101, 103, 105], [201, 203, 205]]


def test_a_new_instruction_is_read_with_the_old_frames_too():
    history, encoder = make_history()
    for step in range(5):
        history.push(picture(step), ["go"])
    history.features()
    history.push(picture(5), ["stop it"])
    assert history.features()[0, :, 0, 1].tolist() == [7, 7, 7]
    assert history.features()[0, :, 0, 0].tolist() == [1, 3, 5]
    assert encoder.pictures == 6
