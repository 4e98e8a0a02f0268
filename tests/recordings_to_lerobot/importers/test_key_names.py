import pytest

from recordings_to_lerobot.actions.vocabulary import KEY_OF_CODE
from recordings_to_lerobot.importers.key_names import java_key_code, pynput_key_code


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("key.keyboard.w", "w"),
        ("key.keyboard.4", "4"),
        ("key.keyboard.left.shift", "shift"),
        ("key.keyboard.right.control", "ctrl"),
        ("key.keyboard.space", "space"),
        ("key.keyboard.up", "up"),
        ("key.keyboard.escape", "escape"),
    ],
)
def test_names_of_minecraft_are_keys_of_the_vocabulary(name, key):
    assert KEY_OF_CODE[java_key_code(name)] == key


@pytest.mark.parametrize(
    ("name", "key"), [("a", "a"), ("W", "w"), ("!", "1"), ("shift_r", "shift"), ("ctrl_l", "ctrl"), ("esc", "escape")]
)
def test_names_of_pynput_are_keys_of_the_vocabulary(name, key):
    assert KEY_OF_CODE[pynput_key_code(name)] == key


def test_keys_outside_of_the_vocabulary_have_their_codes():
    assert java_key_code("key.keyboard.9") == ord("9")
    assert java_key_code("key.keyboard.f3") == pynput_key_code("f3") == 0x72
    assert pynput_key_code("cmd") == 0x5B


@pytest.mark.parametrize("name", ["key.keyboard.world.1", "f25", "", "ö", "key.keyboard."])
def test_unknown_names_have_no_code(name):
    assert java_key_code(name) is None
    assert pynput_key_code(name) is None
