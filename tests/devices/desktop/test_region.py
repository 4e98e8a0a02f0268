import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lerobot_qwenvla.devices.desktop.region import Box, ScreenRegion
from recordings_to_lerobot.actions.encoding import normalize_px

CANVAS_PX = (64, 48)
boxes = st.builds(Box, *[st.integers(-500, 500)] * 2, st.integers(64, 900), st.integers(48, 900))


@settings(deadline=None)
@given(boxes, st.integers(0, 63), st.integers(0, 47))
def test_the_mouse_goes_to_where_it_was_recorded(box, x, y):
    position = (normalize_px(x, 64), normalize_px(y, 48))
    assert box.to_canvas(*box.to_screen(*position, CANVAS_PX), CANVAS_PX) == (x, y)


@settings(deadline=None)
@given(boxes, st.floats(-1, 1), st.floats(-1, 1))
def test_the_mouse_never_leaves_the_region(box, x, y):
    at_x, at_y = box.to_screen(x, y, CANVAS_PX)
    assert box.left <= at_x < box.left + box.width
    assert box.top <= at_y < box.top + box.height


def test_positions_outside_are_at_the_edge():
    box = Box(100, 50, 400, 300)
    assert box.to_canvas(0, 0, CANVAS_PX) == (0, 0)
    assert box.to_canvas(900, 900, CANVAS_PX) == (63, 47)


def test_a_window_is_found_by_part_of_its_title_and_shown_at_canvas_size(game):
    region = ScreenRegion("a gam", None)
    assert region.box == Box(100, 50, 400, 300)
    picture = region.grab(CANVAS_PX)
    assert (picture.shape, picture.dtype) == ((48, 64, 3), np.uint8)
    assert picture[10, 10].tolist() == [0xC0, 0x30, 0x20]
    assert picture[40, 50].tolist() == [0x20, 0x40, 0x60]
    region.close()


def test_a_region_needs_no_window(game):
    region = ScreenRegion(None, [100, 50, 64, 48])
    assert region.grab(CANVAS_PX)[0, 0].tolist() == [0xC0, 0x30, 0x20]
    region.close()


@pytest.mark.parametrize(
    ("window", "region", "message"),
    [
        (None, None, "either a window"),
        ("A game", [0, 0, 10, 10], "either a window"),
        ("No such game", None, "no window has it"),
        (None, [0, 0, 10], "left, top, width and height"),
        (None, [0, 0, 1, 10], "left, top, width and height"),
        (None, [700, 0, 200, 100], r"not all on the screen \(800x800"),
        (None, [-5, 0, 100, 100], "not all on the screen"),
    ],
)
def test_what_cannot_be_shown_says_why(game, window, region, message):
    with pytest.raises(ValueError, match=message):
        ScreenRegion(window, region)
