from rich.console import Console

from lerobot_qwenvla.evaluation.tables import channel_table, comparison_table

MEASURED = {
    "mse_normalized": 0.0125, "mse": 0.00251, "accuracy": None, "transition_f1": 0.434, "squared_jerk": 0.0533,
    "squared_jerk_true": 0.033, "presses_per_second": 0.39, "presses_per_second_true": 0.21,
}  # fmt: skip


def printed(table) -> str:
    console = Console(width=80)
    with console.capture() as capture:
        console.print(table)
    return capture.get()


def test_every_player_has_a_row_a_window_and_fits_a_terminal():
    players = {player: {"executed": MEASURED, "chunk": MEASURED} for player in ("policy", "other instruction")}
    text = printed(comparison_table(players, "Fifteen episodes", 4, 16))
    assert text.count("other instruction") == text.count("recorded") == 2
    assert "executed: 4" in text and "chunk: 16" in text
    row = next(line for line in text.splitlines() if "other instruction" in line)
    assert [cell.strip() for cell in row.split("│")[2:-1]] == ["0.0125", "0.00251", "–", "0.43", "0.053", "0.39"]
    assert "…" not in text


def test_channels_that_are_pressed_have_a_row():
    pressed = {"accuracy": 0.9, "pressed": 0.25, "transition_f1": None, "best_threshold": {"value": 0.4, "f1": 0.8}}
    text = printed(channel_table({"mouse.x": {"mse": 0.1}, "key.w": pressed, "key.a": {"best_threshold": None}}))
    row = next(line for line in text.splitlines() if "key.w" in line)
    assert [cell.strip() for cell in row.split("│")[2:-1]] == ["25.0%", "90.0%", "–", "0.40", "0.80"]
    assert "key.a" not in text and "mouse.x" not in text
    assert channel_table({"key.a": {"best_threshold": None}}) is None
