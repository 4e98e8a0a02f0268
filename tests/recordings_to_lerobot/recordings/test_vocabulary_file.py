import pytest

from recordings_to_lerobot.recordings.validation import RecordingError
from recordings_to_lerobot.recordings.vocabulary_file import read_key_codes


def read(tmp_path, text: str):
    path = tmp_path / "keys.yaml"
    path.write_text(text)
    return read_key_codes(path)


def test_codes_may_be_single_or_several_and_keep_their_order(tmp_path):
    assert list(read(tmp_path, "w: 0x57\njump: [32, 0x58]\na: 65\n").items()) == [
        ("w", (0x57,)),
        ("jump", (32, 0x58)),
        ("a", (65,)),
    ]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("w: 300", "300"),
        ("w: [w]", "'w'"),
        ("w: []", "[]"),
        ("[1, 2]", "[1, 2]"),
        ("", "empty"),
        ("null", "None"),
        ("{}", "{}"),
        ("a key: 1", "'a key'"),
        ("w: 1\nx: [2, 1]", "code 1 belongs to `w` and `x`; give it to one"),
        ("w: [1", "write it as UTF-8 YAML"),
    ],
)
def test_bad_vocabulary_is_refused_with_the_reason(tmp_path, text, complaint):
    with pytest.raises(RecordingError, match=r"keys\.yaml: ") as caught:
        read(tmp_path, text)
    assert complaint in str(caught.value)


def test_missing_vocabulary_is_refused(tmp_path):
    with pytest.raises(RecordingError, match=r"nowhere\.yaml: missing"):
        read_key_codes(tmp_path / "nowhere.yaml")
