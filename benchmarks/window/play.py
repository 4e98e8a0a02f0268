"""A policy plays as a person does: it sees a game's window and moves mouse and keyboard of the (virtual) X server.

    python benchmarks/window/play.py CHECKPOINT [--task=OneRoom] [--canvas=128] [--episodes=20]

The game is `qwenvla-record --player=human`, the player `lerobot-rollout --robot.type=window`; a hand on the space bar
begins each episode, and the game does not wait. Beside it `lerobot-eval` plays as many episodes in a world that does.
Prints one JSON line: the share of successes of both, with 95 % intervals, and their ratio.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from lerobot_qwenvla.evaluation.success import read_successes, success_rate
from lerobot_qwenvla.miniworld.tasks import find_task

sys.path.append(str(Path(__file__).parents[2] / "tests"))
from virtual_screen import Screen, virtual_desktop, wait_until

BIN = Path(sys.executable).parent
FIRST_SEED = 200_000
# In the title of the game's window.
TITLE = "(seed "


@contextmanager
def running(*command: str | Path, output: IO[str] | int) -> Iterator[subprocess.Popen]:
    """A process that does not outlive this block, however it ends."""
    process = subprocess.Popen(command, stdout=output, stderr=output)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def in_the_window(screen: Screen, folder: Path, options: argparse.Namespace) -> list[bool]:
    """Successes of the episodes that were played by mouse and keyboard."""
    recordings = folder / "recordings"
    game_command = [
        BIN / "qwenvla-record", "--player=human", "--keep_failures=true", f"--task={options.task}",
        f"--canvas={options.canvas}", f"--episodes={options.episodes}", f"--first_seed={FIRST_SEED}",
        f"--output={recordings}",
    ]  # fmt: skip
    player_command = [
        BIN / "lerobot-rollout", "--robot.type=window", f"--robot.window={TITLE}", "--robot.interrupt=false",
        f"--robot.canvas_w={options.canvas}", f"--robot.canvas_h={options.canvas}",
        f"--policy.path={options.checkpoint}", f"--task={find_task(options.task).words[0]}", "--fps=10",
        "--duration=100000",
    ]  # fmt: skip
    game_log, player_log = folder / "game.log", folder / "rollout.log"
    with game_log.open("w") as log, running(*game_command, output=log) as game:
        wait_until(lambda: TITLE in title_of(screen))
        with player_log.open("w") as log, running(*player_command, output=log) as player:
            wait_until(lambda: "Playing" in player_log.read_text())
            while game.poll() is None:
                assert player.poll() is None, player_log.read_text()
                if "Tap Space" in title_of(screen):
                    screen.do("key space")
                time.sleep(0.5)  # asking takes time from the game
    metas = sorted(recordings.glob("*/meta.json"))
    if len(metas) != options.episodes:
        sys.exit(f"the game ended after {len(metas)} of {options.episodes} episodes: did the policy press Escape?")
    return [json.loads(meta.read_text())["success"] for meta in metas]


def title_of(screen: Screen) -> str:
    return screen.ask("search --onlyvisible --name seed getwindowname")


def where_the_world_waits(folder: Path, options: argparse.Namespace) -> list[bool]:
    subprocess.run(
        [
            BIN / "lerobot-eval", f"--policy.path={options.checkpoint}", "--env.type=miniworld",
            f"--env.task={options.task}", f"--env.canvas_w={options.canvas}", f"--env.canvas_h={options.canvas}",
            f"--eval.n_episodes={options.episodes}", "--eval.batch_size=1", f"--seed={FIRST_SEED}",
            f"--output_dir={folder / 'eval'}",
        ],
        check=True, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    return read_successes(folder / "eval")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--task", default="OneRoom")
    parser.add_argument("--canvas", type=int, default=128)
    parser.add_argument("--episodes", type=int, default=20)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with virtual_desktop(folder) as screen:
            played = success_rate(in_the_window(screen, folder, options))
        waited = success_rate(where_the_world_waits(folder, options))
    ratio = played["success"] / waited["success"] if waited["success"] else None
    print(json.dumps({"window": played, "world_waits": waited, "ratio": ratio, "episodes": options.episodes}))


if __name__ == "__main__":
    main()
