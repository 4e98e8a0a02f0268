"""Ticks and frames of which a recorder has lost some."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recordings_to_lerobot.recordings.recording import read_recording
from recordings_to_lerobot.recordings.validation import RecordingError
from recordings_to_lerobot.video.frame_repair import match_ticks, repair_frame_ticks
from tests.recordings_to_lerobot.raw_recordings import FREQ, make_recording, regular_ticks


@settings(max_examples=200)
@given(
    st.lists(st.integers(60, 300), min_size=6, max_size=40),
    st.integers(1, 3),
    st.floats(0, 1),
    st.booleans(),
    st.integers(-(2**40), 2**60),
)
def test_what_is_lost_in_one_place_is_found_where_the_clocks_agree(intervals_ms, lost, share, frames_lost, origin):
    times_ms = np.cumsum([0, *intervals_ms])
    place = round(share * (len(times_ms) - lost))
    kept = np.delete(np.arange(len(times_ms)), np.s_[place : place + lost])
    ticks, pts_ns = origin + times_ms, (times_ms + 12_345) * 1_000_000
    if frames_lost:
        repaired, repair = match_ticks(ticks, pts_ns[kept], qpc_freq=1000)
        assert repair.n_dropped == lost and not repair.is_interpolated.any()
        wanted = ticks[kept]
    else:
        repaired, repair = match_ticks(ticks[kept], pts_ns, qpc_freq=1000)
        assert repair.n_dropped == 0 and repair.is_interpolated.sum() == lost
        wanted = ticks
    # Where equal intervals meet, two places fit equally well at the borders, and the times are the same.
    if place == 0:
        # The beginning is lost: only distances can be known.
        repaired, wanted = np.diff(repaired), np.diff(wanted)
    assert repaired.tolist() == wanted.tolist()


def test_ticks_may_be_slower_than_the_nominal_rate_of_the_video(tmp_path):
    ticks = regular_ticks(34, fps=2)
    raw = make_recording(tmp_path / "a", ticks)  # of which the video says 10 frames a second
    np.delete(ticks, 20).astype("<i8").tofile(raw.folder / "frame_ts.bin")
    repaired = repair_frame_ticks(read_recording(raw.folder))
    np.testing.assert_allclose(repaired.frame_ticks, ticks, atol=1)


@pytest.mark.parametrize("lost", [slice(33, 34), slice(10, 11)])
def test_frame_more_than_there_are_ticks_gets_the_tick_that_is_missing(tmp_path, lost):
    ticks = regular_ticks(34)
    raw = make_recording(tmp_path / "a", ticks)
    np.delete(ticks, lost).astype("<i8").tofile(raw.folder / "frame_ts.bin")
    repaired = repair_frame_ticks(read_recording(raw.folder))
    assert repaired.frame_ticks.tolist() == ticks
    assert np.flatnonzero(repaired.tick_repair.is_interpolated).tolist() == [lost.start]


def test_tick_more_than_there_are_frames_is_dropped(tmp_path):
    raw = make_recording(tmp_path / "a", regular_ticks(20))
    np.array(regular_ticks(22), dtype="<i8").tofile(raw.folder / "frame_ts.bin")
    repaired = repair_frame_ticks(read_recording(raw.folder))
    assert repaired.frame_ticks.tolist() == raw.frame_ticks and repaired.tick_repair.n_dropped == 2


def test_recording_with_a_tick_for_every_frame_is_left_alone(tmp_path):
    recording = read_recording(make_recording(tmp_path / "a").folder)
    assert repair_frame_ticks(recording) is recording


def test_ticks_of_another_recording_are_refused(tmp_path):
    raw = make_recording(tmp_path / "a", regular_ticks(20))
    np.arange(0, 40 * FREQ, FREQ, dtype="<i8").tofile(raw.folder / "frame_ts.bin")
    with pytest.raises(RecordingError, match=r"20 frames, but frame_ts\.bin has 40 ticks.*re-export"):
        repair_frame_ticks(read_recording(raw.folder))
