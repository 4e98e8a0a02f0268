import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recordings_to_lerobot.importers.vpt import STEP_NS, InputReader, Step, read_steps
from recordings_to_lerobot.recordings.validation import RecordingError
from tests.recordings_to_lerobot.importers.foreign_recordings import vpt_step
from tests.recordings_to_lerobot.importers.replay import replay

LINES = 360  # of the video: half of what menus are laid out for


def read(*steps):
    reader = InputReader(LINES)
    return list(reader.events(Step.model_validate(step) for step in steps)), dict(+reader.repairs)


def held(events, step, what="keys"):
    """What the frame of a step shows as done: held at its start, or pressed at it."""
    return replay(events, step * STEP_NS + 1)[what]


def test_step_has_what_it_reports_and_the_next_has_not():
    events, _ = read(vpt_step(), vpt_step(keys=("key.keyboard.w",)), vpt_step())
    assert [held(events, step) for step in range(3)] == [set(), {0x57}, set()]
    assert replay(events, STEP_NS)["keys"] == set()
    assert replay(events, 2 * STEP_NS)["keys"] == set()


def test_key_tapped_within_a_step_is_not_lost():
    events, _ = read(vpt_step(new_keys=("key.keyboard.e",)), vpt_step())
    assert [held(events, step) for step in range(2)] == [{0x45}, set()]


def test_buttons_are_left_right_and_middle():
    events, _ = read(vpt_step(buttons=(0,)), vpt_step(buttons=(1,)), vpt_step(buttons=(2,)))
    assert [held(events, step, "buttons") for step in range(3)] == [{1}, {2}, {4}]


def test_attack_that_is_stuck_from_the_start_counts_from_when_it_is_pressed():
    steps = [vpt_step(buttons=(0,), new_buttons=(0,)), vpt_step(buttons=(0,)), vpt_step()]
    events, repairs = read(*steps, vpt_step(buttons=(0,), new_buttons=(0,)), vpt_step(buttons=(0,)))
    assert [held(events, step, "buttons") for step in range(5)] == [set(), set(), set(), {1}, {1}]
    assert repairs == {"stuck_attack_steps": 2}


def test_menu_coordinates_are_those_of_720_lines():
    events, _ = read(vpt_step(xy=(640, 360)), vpt_step(xy=(640, 360), is_gui_open=True))
    assert held(events, 0, "position") is None
    # The cursor is drawn where it was when the frame was taken.
    assert replay(events, STEP_NS)["position"] == (320, 180)


def test_hotbar_that_no_key_changes_was_the_wheel():
    steps = [vpt_step(hotbar=0), vpt_step(hotbar=8), vpt_step(hotbar=1), vpt_step(hotbar=3, keys=("key.keyboard.4",))]
    events, repairs = read(*steps)
    assert [held(events, step, "wheel")[1] for step in range(4)] == [0, 1, -1, -1]
    assert repairs == {"wheel_from_hotbar": 2}


def test_slot_changed_by_a_key_of_the_step_before_or_by_picking_an_item_is_no_wheel():
    assert not read(vpt_step(keys=("key.keyboard.4",)), vpt_step(hotbar=3))[1]
    assert not read(vpt_step(buttons=(2,)), vpt_step(hotbar=3))[1]


def test_slot_at_the_start_is_no_change():
    assert read(vpt_step(hotbar=5), vpt_step(hotbar=5)) == ([], {})


def test_unknown_keys_are_kept():
    events, _ = read(vpt_step(keys=("key.keyboard.world.1",), new_keys=("key.keyboard.world.1",)))
    assert [event.kind for event in events] == ["key.keyboard.world.1"]


@pytest.mark.parametrize("line", ["", "{}", "{", '{"mouse": 1}', '{"hotbar": 9}'])
def test_bad_line_is_named(tmp_path, line):
    (tmp_path / "a.jsonl").write_text(f"{line}\n")
    with pytest.raises(RecordingError, match=r"a\.jsonl:1: .*re-export"):
        list(read_steps(tmp_path / "a.jsonl"))


names = st.sampled_from(["key.keyboard.w", "key.keyboard.left.shift", "key.keyboard.9"])
steps = st.lists(
    st.builds(
        vpt_step,
        keys=st.lists(names, max_size=3).map(tuple),
        buttons=st.lists(st.sampled_from([0, 1, 2]), max_size=3).map(tuple),
        new_buttons=st.sampled_from([(), (0,), (0, 1)]),
        xy=st.tuples(st.integers(0, 1280), st.integers(0, 720)),
        dxy=st.tuples(st.integers(-50, 50), st.integers(-50, 50)),
        is_gui_open=st.booleans(),
    ),
    min_size=1,
    max_size=8,
)


@settings(max_examples=80, deadline=None)
@given(steps=steps, data=st.data())
def test_events_come_to_what_the_steps_say(steps, data):
    events, _ = read(*steps)
    index = data.draw(st.integers(0, len(steps) - 1))
    step = steps[index]
    codes = {"key.keyboard.w": 0x57, "key.keyboard.left.shift": 0xA0, "key.keyboard.9": 0x39}
    buttons = {*step["mouse"]["buttons"], *step["mouse"]["newButtons"]}
    is_stuck = steps[0]["mouse"]["newButtons"] == [0] and not any(
        0 in each["mouse"]["newButtons"] for each in steps[1 : index + 1]
    )
    shown = [each["mouse"] for each in steps[: index + 1] if each["isGuiOpen"]]
    during = replay(events, index * STEP_NS + 1)
    assert during["keys"] == {codes[name] for name in step["keyboard"]["keys"]}
    assert during["buttons"] == {{0: 1, 1: 2, 2: 4}[button] for button in buttons - ({0} if is_stuck else set())}
    assert during["position"] == ((shown[-1]["x"] / 2, shown[-1]["y"] / 2) if shown else None)
    assert during["moved"] == [sum(each["mouse"][axis] for each in steps[: index + 1]) for axis in ("dx", "dy")]
    assert replay(events, index * STEP_NS)["moved"] == [
        sum(each["mouse"][axis] for each in steps[:index]) for axis in ("dx", "dy")
    ]
