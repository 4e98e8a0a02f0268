"""The numbers of one recording, counted by hand."""

import json
from dataclasses import asdict

import pytest

from recordings_to_lerobot.actions.vocabulary import KEY_CODES
from recordings_to_lerobot.alignment.options import LabelOptions
from recordings_to_lerobot.inspection.summary import inspect_recording
from recordings_to_lerobot.recordings.validation import RecordingError
from tests.recordings_to_lerobot.raw_recordings import FREQ, make_recording, messy_ticks_and_events, regular_ticks

W, UNKNOWN = 87, 200
FIRST = regular_ticks(1)[0]
MS = FREQ // 1000


def inspect(folder, **options):
    return inspect_recording(folder, folder.parent, LabelOptions(**options), KEY_CODES)


def event(ms, kind, **fields):
    return {"ts": FIRST + ms * MS, "kind": kind, **fields}


def test_the_numbers_of_a_recording(tmp_path):
    frame_ms = [0, 100, 100, 210, 300, 500]
    events = [
        event(10, "mousemove", x=0, y=0),
        event(20, "mousemove", x=63, y=0, buttons=1),
        event(110, "mousemove", x=63, y=63, buttons=0),
        event(120, "keydown", vk=W),
        event(130, "keydown", vk=W),
        event(220, "keyup", vk=W),
        event(310, "keydown", vk=UNKNOWN),
        event(320, "focus"),
    ]
    raw = make_recording(tmp_path / "a", [FIRST + ms * MS for ms in frame_ms], events, task=" find it ")
    found = inspect(raw.folder)
    summary = found.summary
    assert (summary.source, summary.task, summary.canvas_px) == ("a", "find it", (64, 64))
    assert (summary.frames, summary.duplicate_frames, summary.rows, summary.rows_kept) == (6, 1, 5, 5)
    assert summary.duration_s == pytest.approx(0.6)
    assert summary.fps_measured == pytest.approx(4 / 0.5)
    assert found.traces.interval_ms.tolist() == pytest.approx([100, 110, 90, 200])
    assert (summary.intervals.median_ms, summary.intervals.max_ms) == pytest.approx((105, 200))
    assert summary.intervals.jitter_ms == pytest.approx(43.87, abs=0.01)
    assert summary.events == {"mousemove": 3, "keydown": 3, "keyup": 1, "focus": 1}
    assert summary.findings["key_auto_repeat"] == summary.findings["key_outside_vocabulary"] == 1
    assert {name: (use.presses, use.held_share) for name, use in summary.uses.items()} == {
        "button.left": (1, 0.4),  # rows 0 and 1
        "key.w": (1, 0.4),  # rows 1 and 2
        "key 0xC8": (1, 0.0),
    }
    assert summary.mouse_travel == pytest.approx(2)
    assert found.traces.mouse_map.sum() == 5
    assert summary.offset is None
    json.dumps(asdict(summary), allow_nan=False)


def test_idle_time_and_the_rows_it_takes(tmp_path):
    ticks = regular_ticks(60)
    # Every frame of the video differs, so that only a frozen one stands still, be it in one row or in many.
    frozen = [*ticks[:5], *(tick + 40 * FREQ // 10 for tick in ticks[5:10])]
    raw = make_recording(tmp_path / "a", frozen, [event(0, "mousemove", x=1, y=1)])
    one_row = inspect(raw.folder)
    assert one_row.summary.idle_s == pytest.approx(4.1) and one_row.summary.rows_kept == one_row.summary.rows == 10
    resampled = inspect(raw.folder, resample=True)
    assert resampled.summary.idle_s == pytest.approx(4.1)
    assert resampled.traces.idle_s.tolist() == [pytest.approx([0.4, 4.5])]
    assert resampled.summary.rows == 50
    assert resampled.summary.rows_kept == inspect(raw.folder, resample=True, idle="trim").summary.rows_kept == 10
    assert inspect(raw.folder, resample=True, idle="thin").summary.rows_kept == 14
    assert inspect(raw.folder, resample=True, idle_s=5).summary.idle_s == 0


@pytest.mark.parametrize("options", [{}, {"mouse": "delta", "resample": True}, {"keep_duplicates": True}])
@pytest.mark.parametrize("seed", [0, 1])
def test_messy_recordings_of_any_kind(tmp_path, seed, options):
    raw = make_recording(tmp_path / "a", *messy_ticks_and_events(seed, n_frames=40))
    json.dumps(asdict(inspect(raw.folder, **options).summary), allow_nan=False)


def test_a_single_frame(tmp_path):
    raw = make_recording(tmp_path / "a", [FIRST], [event(0, "focus")])
    summary = inspect(raw.folder).summary
    assert (summary.rows, summary.fps_measured, summary.intervals.max_ms, summary.uses) == (1, 0, 0, {})


def test_everything_that_is_wrong_is_said_at_once(tmp_path):
    raw = make_recording(tmp_path / "a", fps=9.5)
    (raw.folder / "frame_ts.bin").write_bytes(bytes(8 * 3))
    with pytest.raises(RecordingError) as error:
        inspect(raw.folder)
    assert len(error.value.problems) == 2
    assert "4 frames, but frame_ts.bin has 3 ticks" in str(error.value)
    assert "`fps` is 9.5" in str(error.value)
