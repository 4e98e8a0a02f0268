"""One action chunk from the expert, its context computed once, against computing it again at every solver step.

    python benchmarks/expert.py [--device cuda --compile]

Both alternate in one process. Prints one JSON line: medians in milliseconds, and `over_recomputed`, the median ratio.
"""

import argparse
import json
import time
from collections.abc import Callable
from statistics import median

import torch
from torch import Tensor

from lerobot_qwenvla.policy.configuration_qwenvla import QwenVLAConfig
from lerobot_qwenvla.policy.context import CameraProjector, ContextProjector
from lerobot_qwenvla.policy.expert import ActionExpert
from lerobot_qwenvla.policy.solvers import integrate

CONFIG = QwenVLAConfig(device="cpu")
TOKEN_GRID, FEATURE_WIDTH, CHANNELS = (12, 12), 2048, 27  # of a 384×384 picture, Qwen3-VL-2B, mouse and keyboard


def milliseconds(work: Callable[[], Tensor], device: str) -> float:
    start = time.perf_counter()
    work()
    if device == "cuda":
        torch.cuda.synchronize()
    return 1e3 * (time.perf_counter() - start)


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--compile", action="store_true", help="torch.compile the expert, for both")
    parser.add_argument("--turns", type=int, default=21)
    args = parser.parse_args()
    torch.manual_seed(0)
    width, frames, steps = CONFIG.expert_width, CONFIG.num_frames, CONFIG.num_inference_steps
    camera = CameraProjector(TOKEN_GRID, width=width, feature_width=FEATURE_WIDTH, frames=frames, pooling="none")
    projector = ContextProjector({"screen": camera}, width=width, state=CHANNELS).to(args.device).eval()
    expert = ActionExpert(
        width=width, layers=CONFIG.expert_layers, heads=CONFIG.expert_heads, chunk_size=CONFIG.chunk_size,
        action=CHANNELS,
    ).to(args.device).eval()  # fmt: skip
    if args.compile:
        expert.compile()
    features = {"screen": torch.randn(1, frames, TOKEN_GRID[0] * TOKEN_GRID[1], FEATURE_WIDTH, device=args.device)}
    state, visible = torch.randn(1, CHANNELS, device=args.device), torch.zeros(1, dtype=torch.bool, device=args.device)
    noise = torch.randn(1, CONFIG.chunk_size, CHANNELS, device=args.device)

    def context() -> list[tuple[Tensor, Tensor]]:
        return expert.context_keys_values(projector(features, state, visible))

    def once() -> Tensor:
        keys_values = context()
        return integrate(lambda x_t, time: expert(x_t, time, keys_values), noise, steps, "euler")

    def recomputed() -> Tensor:
        return integrate(lambda x_t, time: expert(x_t, time, context()), noise, steps, "euler")

    difference = (once() - recomputed()).abs().max().item()
    recomputed(), once()
    turns = [(milliseconds(once, args.device), milliseconds(recomputed, args.device)) for _ in range(args.turns)]
    print(
        json.dumps(
            {
                "device": torch.cuda.get_device_name() if args.device == "cuda" else "cpu",
                "turns": args.turns,
                "once_ms": round(median(ours for ours, _ in turns), 2),
                "recomputed_ms": round(median(theirs for _, theirs in turns), 2),
                "over_recomputed": round(median(theirs / ours for ours, theirs in turns), 2),
                "largest_difference": difference,
            }
        )
    )


if __name__ == "__main__":
    main()
