from lerobot_qwenvla.demo.summary import success_table


def test_table_says_who_reached_the_goal_how_often():
    summary = {
        "eval_seeds": [1, 2],
        "players": {"policy": "QwenVLA", "random": "random actions"},
        "success": {"policy": 1.0, "random": 0.5},
        "success_interval_95": {"policy": (0.34, 1.0), "random": (0.09, 0.91)},
    }
    head, policy, random = success_table(summary).splitlines()
    assert "2 seeds" in head
    assert policy.split() == ["QwenVLA", "100%", "34%–100%"]
    assert random.split() == ["random", "actions", "50%", "9%–91%"]
