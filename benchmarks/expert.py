"""One action chunk from the expert, its context computed once, against computing it again at every solver step.

    python benchmarks/expert.py [--device cuda --compile]

"Once" is what the policy does: context and modulations of all times before the loop. "Recomputed" projects the context
and modulates one time at every step. With `--compile` both ask a compiled velocity. They alternate in one process. It
prints one JSON line: medians in milliseconds, and `over_recomputed`, the median ratio.
"""

import argparse
import json
from statistics import median

import torch
from lerobot.configs import FeatureType, PolicyFeature
from lerobot.utils.constants import ACTION, OBS_STATE
from torch import Tensor

from lerobot_qwenvla.policy.algorithm.context import Features
from lerobot_qwenvla.policy.algorithm.flow_matching import FlowMatching
from lerobot_qwenvla.policy.configuration_qwenvla import QwenVLAConfig
from lerobot_qwenvla.policy.solvers import evaluation_times, integrate
from lerobot_qwenvla.tools.stopwatch import Stopwatch

SCREEN, IMAGE_SHAPE, CHANNELS = "observation.images.screen", (3, 384, 384), 27  # mouse and keyboard
TOKEN_GRID, WORDS, FEATURE_WIDTH = (12, 12), 20, 2048  # of such a picture, an instruction, and Qwen3-VL-2B


def recompute(model: FlowMatching, features: Features, state: Tensor, noise: Tensor) -> Tensor:
    """A chunk from noise, without anything computed ahead."""
    config = model.config
    times = torch.tensor(evaluation_times(config.num_inference_steps, config.solver), device=model.device)

    def velocity(x_t: Tensor, i: int) -> Tensor:
        context = model.context_keys_values(features, state)
        return model.velocity(x_t, model.expert.modulations(times[i : i + 1]), context)

    return integrate(velocity, noise, config.num_inference_steps, config.solver)


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--compile", action="store_true", help="torch.compile, for both")
    parser.add_argument("--turns", type=int, default=21)
    args = parser.parse_args()
    torch.manual_seed(0)
    config = QwenVLAConfig(device=args.device, compile_model=args.compile)
    config.input_features = {
        SCREEN: PolicyFeature(FeatureType.VISUAL, IMAGE_SHAPE),
        OBS_STATE: PolicyFeature(FeatureType.STATE, (CHANNELS,)),
    }
    config.output_features = {ACTION: PolicyFeature(FeatureType.ACTION, (CHANNELS,))}
    model = FlowMatching(config, {SCREEN: TOKEN_GRID}, FEATURE_WIDTH).to(args.device).eval()
    if args.compile:
        model.compile_velocity(config.compile_mode)
    pictures = torch.randn(1, config.num_frames, TOKEN_GRID[0] * TOKEN_GRID[1], FEATURE_WIDTH, device=args.device)
    features = Features({SCREEN: pictures}, torch.randn(1, WORDS, FEATURE_WIDTH, device=args.device))
    state = torch.randn(1, CHANNELS, device=args.device)
    noise = torch.randn(1, *model.chunk_shape, device=args.device)

    def once() -> Tensor:
        return model.denoise(noise, model.context_keys_values(features, state)).clone()

    def recomputed() -> Tensor:
        return recompute(model, features, state, noise)

    watch = Stopwatch(args.device)
    with torch.autocast(watch.device.type, torch.bfloat16, enabled=watch.device.type == "cuda"):  # as the policy does
        difference = (once() - recomputed()).abs().max().item()
        recomputed(), once()
        for _ in range(args.turns):
            watch("once", once)
            watch("recomputed", recomputed)
    turns = zip(watch.turns_ms["once"], watch.turns_ms["recomputed"], strict=True)
    print(
        json.dumps(
            {
                "device": torch.cuda.get_device_name() if watch.device.type == "cuda" else "cpu",
                "turns": args.turns,
                "once_ms": round(watch.percentile_ms("once", 50), 2),
                "recomputed_ms": round(watch.percentile_ms("recomputed", 50), 2),
                "over_recomputed": round(median(theirs / ours for ours, theirs in turns), 2),
                "largest_difference": difference,
            }
        )
    )


if __name__ == "__main__":
    main()
