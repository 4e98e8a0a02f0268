import pytest

from lerobot_qwenvla.devices.desktop.echoes import LONGEST_WAY_S, STEADY_PX, Echoes


@pytest.fixture
def clock():
    return type("Clock", (), {"s": 3.0, "__call__": lambda self: self.s})()


@pytest.fixture
def echoes(clock):
    return Echoes(clock)


def test_what_was_sent_comes_back_once(echoes):
    echoes.expect_press("button.left", True)
    echoes.expect_press("button.left", False)
    assert echoes.is_own_press("button.left", True)
    assert echoes.is_own_press("button.left", False)
    assert not echoes.is_own_press("button.left", True)


def test_a_key_that_is_held_repeats_itself_until_its_release_is_heard(echoes):
    echoes.expect_press("key.w", True)
    assert all(echoes.is_own_press("key.w", True) for _ in range(5))
    echoes.expect_press("key.w", False)
    assert echoes.is_own_press("key.w", True)
    assert echoes.is_own_press("key.w", False)
    assert not echoes.is_own_press("key.w", True)


def test_another_key_is_a_persons(echoes):
    echoes.expect_press("key.w", True)
    assert not echoes.is_own_press("key.a", True)


def test_what_never_came_back_is_forgotten(echoes, clock):
    echoes.expect_press("key.w", True)
    echoes.expect_press("key.w", False)
    clock.s += LONGEST_WAY_S + 0.1
    assert not echoes.is_own_press("key.w", True)


def test_a_bump_is_no_hand_but_a_way_is(echoes):
    echoes.expect_move((100, 100))
    assert echoes.is_own_move((100, 100))
    assert not echoes.is_own_move((101, 100))
    assert echoes.is_bump((100 + STEADY_PX, 100))
    assert not echoes.is_bump((100 + STEADY_PX + 1, 100))


def test_a_mouse_that_was_never_sent_anywhere_is_a_persons(echoes):
    assert not echoes.is_bump((0, 0))


def test_moves_come_back_in_any_number_of_steps(echoes):
    for x in (100, 200, 300):
        echoes.expect_move((x, 50))
    assert [echoes.is_own_move((x, 50)) for x in (100, 200, 300)] == [True] * 3


def test_a_hand_that_moves_bit_by_bit_is_noticed(echoes):
    echoes.expect_move((100, 100))
    assert [echoes.is_bump((100 + x, 100)) for x in (0, 3, 6)] == [True, True, False]
