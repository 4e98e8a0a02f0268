from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recordings_to_lerobot.importers.frame_times import VideoClock, match_times, read_video_clock
from recordings_to_lerobot.recordings.validation import RecordingError
from tests.recordings_to_lerobot.importers.foreign_recordings import write_numbered_video

MS = 1_000_000
T0 = 1_750_000_000_000_000_000


def clock(pts_ms):
    return VideoClock((64, 48), 20, np.array(pts_ms, dtype=np.int64) * MS, MS)


def match(pts_ms, notes):
    """Times in ms since T0 of frames at `pts_ms` from notes of (PTS in ns, time in ms since T0)."""
    logged_pts_ns = np.array([pts for pts, _ in notes], dtype=np.int64)
    logged_ns = T0 + np.array([round(ms * MS) for _, ms in notes], dtype=np.int64)
    times = match_times(clock(pts_ms), logged_pts_ns, logged_ns)
    return ((times.ns - T0) / MS).tolist(), dict(times.repairs)


def test_frames_have_the_times_that_their_pts_are_said_to_have():
    assert match([0, 17, 110], [(0, 5), (16_666_666, 100), (110 * MS, 130)]) == ([5, 100, 130], {})


def test_frame_without_a_note_lies_between_its_neighbours():
    times, repairs = match([0, 30, 40], [(0, 0), (40 * MS, 80)])
    assert times == [0, 60, 80]
    assert repairs == {"frame_times_interpolated": 1}


def test_last_frame_without_a_note_repeats_the_time_before_it():
    times, repairs = match([0, 50, 5000], [(0, 0), (50 * MS, 50)])
    assert times == [0, 50, 50]
    assert repairs == {"frames_without_time": 1}


def test_first_frame_without_a_note_lies_before_by_its_pts():
    assert match([0, 50], [(50 * MS, 20)])[0] == [-30, 20]


def test_note_of_no_frame_is_counted():
    assert match([0, 50], [(0, 0), (25 * MS, 20), (50 * MS, 50)]) == ([0, 50], {"frame_times_without_frame": 1})


def test_times_that_go_back_are_put_in_order():
    assert match([0, 50, 99], [(0, 0), (50 * MS, 80), (99 * MS, 70)]) == ([0, 80, 80], {"frame_times_put_in_order": 1})


def test_notes_that_fit_no_frame_are_refused():
    with pytest.raises(ValueError, match="belongs to a frame"):
        match([0, 50], [(25 * MS, 0)])


@given(
    pts_ms=st.lists(st.integers(0, 3000), min_size=1, max_size=12, unique=True).map(sorted),
    notes=st.lists(st.tuples(st.integers(0, 3_000_000), st.integers(0, 5000)), min_size=1, max_size=15),
)
def test_times_are_those_of_a_search_frame_by_frame(pts_ms, notes):
    noted = {}
    for pts_us, ms in sorted(notes, key=lambda note: note[0]):
        distances = [(abs(pts * 1000 - pts_us), index) for index, pts in enumerate(pts_ms)]
        distance, frame = min(distances)
        if distance <= 1000:
            noted.setdefault(frame, ms)
    logged = [(pts_us * 1000, ms) for pts_us, ms in notes]
    if not noted:
        with pytest.raises(ValueError, match="belongs to a frame"):
            match(pts_ms, logged)
        return
    latest = None
    for frame in sorted(noted):
        latest = noted[frame] = max(noted[frame], latest if latest is not None else noted[frame])
    expected = []
    for frame, pts in enumerate(pts_ms):
        before = max((other for other in noted if other <= frame), default=None)
        after = min((other for other in noted if other >= frame), default=None)
        if before is None:
            expected.append(noted[after] - (pts_ms[after] - pts))
        elif after is None or before == after:
            expected.append(noted[before])
        else:
            share = Fraction(pts - pts_ms[before], pts_ms[after] - pts_ms[before])
            expected.append(float(noted[before] + share * (noted[after] - noted[before])))
    times, _ = match(pts_ms, logged)
    assert times == pytest.approx(expected, abs=1e-3)
    assert times == sorted(times)


def test_presentation_times_are_read_without_decoding(tmp_path):
    write_numbered_video(tmp_path / "a.mkv", [10, 60, 343, 360])
    read = read_video_clock(tmp_path / "a.mkv")
    assert read.size_px == (64, 48)
    assert (read.pts_ns / MS).tolist() == [10, 60, 343, 360]


def test_what_is_no_video_is_said_to_be_none(tmp_path):
    (tmp_path / "a.mkv").write_bytes(b"nothing")
    with pytest.raises(RecordingError, match=r"a\.mkv: damaged"):
        read_video_clock(tmp_path / "a.mkv")
