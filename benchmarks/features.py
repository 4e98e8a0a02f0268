"""Reading precomputed features of a batch, as it was and as it is, against the training step that waits for them.

    python benchmarks/features.py [--device=cuda]

As it was: NumPy's indexing of a float16 table, made float32 on the host. As it is: rows gathered as they are stored,
made whole on the device; on a GPU also with the table in its memory. The step is forward, backward and AdamW of the
default expert. All alternate in one process, with several reads between two steps, over frames of 144 tokens x 2048 as
Qwen3-VL-2B sees 384x384 pixels, three a sample. Prints one JSON line: by batch size medians in milliseconds,
`before_over_after`, the median ratio of neighbouring reads, and how much of a step reading takes.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
import torch
from lerobot.configs import FeatureType, PolicyFeature
from lerobot.utils.constants import ACTION, OBS_STATE
from torch import Tensor
from tqdm import tqdm

from lerobot_qwenvla.features.table import QUANTIZATIONS, FeatureTable, RowLayout, TableWriter
from lerobot_qwenvla.policy.algorithm.context import Features
from lerobot_qwenvla.policy.algorithm.flow_matching import FlowMatching, draw
from lerobot_qwenvla.policy.configuration_qwenvla import QwenVLAConfig

READS_A_TURN = 5  # a read is short beside a step
WORDS = 20  # of an instruction
SCREEN, TOKEN_GRID, FEATURE_WIDTH, CHANNELS = "observation.images.screen", (12, 12), 2048, 27  # mouse and keyboard


def write_tables(folder: Path, frames: int, quantization: str) -> tuple[np.ndarray, FeatureTable]:
    """The same random features, as they were stored and as they are."""
    layout = RowLayout((TOKEN_GRID[0] * TOKEN_GRID[1], FEATURE_WIDTH), torch.bfloat16, quantization)
    before = np.lib.format.open_memmap(folder / "before.npy", "w+", np.float16, (frames, *layout.shape))
    after = TableWriter(folder / "after", layout)
    for start in tqdm(range(0, frames, 50), "Writing frames", unit_scale=50):
        features = torch.randn(min(50, frames - start), *layout.shape)
        before[start : start + 50] = features.half()
        after.append(features)
    before.flush()
    return np.load(folder / "before.npy", mmap_mode="r"), FeatureTable(folder / "after", layout, frames)


class TrainingStep:
    """Forward, backward and AdamW, as lerobot-train takes them."""

    def __init__(self, batch_size: int, device: str) -> None:
        config = QwenVLAConfig(device=device)
        config.input_features = {OBS_STATE: PolicyFeature(FeatureType.STATE, (CHANNELS,))}
        config.output_features = {ACTION: PolicyFeature(FeatureType.ACTION, (CHANNELS,))}
        self.model = FlowMatching(config, {SCREEN: TOKEN_GRID}, FEATURE_WIDTH).to(device).train()
        preset = config.get_optimizer_preset()
        self.optimizer = torch.optim.AdamW(self.model.parameters(), preset.lr, preset.betas)
        self.words = torch.randn(batch_size, WORDS, FEATURE_WIDTH, device=device)
        self.state = torch.randn(batch_size, CHANNELS, device=device)
        self.action = torch.randn(batch_size, config.chunk_size, CHANNELS, device=device)

    def __call__(self, features: Tensor) -> None:  # (B, F, T, D)
        keys = [[sample] for sample in range(len(features))]
        chance = draw(keys, 1, self.model.chunk_shape, self.model.device)
        with torch.autocast(features.device.type, torch.bfloat16, enabled=features.is_cuda):
            loss = self.model.loss(
                Features({SCREEN: features}, self.words), self.state, self.action, noise=chance.noise, time=chance.time
            ).mean()
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad()


def milliseconds(work: Callable[[Tensor], object], rows: Tensor, device: str) -> float:
    start = time.perf_counter()
    work(rows)
    if device == "cuda":
        torch.cuda.synchronize()
    return 1e3 * (time.perf_counter() - start)


def measure(before: np.ndarray, after: FeatureTable, batch_size: int, args: argparse.Namespace) -> dict[str, float]:
    step = TrainingStep(batch_size, args.device)
    work = {
        "before": lambda rows: torch.from_numpy(before[rows.cpu().numpy()]).to(args.device, torch.float32),
        "after": after.read,
    }
    if args.device == "cuda":
        resident = FeatureTable(after.path, after.layout, len(before))
        resident.to(torch.device(args.device))
        work["on_gpu"] = resident.read
    reads = list(work)
    features = torch.randn(batch_size, step.model.config.num_frames, *after.layout.shape, device=args.device).bfloat16()
    work["step"] = lambda _: step(features)
    turns: dict[str, list[float]] = {name: [] for name in work}
    for turn in range(args.turns + 1):
        for name in [*reads * READS_A_TURN, "step"]:
            rows = torch.randint(len(before), features.shape[:2], device=args.device)  # (B, F)
            elapsed_ms = milliseconds(work[name], rows, args.device)
            if turn:  # the first warms up
                turns[name].append(elapsed_ms)

    medians = {f"{name}_ms": median(of_turns) for name, of_turns in turns.items()}
    before_over_after = median(b / a for b, a in zip(turns["before"], turns["after"], strict=True))
    return {
        **{name: round(ms, 2) for name, ms in medians.items()},
        "before_over_after": round(before_over_after, 2),
        "before_over_step": round(medians["before_ms"] / medians["step_ms"], 4),
        "after_over_step": round(medians["after_ms"] / medians["step_ms"], 4),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--quantization", default="none", choices=QUANTIZATIONS, help="how the features are kept now")
    parser.add_argument("--frames", type=int, default=1000, help="a frame takes 1.2 MB of the disk for the moment")
    parser.add_argument("--turns", type=int, default=7)
    args = parser.parse_args()
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        before, after = write_tables(Path(folder), args.frames, args.quantization)
        batches = {f"batch {size}": measure(before, after, size, args) for size in (8, 64)}
    print(
        json.dumps(
            {
                "device": torch.cuda.get_device_name() if args.device == "cuda" else "cpu",
                "quantization": args.quantization, "frames": args.frames, "turns": args.turns, **batches,
            }
        )
    )  # fmt: skip


if __name__ == "__main__":
    main()
