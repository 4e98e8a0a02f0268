"""What is drawn, and where: looked up in the pixels of drawings and of the finished video."""

from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image, ImageColor

from recordings_to_lerobot.actions.channels import CHANNELS
from recordings_to_lerobot.actions.vocabulary import KEY_CODES
from recordings_to_lerobot.alignment.options import LabelOptions
from recordings_to_lerobot.inspection.overlay import painted_rows, write_overlay
from recordings_to_lerobot.inspection.painting import CAP, LIT, PANEL, RING, RING_FILL, Painter
from recordings_to_lerobot.inspection.summary import read_labelled
from recordings_to_lerobot.recordings.validation import RecordingError
from tests.recordings_to_lerobot.raw_recordings import FREQ, make_recording, numbered_picture, regular_ticks

W, SPACE = 87, 32
SIZE_PX = 64
FIRST = regular_ticks(1)[0]
TENTH = FREQ // 10


def paint(pressed: set[str] = frozenset(), cursor: tuple[float, float] = (0.25, 0.75), **options):
    painter = Painter((640, 360), CHANNELS, options.pop("task", ""), **options)
    picture = Image.new("RGB", painter.picture_px, "#406080")
    return painter, np.asarray(painter.paint(picture, cursor, pressed, time_s=1.5, row=15))


def is_colour(pixel: np.ndarray, colour: str, tolerance: int = 0) -> bool:
    return bool(np.all(np.abs(pixel.astype(int) - ImageColor.getrgb(colour)) <= tolerance))


def corner_of(box: tuple[int, int, int, int]) -> tuple[int, int]:
    """Row and column inside a key, away from its letter."""
    left, top, right, bottom = box
    return top + (bottom - top) // 6, (left + right) // 2


def test_only_the_pressed_key_of_the_cluster_is_lit():
    places = {"key.w": (1, 0), "key.a": (0, 1), "key.s": (1, 1), "key.d": (2, 1)}
    for pressed in places:
        painter, drawing = paint({pressed})
        for channel, place in places.items():
            wanted = LIT if channel == pressed else CAP
            assert is_colour(drawing[corner_of(painter.cap_box(*place))], wanted)


def test_other_keys_are_drawn_only_while_they_are_down():
    lit = ImageColor.getrgb(LIT)
    counts = [np.all(paint(set(keys))[1] == lit, axis=2).sum() for keys in ((), ("key.space",), ("key.space", "key.1"))]
    assert counts[0] == 0 < counts[1] < counts[2]


def test_many_keys_at_once_stay_on_the_panel():
    _, drawing = paint(set(CHANNELS[2:]))
    assert is_colour(drawing[-1, -1], PANEL) and is_colour(drawing[-1, 0], PANEL)


@pytest.mark.parametrize(
    ("pressed", "filled"), [(set(), ""), ({"button.left"}, "l"), ({"button.right"}, "r"), ({"button.middle"}, "lr")]
)
def test_the_ring_is_where_the_mouse_is_and_fills_with_the_button(pressed, filled):
    painter, drawing = paint(pressed, cursor=(0.25, 0.75))
    x, y = painter.cursor_px((0.25, 0.75))
    assert (x, y) == pytest.approx((160, 269), abs=1)
    column, row, quarter = round(x), round(y), painter.ring_radius // 3
    assert is_colour(drawing[row, column - painter.ring_radius + 1], RING)
    assert is_colour(drawing[row, column - quarter], RING_FILL) == ("l" in filled)
    assert is_colour(drawing[row, column + quarter], RING_FILL) == ("r" in filled)


def test_a_mouse_outside_the_canvas_is_drawn_at_its_edge():
    painter, _ = paint()
    assert painter.cursor_px((-0.3, 1.2)) == (0, 359)


@pytest.mark.parametrize("size_px", [(64, 64), (33, 47), (384, 384), (1920, 1080)])
def test_drawings_are_large_enough_to_read_and_have_even_sizes(size_px):
    painter = Painter(size_px, CHANNELS, "")
    assert painter.picture_px[0] >= 480
    assert painter.size_px[0] % 2 == painter.size_px[1] % 2 == 0
    assert painter.size_px[1] > painter.picture_px[1]


def test_an_instruction_of_any_length_and_script_leaves_the_clock_alone():
    short, long = (paint(task=task)[1] for task in ("", "найди красный ящик, " * 20))
    clock = np.s_[360:390, -125:]
    np.testing.assert_array_equal(short[clock], long[clock])
    assert (short[360:390, :300] != long[360:390, :300]).any()


def test_a_vocabulary_without_the_cluster_draws_none():
    painter = Painter((640, 360), ("mouse.x", "mouse.y", "button.left", "key.jump"), "")
    drawing = np.asarray(painter.paint(Image.new("RGB", painter.picture_px), (0.5, 0.5), {"key.jump"}, 0.0, 0))
    assert not np.all(drawing == ImageColor.getrgb(CAP), axis=2).any()
    assert np.all(drawing == ImageColor.getrgb(LIT), axis=2).any()


EVENTS = [
    {"ts": FIRST, "kind": "mousemove", "x": 10, "y": 50},
    {"ts": FIRST + TENTH + 1, "kind": "keydown", "vk": W},
    {"ts": FIRST + TENTH + 2, "kind": "mousemove", "x": 40, "y": 20, "buttons": 1},
    {"ts": FIRST + 2 * TENTH + 1, "kind": "keyup", "vk": W},
    {"ts": FIRST + 2 * TENTH + 2, "kind": "mousemove", "x": 40, "y": 20, "buttons": 0},
]


def read(tmp_path, **options):
    raw = make_recording(tmp_path / "raw", regular_ticks(5), EVENTS)
    return read_labelled(raw.folder, LabelOptions(**options), KEY_CODES)


@pytest.mark.parametrize("mouse", ["absolute", "delta"])
def test_the_video_shows_each_row_with_its_own_action(tmp_path, mouse):
    recording, labels = read(tmp_path, mouse=mouse)
    path = tmp_path / "overlay.mp4"
    write_overlay(recording, labels, path)
    with av.open(path) as container:
        assert container.streams.video[0].average_rate == 10
        shown = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    painter = Painter((SIZE_PX, SIZE_PX), labels.channels, "go")
    scale = painter.picture_px[0] // SIZE_PX
    assert len(shown) == 5
    for row, drawing in enumerate(shown):
        assert drawing.shape[1::-1] == painter.size_px
        is_down = row in (1, 2)  # what is released within a row was down in it
        key = drawing[corner_of(painter.cap_box(1, 0))]
        assert is_colour(key, LIT if is_down else CAP, tolerance=40)
        x, y = painter.cursor_px((10 / 63, 50 / 63) if row == 0 else (40 / 63, 20 / 63))
        button = drawing[round(y), round(x) - painter.ring_radius // 3]
        assert is_colour(button, RING_FILL, tolerance=60) == is_down
        # Away from the cursor, the picture is the one of this row.
        corner = drawing[scale * 4 : scale * SIZE_PX : scale * 32, scale * 4 : scale * SIZE_PX : scale * 16, 0] > 127
        np.testing.assert_array_equal(corner, numbered_picture(row)[4::32, 4::16, 0] > 127)


def test_a_long_recording_is_shown_up_to_a_limit(tmp_path):
    recording, labels = read(tmp_path)
    write_overlay(recording, labels, tmp_path / "overlay.mp4", max_s=0.3)
    with av.open(tmp_path / "overlay.mp4") as container:
        assert sum(1 for _ in container.decode(video=0)) == 3


def test_chosen_rows(tmp_path):
    recording, labels = read(tmp_path)
    assert len(list(painted_rows(recording, labels, [0, 3], are_thumbnails=True))) == 2


def test_a_failure_leaves_nothing_half_written(tmp_path):
    recording, labels = read(tmp_path)
    labels.timeline.frame_index[-1] = 99
    folder: Path = tmp_path / "out"
    folder.mkdir()
    with pytest.raises(RecordingError, match="frame 99"):
        write_overlay(recording, labels, folder / "overlay.mp4")
    assert not list(folder.iterdir())
