import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recordings_to_lerobot.importers.owl import InputReader, read_metadata, read_rows, seconds_to_ns
from recordings_to_lerobot.recordings.validation import RecordingError
from tests.recordings_to_lerobot.importers.foreign_recordings import MS, T0_NS, write_owl
from tests.recordings_to_lerobot.importers.replay import replay


def read(folder):
    reader = InputReader()
    return list(reader.events(read_rows(folder / "inputs.csv"))), reader


def described(events):
    return [(event.kind, *(value for value in event[3:-1] if value is not None)) for event in events]


ROWS = [
    (-20, "START", {"inputs": {"keyboard": [16], "mouse": [1], "gamepads": {}}}),
    (0, "VIDEO_START", []),
    (10, "KEYBOARD", [87, True]),
    (20, "MOUSE_MOVE", [3, -4]),
    (25, "MOUSE_BUTTON", [5, True]),
    (30, "SCROLL", [-120]),
    (35, "GAMEPAD_AXIS", [1, 0.5, "XInput:0"]),
    (40, "KEYBOARD", [87, False]),
    (300, "END", {"inputs": {"keyboard": [], "mouse": []}}),
]


@pytest.mark.parametrize("quoting", ["doubled", "single", "none"])
def test_arguments_hold_commas_and_quotes_of_any_kind(tmp_path, quoting):
    events, reader = read(write_owl(tmp_path, ROWS, quoting=quoting))
    assert described(events) == [
        ("keydown", 16),
        ("buttondown", 1),
        ("keydown", 87),
        ("mousedelta", 3, -4),
        ("buttondown", 8),
        ("wheel", 0, -1),
        ("GAMEPAD_AXIS",),
        ("keyup", 87),
    ]
    assert [event.raw for event in events if event.raw] == ['[1,0.5,"XInput:0"]']
    assert reader.video_start_ns == T0_NS
    assert not reader.repairs


def test_times_are_those_of_the_file_to_the_nanosecond():
    assert seconds_to_ns("1767633347.5859811") == 1_767_633_347_585_981_100


@pytest.mark.parametrize("text", ["", "soon", "NaN", "Infinity", "1e30", "9999999999"])
def test_what_is_no_time_is_refused(text):
    with pytest.raises(ValueError, match="time"):
        seconds_to_ns(text)


def test_without_video_start_the_video_begins_with_the_recorder(tmp_path):
    _, reader = read(write_owl(tmp_path, [(-20, "START", []), (10, "KEYBOARD", [87, True])]))
    assert reader.video_start_ns == T0_NS - 20 * MS
    assert reader.repairs == {"video_start_from_recorder_start": 1}


@pytest.mark.parametrize(
    "line", ["1.5,KEYBOARD", "1.5,KEYBOARD,[87]", "1.5,KEYBOARD,[870,true]", "x,KEYBOARD,[87,true]", "1.5,SCROLL,up"]
)
def test_bad_row_is_named(tmp_path, line):
    (tmp_path / "inputs.csv").write_text(f"timestamp,event_type,event_args\n{line}\n")
    with pytest.raises(RecordingError, match=r"inputs\.csv:2: .*re-export"):
        read(tmp_path)


def test_metadata_may_be_missing_but_not_broken(tmp_path):
    assert read_metadata(tmp_path / "metadata.json") == {}
    for content in ("{", "[]", '{"a": NaN}', '{"a": "\\ud800"}'):
        (tmp_path / "metadata.json").write_text(content)
        with pytest.raises(RecordingError, match=r"metadata\.json: .*remove the file"):
            read_metadata(tmp_path / "metadata.json")


rows = st.lists(
    st.tuples(
        st.integers(0, 250),
        st.one_of(
            st.tuples(st.just("KEYBOARD"), st.tuples(st.sampled_from([87, 65]), st.booleans())),
            st.tuples(st.just("MOUSE_BUTTON"), st.tuples(st.sampled_from([1, 2, 6]), st.booleans())),
            st.tuples(st.just("MOUSE_MOVE"), st.tuples(st.integers(-99, 99), st.integers(-99, 99))),
            st.tuples(st.just("SCROLL"), st.tuples(st.sampled_from([120, -120, 60]))),
        ),
    ),
    max_size=12,
)


@settings(max_examples=40, deadline=None)
@given(rows=rows, held=st.frozensets(st.sampled_from([87, 65])), until_ms=st.integers(0, 260))
def test_events_come_to_what_the_rows_say(tmp_path_factory, rows, held, until_ms):
    folder = tmp_path_factory.mktemp("owl")
    rows = sorted(rows, key=lambda row: row[0])
    lines = [f'{T0_NS / 1e9 - 1:.6f},START,"{{""inputs"":{{""keyboard"":{sorted(held)},""mouse"":[]}}}}"']
    for ms, (kind, args) in rows:
        text = str(list(args)).replace("True", "true").replace("False", "false")
        lines.append(f'{(T0_NS + ms * MS) / 1e9:.6f},{kind},"{text}"')
    (folder / "inputs.csv").write_text("\n".join(lines))
    keys, buttons, moved, wheel = set(held), set(), [0, 0], 0
    for ms, (kind, args) in rows:
        if ms >= until_ms:
            continue
        if kind == "KEYBOARD":
            keys = keys | {args[0]} if args[1] else keys - {args[0]}
        elif kind == "MOUSE_BUTTON":
            bit = {1: 1, 2: 2, 6: 16}[args[0]]
            buttons = buttons | {bit} if args[1] else buttons - {bit}
        elif kind == "MOUSE_MOVE":
            moved = [moved[0] + args[0], moved[1] + args[1]]
        else:
            wheel += args[0] / 120
    events, _ = read(folder)
    # Seconds are written to the microsecond.
    result = replay(events, T0_NS + until_ms * MS - 1000)
    expected = {"keys": keys, "buttons": buttons, "position": None, "moved": moved, "wheel": [0, wheel]}
    assert result == expected
