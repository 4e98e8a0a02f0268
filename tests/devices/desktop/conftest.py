"""A desktop with a game in a window."""

import contextlib

import pytest

from tests.virtual_screen import Game, virtual_desktop


@pytest.fixture(scope="module")
def screen(tmp_path_factory):
    with virtual_desktop(tmp_path_factory.mktemp("screen")) as screen:
        yield screen


@pytest.fixture(scope="module")
def running_game(screen):
    with contextlib.closing(Game()) as game:
        yield game


@pytest.fixture
def game(running_game):
    running_game.forget()
    return running_game
