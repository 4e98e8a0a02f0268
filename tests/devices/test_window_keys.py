import pytest

from lerobot_qwenvla.devices.window_keys import code_of_symbol
from recordings_to_lerobot.actions.vocabulary import KEY_CODES

SYMBOLS = {
    **{name: [name.upper()] for name in KEY_CODES},
    **{digit: [f"_{digit}"] for digit in "1234"},
    "shift": ["LSHIFT", "RSHIFT"],
    "ctrl": ["LCTRL", "RCTRL"],
    "enter": ["ENTER", "RETURN", "NUM_ENTER"],
}


@pytest.mark.parametrize("name", KEY_CODES)
def test_every_key_of_the_vocabulary_has_its_first_code(name):
    assert {code_of_symbol(symbol) for symbol in SYMBOLS[name]} == {KEY_CODES[name][0]}


@pytest.mark.parametrize(("symbol", "code"), [("Z", 0x5A), ("_9", 0x39), ("F1", 0x70), ("F24", 0x87)])
def test_other_letters_digits_and_function_keys_have_theirs(symbol, code):
    assert code_of_symbol(symbol) == code


@pytest.mark.parametrize("symbol", ["LALT", "NUM_4", "F25", "F0", "FIND", "COMMA", "user_key(5c)", "4711", "F²"])
def test_keys_without_an_obvious_code_are_left_out(symbol):
    assert code_of_symbol(symbol) is None
