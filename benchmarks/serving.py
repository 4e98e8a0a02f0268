"""The policy server with several clients at once against the same clients one after the other.

    python benchmarks/serving.py [--clients=8] [--requests=200] [--turns=5] [--picture=384] [--task=OneRoom]

A server of its own, with a small untrained policy; clients that send an observation every step, every few steps, in
bursts, and again and again at the same step. The two ways alternate; every answer of the one is compared with the
same of the other. Prints one JSON line: the ratio of times (median over the turns), the largest difference between
actions, the server's own work on a request, part by part, in milliseconds, its memory, and what the similarity filter
and LeRobot's own would have skipped of what the scripted player sees in Miniworld.
"""

import argparse
import json
import pickle
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median

import numpy as np
import psutil
from lerobot.async_inference.helpers import TimedObservation, observations_similar

from lerobot_qwenvla.miniworld.environment import MiniworldEnv
from lerobot_qwenvla.recorder.play import SCRIPTED, play_episode
from lerobot_qwenvla.serving.engine import Engine
from lerobot_qwenvla.serving.server import PolicyServerConfig
from lerobot_qwenvla.serving.similarity import difference
from lerobot_qwenvla.serving.wire.messages import Observation, read_observation, read_setup, write_actions

sys.path.append(str(Path(__file__).parents[1] / "tests" / "serving"))
from clients import Client, as_array, features, setup, start_server
from small_policy import NAMES, load_config, save_policy

THRESHOLDS = (0.01, 0.02, 0.05, 0.1)


def pattern(kind: int, requests: int) -> list[list[int]]:
    """The timesteps of the observations before each of a client's requests."""
    return [
        [[step] for step in range(requests)],
        [[7 * step] for step in range(requests)],
        [list(range(5 * step, 5 * step + 5)) for step in range(requests)],
        [[step // 4] for step in range(requests)],
    ][kind % 4]


def observe(number: int, timestep: int, picture_px: int) -> dict:
    """The same for the same client and step."""
    rng = np.random.default_rng([number, timestep])
    blocks = rng.integers(0, 255, (picture_px // 32, picture_px // 32, 3), dtype=np.uint8)
    state = dict(zip(NAMES, rng.uniform(-1, 1, len(NAMES)).tolist(), strict=True))
    return {**state, "screen": blocks.repeat(32, axis=0).repeat(32, axis=1), "task": f"go to box {number % 3}"}


def play(address: str, number: int, requests: int, picture_px: int) -> np.ndarray:
    """One client's episode.  # (requests, chunk, A)"""
    answers = []
    with Client(address) as client:
        client.start(features(NAMES, (picture_px, picture_px, 3)))
        for steps in pattern(number, requests):
            for step in steps:
                client.show(step, observe(number, step, picture_px), must_go=True)
            chunk = client.actions()
            assert chunk[0].get_timestep() == steps[-1] + 1
            answers.append(as_array(chunk))
    return np.stack(answers)


def milliseconds(work: Callable[[], object], repeats: int = 50) -> float:
    times_s = []
    for _ in range(repeats):
        start_s = time.perf_counter()
        work()
        times_s.append(time.perf_counter() - start_s)
    return round(1000 * median(times_s), 3)


def own_work(checkpoint: Path, picture_px: int) -> dict[str, float]:
    """What the server does with a request besides deciding; its sum as `all`."""
    engine = Engine.load(str(checkpoint), load_config(checkpoint))
    declared = setup(features(NAMES, (picture_px, picture_px, 3)))
    known = read_setup(declared, engine.policy.config, engine.policy.backbone.token_grid, "")
    data = pickle.dumps(TimedObservation(1.0, 0, observe(0, 0, picture_px)))
    seen = read_observation(data, known)
    steps = iter(range(10**6))
    actions = np.zeros((50, len(NAMES)), np.float32)
    parts = {
        "decode": milliseconds(lambda: read_observation(data, known)),
        "bookkeeping": milliseconds(
            lambda: engine.see(0, Observation(next(steps), 0.0, False, "go", seen.images, seen.state))
        ),
        "filter": milliseconds(lambda: difference(seen, seen)),
        "encode": milliseconds(lambda: write_actions(actions, 0, 0.0, 10)),
    }
    return {**parts, "all": round(sum(parts.values()), 3)}


def player_sees(task: str, seeds: range, picture_px: int) -> Iterator[list[TimedObservation]]:
    """Of each episode what a client would send that sends every step."""
    env = MiniworldEnv(task, picture_px, picture_px)
    for seed in seeds:
        episode, held = [], np.zeros(len(NAMES))
        for step in play_episode(env, SCRIPTED, seed):
            state = dict(zip(NAMES, held.tolist(), strict=True))
            episode.append(TimedObservation(0.0, len(episode), {**state, "screen": step.screen.copy()}))
            held = step.interval.action
        yield episode
    env.close()


def skipped(
    episodes: list[list[TimedObservation]], is_similar: Callable[[TimedObservation, TimedObservation], bool]
) -> float:
    """Share of observations that are similar to the last one that was not."""
    count = 0
    for episode in episodes:
        last = episode[0]
        for seen in episode[1:]:
            if is_similar(seen, last):
                count += 1
            else:
                last = seen
    return round(count / sum(len(episode) - 1 for episode in episodes), 3)


def filters(task: str, picture_px: int) -> dict[str, object]:
    """What each filter skips."""

    def ours(seen: TimedObservation) -> Observation:
        state = np.array([seen.observation[name] for name in NAMES], np.float32)
        return Observation(seen.timestep, 0.0, False, "go", {"screen": seen.observation["screen"]}, state)

    episodes = list(player_sees(task, range(1000, 1005), picture_px))
    declared = {"observation.state": features(NAMES, (picture_px, picture_px, 3))["observation.state"]}
    return {
        "observations": sum(map(len, episodes)),
        "lerobots_filter": skipped(episodes, lambda a, b: observations_similar(a, b, declared)),
        "by_threshold": {
            threshold: skipped(episodes, lambda a, b, t=threshold: difference(ours(a), ours(b)) < t)
            for threshold in THRESHOLDS
        },
        "default_threshold": PolicyServerConfig.similarity_threshold,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--requests", type=int, default=200)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--picture", type=int, default=384)
    parser.add_argument("--task", default="OneRoom")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = save_policy(Path(folder) / "checkpoint", picture_px=args.picture)
        result = {"own_work_ms": own_work(checkpoint, args.picture), "skipped": filters(args.task, args.picture)}
        # Who has left keeps a place for a while.
        server, address = start_server(checkpoint, f"--max_clients={4 * args.clients}")
        try:
            memory = psutil.Process(server.pid).memory_info
            jobs = [(address, number, args.requests, args.picture) for number in range(args.clients)]
            ratios, differences, memory_mb = [], [], []
            for _ in range(args.turns):
                start_s = time.perf_counter()
                alone = [play(*job) for job in jobs]
                between_s = time.perf_counter()
                memory_mb.append(round(memory().rss / 2**20))
                with ThreadPoolExecutor(args.clients) as clients:
                    together = list(clients.map(lambda job: play(*job), jobs))
                end_s = time.perf_counter()
                memory_mb.append(round(memory().rss / 2**20))
                ratios.append((between_s - start_s) / (end_s - between_s))
                differences += [np.abs(one - other).max() for one, other in zip(alone, together, strict=True)]
        finally:
            server.terminate()
            server.wait()
    result |= {
        "clients": args.clients, "requests_each": args.requests, "turns": args.turns, "picture": args.picture,
        "together_over_alone": round(median(ratios), 2), "ratios": [round(ratio, 2) for ratio in ratios],
        "requests_per_s_together": round(args.clients * args.requests / (end_s - between_s), 1),
        "largest_difference": float(max(differences)), "memory_mb_alone_together": memory_mb,
    }  # fmt: skip
    print(json.dumps(result))


if __name__ == "__main__":
    main()
