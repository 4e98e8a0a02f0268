from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recordings_to_lerobot.alignment.timeline import (
    LIMIT_NS,
    frames_timeline,
    kept_frames,
    resampled_timeline,
    ticks_to_ns,
)

MS = 1_000_000


def test_of_frames_with_equal_ticks_the_first_is_kept():
    assert kept_frames(np.array([5, 5, 5, 7, 9, 9])).tolist() == [0, 3, 4]


def test_all_frames_are_kept_on_request():
    assert kept_frames(np.array([5, 5, 7]), keep_duplicates=True).tolist() == [0, 1, 2]


def test_row_lasts_until_the_next_kept_frame_and_the_last_one_a_frame_period():
    timeline = frames_timeline(np.array([0, 2]), np.array([40 * MS, 170 * MS]), 10)
    assert timeline.start_ns.tolist() == [40 * MS, 170 * MS]
    assert timeline.end_ns.tolist() == [170 * MS, 270 * MS]


def test_duplicate_frame_that_is_kept_owns_no_time():
    timeline = frames_timeline(np.array([0, 1]), np.array([40 * MS, 40 * MS]), 10)
    assert (timeline.end_ns - timeline.start_ns).tolist() == [0, 100 * MS]


def test_resampled_row_shows_the_latest_frame_at_or_before_it():
    frame_ns = np.array([0, 90, 200, 450]) * MS
    timeline = resampled_timeline(np.array([0, 1, 2, 3]), frame_ns, 10, 10)
    assert timeline.start_ns.tolist() == [t * MS for t in (0, 100, 200, 300, 400, 500)]
    assert timeline.frame_index.tolist() == [0, 1, 2, 2, 2, 3]
    assert timeline.frame_ns.tolist() == [t * MS for t in (0, 90, 200, 200, 200, 450)]


def test_resampling_a_regular_recording_changes_nothing():
    frame_ns = np.arange(50) * 100 * MS
    plain = frames_timeline(np.arange(50), frame_ns, 10)
    resampled = resampled_timeline(np.arange(50), frame_ns, 10, 10)
    for name in ("frame_index", "frame_ns", "start_ns", "end_ns"):
        np.testing.assert_array_equal(getattr(plain, name), getattr(resampled, name))


@pytest.mark.parametrize("rounded", [np.floor, np.round, np.ceil])
@pytest.mark.parametrize("fps", [24, 29.97, 30, 59.94, 60])
@pytest.mark.parametrize("qpc_freq", [1_000, 10_000_000])
def test_grid_shows_every_frame_of_a_steady_recording_whose_ticks_are_rounded(rounded, fps, qpc_freq):
    ticks = rounded(np.arange(300) * qpc_freq / round(fps)).astype(np.int64)
    timeline = resampled_timeline(np.arange(300), ticks_to_ns(ticks, qpc_freq), round(fps), fps)
    np.testing.assert_array_equal(timeline.frame_index, np.arange(300))


@pytest.mark.parametrize(("source_fps", "fps", "every"), [(60, 10, 6), (60, 20, 3), (30, 10, 3), (30, 15, 2)])
def test_fewer_rows_show_every_so_many_th_frame(source_fps, fps, every):
    frame_ns = (np.arange(300) * 10**9 / source_fps).astype(np.int64)
    timeline = resampled_timeline(np.arange(300), frame_ns, fps, source_fps)
    np.testing.assert_array_equal(timeline.frame_index, np.arange(0, 300, every))


def test_frame_that_is_later_than_the_slack_is_not_shown_before_its_time():
    frame_ns = np.array([0, 110, 211, 300]) * MS
    timeline = resampled_timeline(np.arange(4), frame_ns, 10, 10)
    assert timeline.frame_index.tolist() == [0, 1, 1, 3]


def test_ntsc_rate_repeats_a_frame_of_a_thousand_to_keep_up():
    frame_ns = (np.arange(3000) * 10**9 / 29.97).astype(np.int64)
    timeline = resampled_timeline(np.arange(3000), frame_ns, 30, 29.97)
    assert len(timeline) == 3003
    assert np.isin(np.diff(timeline.frame_index), [0, 1]).all() and timeline.frame_index[-1] == 2999


def test_rate_of_next_to_nothing_is_no_division_by_zero():
    timeline = resampled_timeline(np.arange(1), np.array([0]), 1, 1e-300)
    assert len(timeline) <= 1000


def test_grid_does_not_drift_where_the_period_is_no_whole_nanosecond():
    frame_ns = np.array([0, 3600 * 1000 * MS])
    grid_ns = resampled_timeline(np.zeros(2000, dtype=int), np.append(np.zeros(1999, dtype=int), frame_ns[1]), 30, 30)
    assert grid_ns.start_ns[3600 * 30] == 3600 * 1000 * MS


def test_resampling_across_a_clock_jump_is_refused():
    with pytest.raises(ValueError, match=r"2 frames span 1000000 s.*needs 10000001; .*keep its own frames"):
        resampled_timeline(np.array([0, 1]), np.array([0, 10**15]), 10, 10)


def test_times_centuries_away_are_refused():
    with pytest.raises(ValueError, match=r"qpc_freq 1 .* more than a century; correct qpc_freq"):
        ticks_to_ns(np.array([0, 2**62]), qpc_freq=1)


@settings(max_examples=100)
@given(
    st.lists(st.integers(0, 2**55), min_size=1),
    st.sampled_from([1_000, 3_579_545, 10_000_000, 24_000_000]),
    st.integers(-10_000, 10_000),
)
def test_ns_are_the_exact_time_rounded_down(ticks, qpc_freq, offset_ms):
    exact = [Fraction(tick * 10**9, qpc_freq) + offset_ms * MS for tick in ticks]
    if max(exact) < 2**62:
        assert ticks_to_ns(np.array(ticks), qpc_freq, offset_ms).tolist() == [t.__floor__() for t in exact]


@settings(max_examples=300)
@given(
    st.lists(st.integers(-(2**63), 2**63 - 1), max_size=5),
    st.one_of(st.sampled_from([1, 3, 1000, 10_000_000, 2**33, 2**33 + 1, 2**62, 2**70]), st.integers(1, 2**40)),
    st.one_of(st.just(0.0), st.floats(-1e6, 1e6), st.floats(-1e20, 1e20)),
)
def test_times_are_exact_or_refused(ticks, freq, offset_ms):
    exact = [tick * 10**9 // freq + round(offset_ms * 10**6) for tick in ticks]
    if any(abs(ns) >= LIMIT_NS for ns in exact):
        with pytest.raises(ValueError, match="more than a century"):
            ticks_to_ns(np.array(ticks, dtype=np.int64), freq, offset_ms)
    else:
        times_ns = ticks_to_ns(np.array(ticks, dtype=np.int64), freq, offset_ms)
        assert times_ns.dtype == np.int64 and times_ns.tolist() == exact
