import pytest

from lerobot_qwenvla.miniworld.tasks import find_task


def test_one_room_is_about_the_red_box():
    assert find_task("OneRoom").instruction == "go to the red box"


def test_unknown_task_lists_the_known_ones():
    with pytest.raises(ValueError, match=r"'NoRoom'.*OneRoom"):
        find_task("NoRoom")
