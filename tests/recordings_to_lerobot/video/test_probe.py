import pickle
import random
import struct

import av
import numpy as np
import pytest

from recordings_to_lerobot.recordings.validation import RecordingError
from recordings_to_lerobot.video.decode import iterate_frames
from recordings_to_lerobot.video.probe import check_video
from recordings_to_lerobot.video.sample import sample_levels
from tests.recordings_to_lerobot.raw_recordings import numbered_picture, write_video


@pytest.fixture
def video(tmp_path):
    path = tmp_path / "video.mp4"
    write_video(path, 30)
    return path


def number_shown(frame: av.VideoFrame) -> int:
    picture = frame.to_ndarray(format="rgb24").astype(int)
    errors = [np.abs(picture - numbered_picture(number)).sum() for number in range(64)]
    return int(np.argmin(errors))


def test_sound_video_passes(video):
    check_video(video, 30)


def test_every_frame_is_found_by_its_index(video):
    assert [number_shown(frame) for frame in iterate_frames(video, np.arange(30))] == list(range(30))


def test_frames_may_be_skipped_and_repeated(video):
    wanted = [3, 4, 4, 4, 20, 29, 29]
    assert [number_shown(frame) for frame in iterate_frames(video, np.array(wanted))] == wanted


def test_frame_past_the_end_is_an_error(video):
    with pytest.raises(RecordingError, match=r"video\.mp4: frame 30 cannot be decoded; re-export"):
        list(iterate_frames(video, np.array([29, 30])))


@pytest.mark.parametrize("kept", [0.3, 0.7, 0.95])
def test_video_cut_off_before_its_index_is_refused(video, kept):
    video.write_bytes(video.read_bytes()[: int(kept * video.stat().st_size)])
    with pytest.raises(RecordingError, match=r"video\.mp4: damaged or cut off \(.*\); re-export"):
        check_video(video, 30)


@pytest.mark.parametrize("cut_bytes", [1, 200, 400])
def test_video_cut_off_behind_its_index_is_refused(tmp_path, cut_bytes):
    path = tmp_path / "video.mp4"
    write_video(path, 30, movflags="faststart")
    path.write_bytes(path.read_bytes()[:-cut_bytes])
    with pytest.raises(RecordingError, match=r"video\.mp4: cut off after \d+ of 30 frames; re-export"):
        check_video(path, 30)


def test_size_is_that_of_the_pictures(video):
    assert check_video(video, 30).size_px == (64, 64)


def test_other_number_of_frames_than_ticks_is_refused(video):
    with pytest.raises(RecordingError, match=r"30 frames, but frame_ts\.bin has 31 ticks; re-export"):
        check_video(video, 31)


def test_file_that_is_no_video_is_refused(tmp_path):
    path = tmp_path / "video.mp4"
    path.write_bytes(b"this is not a video" * 100)
    with pytest.raises(RecordingError, match=r"video\.mp4: damaged or cut off"):
        check_video(path, 30)


def test_title_that_is_not_utf8_is_no_problem(video):
    video.write_bytes(video.read_bytes().replace(b"VideoHandler", b"Vid\xe9oHandler"))
    check_video(video, 30)


@pytest.mark.parametrize("movflags", ["", "faststart", "frag_keyframe+empty_moov"])
def test_damaged_video_is_refused_or_yields_every_frame(tmp_path, movflags):
    path = tmp_path / "video.mp4"
    write_video(path, 30, movflags=movflags)
    sound = path.read_bytes()
    rng = random.Random(0)
    for _ in range(150):
        damaged = bytearray(sound)
        for _ in range(rng.choice([1, 3, 20])):
            damaged[rng.randrange(len(damaged))] = rng.randrange(256)
        path.write_bytes(damaged[: rng.choice([len(damaged), rng.randrange(len(damaged))])])
        try:
            check_video(path, 30)
            frames = list(iterate_frames(path, np.arange(30)))
        except RecordingError as error:
            assert str(error).startswith(f"{path}: ") and "re-e" in str(error)
        else:
            assert [(frame.width, frame.height) for frame in frames] == [(64, 64)] * 30


def test_cost_of_random_access_counts_frames_from_the_key_frame(tmp_path):
    path = tmp_path / "video.mp4"
    write_video(path, 12, options={"g": "4", "bf": "0", "sc_threshold": "0"})
    facts = check_video(path, 12)
    assert (facts.codec, facts.n_key_frames, facts.delay_frames, facts.stands_alone) == ("h264", 3, 0, True)
    assert facts.mean_decoded == (1 + 2 + 3 + 4) / 4


def test_frames_stored_ahead_of_their_turn_are_put_in_order(tmp_path):
    path = tmp_path / "video.mp4"
    write_video(path, 12, options={"bf": "2", "b_strategy": "0"})
    facts = check_video(path, 12)
    assert facts.delay_frames > 0 and facts.frame_of_packet.tolist() != list(range(12))
    assert sorted(facts.frame_of_packet.tolist()) == list(range(12))


def test_facts_of_a_long_video_are_small(tmp_path):
    path = tmp_path / "video.mp4"
    write_video(path, 1000, options={"bf": "2", "b_strategy": "0", "preset": "ultrafast"})
    facts = check_video(path, 1000)
    assert facts.delay_frames > 0
    assert len(pickle.dumps(facts)) < 1000


def test_packets_that_an_edit_list_hides_are_neither_copied_nor_missed(tmp_path):
    write_video(tmp_path / "whole.mp4", 12, options={"g": "4", "bf": "0", "sc_threshold": "0"})
    path = tmp_path / "cut.mp4"
    with (
        av.open(tmp_path / "whole.mp4") as source,
        av.open(path, "w", options={"avoid_negative_ts": "disabled"}) as cut,
    ):
        stream = cut.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.size:
                hidden = 5 * packet.duration
                packet.stream, packet.pts, packet.dts = stream, packet.pts - hidden, packet.dts - hidden
                cut.mux(packet)
    facts = check_video(path, 7)
    assert facts.n_frames == 7 < len(facts.frame_of_packet) and not facts.stands_alone
    assert [number_shown(frame) for frame in iterate_frames(path, np.arange(7))] == list(range(5, 12))
    assert sample_levels(path, facts).sum(axis=1).min() > 0


def test_rotated_and_upright_videos_do_not_share_a_file(tmp_path):
    facts = []
    for name in ("upright", "rotated"):
        path = tmp_path / f"{name}.mp4"
        write_video(path, 4)
        if name == "rotated":
            content = bytearray(path.read_bytes())
            matrix = content.index(b"tkhd") + 4 + 40  # ISO/IEC 14496-12 §8.3.2
            quarter = (0, 1 << 16, 0, -(1 << 16), 0, 0, 0, 0, 1 << 30)
            content[matrix : matrix + 36] = struct.pack(">9i", *quarter)
            path.write_bytes(content)
        facts.append(check_video(path, 4))
    assert facts[0].parameters != facts[1].parameters
