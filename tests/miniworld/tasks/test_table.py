import pytest

from lerobot_qwenvla.miniworld.tasks import NEW_PAIRS, NEW_WORDS, TASKS, find_task, task_names


@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
def test_words_to_test_on_are_never_recorded(task):
    assert len(task.words) >= 3 and len(task.new_words) >= 2
    assert not set(task.words) & set(task.new_words)
    assert all(("{goal}" in sentence) == task.names_goal for sentence in (*task.words, *task.new_words))


def test_unknown_task_lists_the_known_ones():
    with pytest.raises(ValueError, match=r"'NoRoom'.*FourRooms, GoToObject, Hallway, OneRoom"):
        find_task("NoRoom")


def test_unknown_variation_lists_those_of_the_task():
    assert find_task("GoToObject", NEW_PAIRS)
    with pytest.raises(ValueError, match=r"'new_pairs' of OneRoom.*recorded, new_words"):
        find_task("OneRoom", NEW_PAIRS)
    with pytest.raises(ValueError, match="'upside_down' of GoToObject"):
        find_task("GoToObject", "upside_down")
    assert find_task("OneRoom", NEW_WORDS)


def test_several_tasks_are_listed_with_commas():
    assert task_names("OneRoom, TMaze") == ["OneRoom", "TMaze"]
    with pytest.raises(ValueError, match="OneRoom comes twice"):
        task_names("OneRoom,TMaze,OneRoom")
    with pytest.raises(ValueError, match="Unknown Miniworld task ''"):
        task_names("OneRoom,")
    with pytest.raises(ValueError, match="'new_pairs' of TMaze"):
        task_names("GoToObject,TMaze", NEW_PAIRS)
