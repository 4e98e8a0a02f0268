import pytest

from lerobot_qwenvla.miniworld.tasks import NEW_PAIRS, NEW_WORDS, TASKS, find_task


def test_one_room_is_about_the_red_box():
    assert find_task("OneRoom").words == ("go to the red box",)


@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
def test_words_to_test_on_are_never_recorded(task):
    assert task.words and task.new_words
    assert not set(task.words) & set(task.new_words)
    assert all(("{goal}" in sentence) == task.names_goal for sentence in (*task.words, *task.new_words))


def test_unknown_task_lists_the_known_ones():
    with pytest.raises(ValueError, match=r"'NoRoom'.*GoToObject, OneRoom"):
        find_task("NoRoom")


def test_unknown_variation_lists_those_of_the_task():
    assert find_task("GoToObject", NEW_PAIRS)
    with pytest.raises(ValueError, match=r"'new_pairs' of OneRoom.*recorded, new_words"):
        find_task("OneRoom", NEW_PAIRS)
    with pytest.raises(ValueError, match="'upside_down' of GoToObject"):
        find_task("GoToObject", "upside_down")
    assert find_task("OneRoom", NEW_WORDS)
