"""Samples a second in training: on precomputed features, looking at pictures again at every step, and LeRobot's ACT.

    python benchmarks/train.py [--config=configs/go_to_object.yaml --act_config=configs/act.yaml]

Records a few episodes and trains on them for a few steps: all of a step, from reading the samples to the update, in one
process without workers. The two of ours have the same weights, samples and batch; ACT has the same samples and batch.
They alternate in one process. Prints one JSON line: medians of samples a second, and the median ratios of neighbouring
turns, `over_pictures` and `over_act`, of features over the others.
"""

import argparse
import json
from dataclasses import replace
from itertools import chain, repeat
from pathlib import Path
from statistics import median

import draccus
import torch
from lerobot.configs.train import TrainPipelineConfig
from lerobot.datasets.factory import make_dataset
from lerobot.policies.factory import make_policy, make_pre_post_processors
from torch.utils.data import DataLoader

from lerobot_qwenvla.demo.options import DemoConfig
from lerobot_qwenvla.demo.runner import run_stages
from lerobot_qwenvla.demo.stages import backbone_of, featured, recorded
from lerobot_qwenvla.tools.stopwatch import Stopwatch
from lerobot_qwenvla.training.rows import batchwise
from lerobot_qwenvla.training.validation import with_float_pictures


class Training:
    """A training run that takes a step when it is told to, as qwenvla-train takes them."""

    def __init__(self, config: TrainPipelineConfig, seed: int = 0) -> None:
        torch.manual_seed(seed)
        config.dataset.eval_split = 0.0
        dataset = make_dataset(config)
        self.cameras = dataset.meta.camera_keys
        self.policy = make_policy(config.policy, ds_meta=dataset.meta).train()
        self.preprocessor, _ = make_pre_post_processors(config.policy, dataset_stats=dataset.meta.stats)
        self.clip = config.policy.get_optimizer_preset().grad_clip_norm
        self.optimizer = config.policy.get_optimizer_preset().build(self.policy.get_optim_params())
        samples = torch.Generator().manual_seed(seed)
        loader = DataLoader(dataset, config.batch_size, shuffle=True, drop_last=True, generator=samples)
        self.batches = chain.from_iterable(repeat(batchwise(loader)))

    def step(self) -> None:
        batch = self.preprocessor(with_float_pictures(next(self.batches), self.cameras))
        loss, _ = self.policy(batch)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.policy.parameters(), self.clip)
        self.optimizer.step()
        self.optimizer.zero_grad()


def read_config(path: Path, root: Path, batch_size: int, **policy: object) -> TrainPipelineConfig:
    options = [f"--dataset.root={root}", f"--batch_size={batch_size}"]
    options += [f"--policy.{name}={value}" for name, value in policy.items()]
    return draccus.parse(TrainPipelineConfig, path, options)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", type=Path, default=Path("configs/go_to_object.yaml"))
    parser.add_argument("--act_config", type=Path, default=Path("configs/act.yaml"))
    parser.add_argument("--backbone", help="Hub name or folder of a Qwen3-VL; the small one if left out")
    parser.add_argument("--canvas", type=int, default=128)
    parser.add_argument("--batch_size", type=int, default=32)
    parser.add_argument("--turns", type=int, default=7)
    args = parser.parse_args()
    demo = replace(
        DemoConfig(), output_dir=Path("outputs/train-benchmark"), train_config=args.config, task="GoToObject",
        episodes=8, canvas=args.canvas, backbone=args.backbone,
    )  # fmt: skip
    run_stages([*recorded(demo), featured(demo)], demo.output_dir)
    pictures, features = demo.output_dir / "dataset", demo.output_dir / "features"
    backbone = backbone_of(demo)
    trainings = {
        "features": Training(read_config(args.config, features, args.batch_size, backbone=backbone)),
        "pictures": Training(read_config(args.config, pictures, args.batch_size, backbone=backbone)),
        "act": Training(read_config(args.act_config, pictures, args.batch_size)),
    }
    trainings["pictures"].policy.load_state_dict(trainings["features"].policy.state_dict())
    watch = Stopwatch(trainings["features"].policy.config.device)
    for training in trainings.values():  # warms up
        training.step()
    for _ in range(args.turns):
        for name, training in trainings.items():
            watch(name, training.step)
    features_ms = watch.turns_ms["features"]
    over = {
        f"over_{name}": round(median(a / b for a, b in zip(watch.turns_ms[name], features_ms, strict=True)), 2)
        for name in ("pictures", "act")
    }
    print(
        json.dumps(
            {
                "device": torch.cuda.get_device_name() if watch.device.type == "cuda" else "cpu",
                "batch_size": args.batch_size,
                "turns": args.turns,
                "samples_per_s": {
                    name: round(1000 * args.batch_size / watch.percentile_ms(name, 50), 1) for name in trainings
                },
                **over,
            }
        )
    )


if __name__ == "__main__":
    main()
