import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recordings_to_lerobot.importers.owamcap import InputReader, locate_window, read_messages, read_screens, video_of
from recordings_to_lerobot.recordings.validation import RecordingError
from tests.recordings_to_lerobot.importers.foreign_recordings import (
    MS,
    SIZE_PX,
    T0_NS,
    screen_message,
    write_mcap,
    write_owamcap,
)
from tests.recordings_to_lerobot.importers.replay import replay

LEFT, TOP = 106, 200  # of the picture: the window's rectangle is six pixels wider left, right and below


def move(x, y):
    return {"event_type": "move", "x": x, "y": y}


def click(x, y, button="left", pressed=True):
    return {"event_type": "click", "x": x, "y": y, "button": button, "pressed": pressed}


def key(vk, event_type="press"):
    return {"event_type": event_type, "vk": vk}


def read(path, video_px=SIZE_PX):
    """Events and repairs of a log."""
    log = read_screens(read_messages(path))
    reader = InputReader(locate_window(log, video_px))
    has_mouse = any(logged.topic == "mouse" for logged in read_messages(path))
    return list(reader.events(read_messages(path), has_mouse)), dict(reader.repairs)


def read_inputs(tmp_path, *inputs, **options):
    return read(write_owamcap(tmp_path / "raw", list(inputs), n_frames=2, **options))


def described(events):
    return [(event.kind, *(value for value in event[3:-1] if value is not None)) for event in events]


def write_log(tmp_path, messages):
    tmp_path.mkdir(exist_ok=True)
    write_mcap(tmp_path / "log.mcap", messages)
    return tmp_path / "log.mcap"


@pytest.mark.parametrize("version", ["0.3.2", "0.4.2", "0.5.1"])
def test_every_version_is_read(tmp_path, version):
    path = write_owamcap(tmp_path, [(10, "mouse", move(116, 220))], version=version)
    log = read_screens(read_messages(path))
    assert video_of(path, log.uris) == tmp_path / "play.mkv"
    assert [pts // MS for pts in log.pts_ns] == [10, 60, 110, 160, 210, 260]
    assert [(ns - T0_NS) // MS for ns in log.utc_ns] == [0, 50, 100, 150, 200, 250]
    assert described(read(path)[0]) == [("mousemove", 10, 20)]


def test_positions_are_those_on_the_picture_of_the_window(tmp_path):
    events, _ = read_inputs(tmp_path, (10, "mouse", move(LEFT, TOP)), (20, "mouse", move(LEFT + 63, TOP + 47)))
    assert described(events) == [("mousemove", 0, 0), ("mousemove", 63, 47)]


def test_another_window_with_the_focus_does_not_move_the_picture(tmp_path):
    other = {"title": "other", "rect": [0, 0, 1280, 1392]}
    events, _ = read_inputs(tmp_path, (5, "window", other), (10, "mouse", move(LEFT + 1, TOP + 2)))
    assert described(events) == [("mousemove", 1, 2)]


def test_window_that_is_moved_takes_its_picture_along(tmp_path):
    moved = {"title": "game", "rect": [300, 400, 300 + 64 + 12, 400 + 48 + 6]}
    inputs = [(10, "mouse", move(LEFT, TOP)), (15, "window", moved), (20, "mouse", move(306, 400))]
    assert described(read_inputs(tmp_path, *inputs)[0]) == [("mousemove", 0, 0)] * 2


def test_title_bar_that_is_not_in_the_picture_is_subtracted(tmp_path):
    rect = [100, 200, 100 + 64 + 16, 200 + 48 + 39]
    messages = [(T0_NS, "window", {"rect": rect}), (T0_NS + 1, "mouse", move(108, 231))]
    assert described(read(write_log(tmp_path, messages))[0]) == [("mousemove", 0, 0)]


def test_without_a_window_of_the_size_the_picture_is_the_desktop(tmp_path):
    messages = [(T0_NS, "window", {"rect": [500, 500, 900, 900]}), (T0_NS + 1, "mouse", move(30, 40))]
    assert described(read(write_log(tmp_path, messages))[0]) == [("mousemove", 30, 40)]


def test_positions_are_scaled_with_the_picture(tmp_path):
    screen = screen_message("0.5.1", T0_NS, 0, "a.mkv", (128, 96))
    path = write_log(tmp_path, [(T0_NS, "screen", screen), (T0_NS + 1, "mouse", move(64, 48))])
    assert described(read(path)[0]) == [("mousemove", 32, 24)]


def test_line_added_for_an_encoder_scales_nothing(tmp_path):
    screen = screen_message("0.5.1", T0_NS, 0, "a.mkv", (1025, 1017))
    path = write_log(tmp_path, [(T0_NS, "screen", screen), (T0_NS + 1, "mouse", move(1024, 1016))])
    assert described(read(path, (1026, 1018))[0]) == [("mousemove", 1024, 1016)]


def test_clicks_and_wheel(tmp_path):
    scroll = {"event_type": "scroll", "x": LEFT, "y": TOP, "dx": 0, "dy": -1}
    events, _ = read_inputs(
        tmp_path,
        (10, "mouse", click(LEFT, TOP, "right")),
        (20, "mouse", click(LEFT, TOP, "right", pressed=False)),
        (30, "mouse", click(LEFT, TOP, "x2")),
        (40, "mouse", scroll),
    )
    assert [event for event in described(events) if event[0] != "mousemove"] == [
        ("buttondown", 2),
        ("buttonup", 2),
        ("buttondown", 16),
        ("wheel", 0, -1),
    ]


def test_raw_movements_stand_beside_positions_and_repeat_no_click(tmp_path):
    raw = {"last_x": 3, "last_y": -4, "us_flags": 0, "button_flags": 1, "button_data": 0}
    events, _ = read_inputs(tmp_path, (10, "mouse", click(LEFT, TOP)), (10, "mouse/raw", raw))
    assert described(events) == [("mousemove", 0, 0), ("buttondown", 1), ("mousedelta", 3, -4)]


def test_raw_messages_alone_say_what_is_pressed(tmp_path):
    def raw(flags, data=0):
        return {"last_x": 0, "last_y": 0, "us_flags": 0, "button_flags": flags, "button_data": data}

    inputs = [(10, "mouse/raw", raw(0x40)), (20, "mouse/raw", raw(0x80)), (30, "mouse/raw", raw(0x400, 65536 - 240))]
    assert described(read_inputs(tmp_path, *inputs)[0]) == [("buttondown", 8), ("buttonup", 8), ("wheel", 0, -2)]


def test_cursor_rests_where_the_first_state_says(tmp_path):
    state = {"x": LEFT + 5, "y": TOP + 6, "buttons": []}
    assert described(read_inputs(tmp_path, (10, "mouse/state", state), (20, "mouse", move(LEFT, TOP)))[0]) == [
        ("mousemove", 5, 6),
        ("mousemove", 0, 0),
    ]


def test_lost_release_is_found_in_the_states(tmp_path):
    events, repairs = read_inputs(
        tmp_path,
        (10, "keyboard", key(87)),
        (1000, "keyboard/state", {"buttons": [87]}),
        (2000, "keyboard/state", {"buttons": []}),
    )
    assert described(events) == [("keydown", 87), ("keyup", 87)]
    assert events[-1].ns == T0_NS + 2000 * MS
    assert repairs == {"key_changes_from_state": 1}


def test_lost_click_is_found_in_the_states_and_side_buttons_are_not_judged(tmp_path):
    state = {"x": LEFT, "y": TOP, "buttons": ["left"]}
    inputs = [(10, "mouse", click(LEFT, TOP, "x1")), (1000, "mouse/state", state)]
    events, repairs = read_inputs(tmp_path, *inputs)
    assert described(events)[1:] == [("buttondown", 8), ("buttondown", 1)]
    assert repairs == {"button_changes_from_state": 1}


def test_unknown_topics_are_kept(tmp_path):
    [event] = read_inputs(tmp_path, (10, "gamepad", {"a": 1}))[0]
    assert (event.kind, event.raw) == ("gamepad", '{"a": 1}')


def test_log_of_two_videos_is_refused(tmp_path):
    messages = [(T0_NS + i, "screen", screen_message("0.5.1", T0_NS, 0, f"{i}.mkv", SIZE_PX)) for i in range(2)]
    path = write_log(tmp_path, messages)
    with pytest.raises(RecordingError, match=r"log\.mcap: its screen messages must name one video, found 0\.mkv, 1"):
        video_of(path, read_screens(read_messages(path)).uris)


@pytest.mark.parametrize("uri", ["", "C:\\", "data:image/png;base64,AAAA"])
def test_log_that_names_no_file_is_refused(tmp_path, uri):
    with pytest.raises(RecordingError, match=r"must name one video, found none"):
        video_of(tmp_path / "log.mcap", {uri})


def test_folders_of_the_recording_machine_do_not_matter(tmp_path):
    (tmp_path / "a.mkv").touch()
    assert video_of(tmp_path / "b.mcap", {"C:\\Users\\me\\a.mkv"}) == tmp_path / "a.mkv"
    assert video_of(tmp_path / "a.mcap", {"renamed.mkv"}) == tmp_path / "a.mkv"


def test_cut_off_log_is_refused_with_a_remedy(tmp_path):
    path = write_owamcap(tmp_path, [])
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(RecordingError, match=r"play\.mcap: damaged or cut off .*mcap recover"):
        read(path)


def test_message_of_another_age_is_refused(tmp_path):
    path = write_log(tmp_path, [(2**64 - 1, "keyboard", key(87))])
    with pytest.raises(RecordingError, match=r"log\.mcap: damaged .*message 1 .*century"):
        read(path)


def test_message_without_a_field_is_named(tmp_path):
    path = write_log(tmp_path, [(T0_NS, "keyboard", {"event_type": "press"})])
    with pytest.raises(RecordingError, match=r"log\.mcap: message 1 \(keyboard\): .*vk"):
        read(path)


inputs = st.lists(
    st.tuples(
        st.integers(0, 250),
        st.one_of(
            st.tuples(
                st.just("keyboard"), st.builds(key, st.sampled_from([87, 65]), st.sampled_from(["press", "release"]))
            ),
            st.tuples(st.just("mouse"), st.builds(move, st.integers(90, 180), st.integers(190, 260))),
            st.tuples(
                st.just("mouse"),
                st.builds(click, st.integers(90, 180), st.just(210), st.sampled_from(["left", "x1"]), st.booleans()),
            ),
            st.tuples(
                st.just("mouse/raw"),
                st.builds(lambda x, y: {"last_x": x, "last_y": y}, st.integers(-9, 9), st.integers(-9, 9)),
            ),
        ),
    ),
    max_size=12,
)


@settings(max_examples=40, deadline=None)
@given(inputs=inputs, until_ms=st.integers(0, 260))
def test_events_come_to_what_the_messages_say(tmp_path_factory, inputs, until_ms):
    inputs = sorted(inputs, key=lambda each: each[0])
    messages = [(T0_NS - 1, "window", {"rect": [100, 200, 176, 254]})]
    messages += [(T0_NS + ms * MS, topic, content) for ms, (topic, content) in inputs]
    events, _ = read(write_log(tmp_path_factory.mktemp("log"), messages))
    keys, buttons, position, moved = set(), set(), None, [0, 0]
    for ms, (topic, content) in inputs:
        if ms >= until_ms:
            continue
        if topic == "keyboard":
            keys = keys | {content["vk"]} if content["event_type"] == "press" else keys - {content["vk"]}
        elif topic == "mouse":
            position = (content["x"] - 100 - 6, content["y"] - 200)
            if content["event_type"] == "click":
                bit = {"left": 1, "x1": 8}[content["button"]]
                buttons = buttons | {bit} if content["pressed"] else buttons - {bit}
        else:
            moved = [moved[0] + content["last_x"], moved[1] + content["last_y"]]
    result = replay(events, T0_NS + until_ms * MS)
    expected = {"keys": keys, "buttons": buttons, "position": position, "moved": moved, "wheel": [0, 0]}
    assert result == expected
