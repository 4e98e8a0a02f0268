"""`qwenvla-record`: records episodes of a player in one or more tasks, or any window; one folder per episode."""

import contextlib
import json
import signal
import sys
from dataclasses import dataclass
from pathlib import Path

import draccus
from draccus.utils import DraccusException
from tqdm import tqdm
from yaml import YAMLError

from lerobot_qwenvla.devices.desktop.support import NoDesktopError
from lerobot_qwenvla.miniworld.environment import FPS, MiniworldEnv
from lerobot_qwenvla.miniworld.tasks import task_names
from lerobot_qwenvla.miniworld.worlds import NoDisplayError, OpenGLMissingError, use_display
from lerobot_qwenvla.recorder.game_window import GameWindow
from lerobot_qwenvla.recorder.human import HUMAN, EpisodeDiscardedError, HumanPlayer, SessionEndedError
from lerobot_qwenvla.recorder.play import SCRIPTED, Player
from lerobot_qwenvla.recorder.record import record_episode
from lerobot_qwenvla.recorder.window_cli import WindowRecordConfig, record_window
from recordings_to_lerobot.recordings.find import META_FILE

# What the user can repair.
REPAIRABLE = (DraccusException, YAMLError, ValueError, OSError, OpenGLMissingError, NoDisplayError, NoDesktopError)


@dataclass
class RecordConfig:
    """Records episodes of Miniworld; episodes that are there already are skipped.

    With `--window` or `--region` it records the desktop instead: `qwenvla-record --window --help`.
    """

    # Folder for the episodes; it is made if it does not exist.
    output: Path
    # Who plays: `scripted`, or `human` in a window (mouse steers, w a s d walk, left button picks up, right
    # button drops; Space begins an episode, Backspace plays it again, Escape ends the session).
    player: str = SCRIPTED.name
    # Miniworld task, or several with commas between them, each recorded in a folder of its name.
    task: str = "OneRoom"
    # How many seeds to play, of each task.
    episodes: int = 150
    # Seed of the first episode; the others follow it.
    first_seed: int = 0
    # Width and height of the screen in pixels.
    canvas: int = 384
    # Whether to keep episodes that miss the goal, which are no examples to imitate.
    keep_failures: bool = False


def record(config: RecordConfig) -> str:
    """Record what is missing and say what was done.

    Raises:
        ValueError: Unknown task or player, a number out of range, or an existing episode that was recorded
            differently.
        NoDisplayError: A person wants to play where no window can be opened.
    """
    if config.episodes < 1:
        raise ValueError(f"--episodes must be at least 1, not {config.episodes}.")
    if config.first_seed < 0:
        raise ValueError(f"--first_seed must not be negative, but is {config.first_seed}.")
    if config.player not in (SCRIPTED.name, HUMAN):
        raise ValueError(f"--player must be {SCRIPTED.name} or {HUMAN}, not {config.player!r}.")
    tasks = task_names(config.task)
    seeds = range(config.first_seed, config.first_seed + config.episodes)
    # Several tasks have the same seeds, and a folder each.
    parents = {task: config.output / task if len(tasks) > 1 else config.output for task in tasks}
    episodes = [_Episode(task, seed, parents[task] / f"episode_{seed:06d}") for task in tasks for seed in seeds]
    missing = [episode for episode in episodes if not _is_recorded(episode, config.canvas)]
    by_hand = config.player == HUMAN
    if by_hand:
        use_display()
    kept_steps, failed = {}, []
    with contextlib.ExitStack() as stack:
        env = MiniworldEnv(tasks[0], config.canvas, config.canvas)
        human = HumanPlayer(stack.enter_context(GameWindow(env.canvas_px))) if by_hand else None
        player = human.player if human else SCRIPTED
        stack.callback(lambda: env.close())  # the last one
        stack.enter_context(contextlib.suppress(SessionEndedError))
        for episode in tqdm(missing, desc="Recording", unit="episode"):
            if episode.task != env.task:
                env.close()
                env = MiniworldEnv(episode.task, config.canvas, config.canvas)
            n_steps, success = _record_at_last(env, episode, config.keep_failures, player)
            if not success:
                failed.append(episode)
            if episode.folder.exists():
                kept_steps[episode] = n_steps
            if human:
                human.news = "Reached the goal. " if success else "Missed the goal. "
    return _summary(config, len(episodes) - len(missing), failed, kept_steps)


@dataclass(frozen=True)
class _Episode:
    task: str
    seed: int
    folder: Path


def _record_at_last(env: MiniworldEnv, episode: _Episode, keep_failure: bool, player: Player) -> tuple[int, bool]:
    while True:
        with contextlib.suppress(EpisodeDiscardedError):
            return record_episode(env, episode.folder, episode.seed, keep_failure, player)


def _is_recorded(episode: _Episode, canvas: int) -> bool:
    folder = episode.folder
    if not folder.exists():
        return False
    try:
        meta = json.loads((folder / META_FILE).read_text(encoding="utf-8"))
        recorded = (meta["env_task"], meta["canvas_w"], meta["canvas_h"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{folder} is not an episode of this recorder; choose another --output.") from error
    wanted = (episode.task, canvas, canvas)
    if recorded != wanted:
        raise ValueError(
            f"{folder} holds task {recorded[0]} at {recorded[1]}x{recorded[2]}, "
            f"not {wanted[0]} at {wanted[1]}x{wanted[2]}; choose another --output."
        )
    return True


def _summary(config: RecordConfig, n_skipped: int, failed: list[_Episode], kept_steps: dict[_Episode, int]) -> str:
    minutes = sum(kept_steps.values()) / FPS / 60
    lines = [f"Recorded {len(kept_steps)} episodes, {minutes:.1f} minutes of play, in {config.output}."]
    if n_skipped:
        lines.append(f"{n_skipped} were there already.")
    if failed:
        fate = "were kept" if config.keep_failures else "were not kept"
        seeds = ", ".join(f"{episode.task} {episode.seed}" for episode in failed)
        lines.append(f"{len(failed)} missed the goal and {fate}: seeds {seeds}.")
    return "\n".join(lines)


def _with_underscores(argument: str) -> str:
    """`--first-seed=1-2` → `--first_seed=1-2`: both spellings of an option are accepted."""
    name, equals, value = argument.partition("=")
    return "--" + name[2:].replace("-", "_") + equals + value if name.startswith("--") else argument


def main(argv: list[str] | None = None) -> int:
    """Exit code 0, or 2 after a one-line error for what the user can repair."""
    # A polite kill shall clean up as Ctrl-C does.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    arguments = [_with_underscores(argument) for argument in (sys.argv[1:] if argv is None else argv)]
    try:
        if any(argument.startswith(("--window", "--region")) for argument in arguments):
            print(record_window(draccus.parse(WindowRecordConfig, args=arguments, prog="qwenvla-record --window")))
        else:
            print(record(draccus.parse(RecordConfig, args=arguments, prog="qwenvla-record")))
    except REPAIRABLE as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("Interrupted: finished episodes are complete, the same command goes on.", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
