"""One decision at full size: with the policy's memory, encoding its three frames again, and the stock way.

    python benchmarks/full_size_backbone.py outputs/qwen3-vl-2b-random
    python benchmarks/decision.py --backbone=outputs/qwen3-vl-2b-random --quantization=none --dtype=float32 --device=cpu

The stock way is transformers' own model: all text layers and the language head over one prompt with three pictures,
`output_hidden_states`, and a context that is projected again at every solver step. Its weights are stored as the
policy's are (but for `--dequantize`, which makes the policy's whole). The three alternate in one process. Prints one
JSON line: medians in milliseconds, parts of the first and the last, median ratios `over_reencode` and `over_stock`, and
how far the policy's features of the pictures in one prompt are from the stock ones.
"""

import argparse
import json
from contextlib import ExitStack
from statistics import median
from typing import Any

import torch
from expert import recompute
from lerobot.configs import FeatureType, PolicyFeature
from lerobot.utils.constants import ACTION, OBS_STATE
from torch import Tensor
from transformers import AutoModelForImageTextToText

from lerobot_qwenvla.backbone.quantization import quantization_config
from lerobot_qwenvla.backbone.settings import DTYPES, QUANTIZATIONS
from lerobot_qwenvla.policy.algorithm.context import Features
from lerobot_qwenvla.policy.configuration_qwenvla import QwenVLAConfig
from lerobot_qwenvla.policy.modeling_qwenvla import QwenVLAPolicy
from lerobot_qwenvla.tools.decision_profile import PARTS, time_parts
from lerobot_qwenvla.tools.stopwatch import Stopwatch

SCREEN, INSTRUCTION = "observation.images.screen", "go to the red box"
IMAGE_SHAPE, CHANNELS = (3, 384, 384), 27  # mouse and keyboard


def make_policy(args: argparse.Namespace) -> QwenVLAPolicy:
    config = QwenVLAConfig(
        backbone=args.backbone, quantization=args.quantization, dtype=args.dtype, device=args.device,
        compile_model=args.compile, dequantize=args.dequantize,
    )  # fmt: skip
    config.input_features = {
        SCREEN: PolicyFeature(FeatureType.VISUAL, IMAGE_SHAPE),
        OBS_STATE: PolicyFeature(FeatureType.STATE, (CHANNELS,)),
    }
    config.output_features = {ACTION: PolicyFeature(FeatureType.ACTION, (CHANNELS,))}
    return QwenVLAPolicy(config).to(args.device).eval()


class StockDecision:
    """What one writes with transformers alone."""

    def __init__(self, policy: QwenVLAPolicy, watch: Stopwatch) -> None:
        config = policy.config
        dtype = policy.backbone.settings.torch_dtype
        self.policy, self.processor, self.watch = policy, policy.backbone.processor, watch
        self.model = AutoModelForImageTextToText.from_pretrained(
            config.backbone,
            dtype=dtype,
            device_map={"": config.device},
            quantization_config=quantization_config(config.quantization, dtype, keep=["model.visual", "lm_head"]),
        ).eval()
        self.parts = {
            "stock vision, 3 frames": self.model.model.visual,
            "stock language, 28 layers": self.model.model.language_model,
            "stock language head": self.model.lm_head,
        }

    def features(self, frames: Tensor) -> Tensor:  # (F, C, H, W) → (F, T, D)
        content = [{"type": "text", "text": INSTRUCTION}, *[{"type": "image"}] * len(frames)]
        prompt = self.processor.apply_chat_template([{"role": "user", "content": content}], tokenize=False)
        inputs = self.processor(
            text=[prompt], images=list(frames), do_rescale=False, size=self.policy.backbone.resize, return_tensors="pt"
        ).to(frames.device)
        hidden = self.model(**inputs, output_hidden_states=True).hidden_states[self.policy.config.vlm_layer]
        return hidden[inputs["input_ids"] == self.model.config.image_token_id].unflatten(0, (len(frames), -1))

    def __call__(self, batch: dict[str, Any], noise: Tensor) -> Tensor:
        with ExitStack() as watched:
            for name, module in self.parts.items():
                watched.enter_context(self.watch.calls(name, module))
            pictures = {SCREEN: self.features(batch[SCREEN][0])[None]}
        features = Features(pictures, self.policy.backbone.words([INSTRUCTION], self.watch.device))
        device = self.watch.device.type
        with torch.autocast(
            device, torch.bfloat16, enabled=device == "cuda" and self.policy.config.dtype == "bfloat16"
        ):
            return self.watch("stock expert", lambda: recompute(self.policy.model, features, batch[OBS_STATE], noise))


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backbone", required=True)
    parser.add_argument("--quantization", default="4bit", choices=QUANTIZATIONS)
    parser.add_argument("--dequantize", action="store_true", help="make the policy's 4-bit weights whole after loading")
    parser.add_argument("--dtype", default="bfloat16", choices=DTYPES)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--compile", action="store_true", help="torch.compile the solver's loop, or its velocity")
    parser.add_argument("--turns", type=int, default=5)
    args = parser.parse_args()
    torch.manual_seed(0)
    policy, watch = make_policy(args), Stopwatch(args.device)
    backbone, memory = policy.backbone, policy.perception.memory
    stock = StockDecision(policy, watch)
    frames = torch.rand(1, 5, *IMAGE_SHAPE, device=args.device)  # steps t-4 to t
    state, noise = torch.randn(1, CHANNELS, device=args.device), torch.randn(1, 50, CHANNELS, device=args.device)
    batch = {SCREEN: frames[:, ::2], OBS_STATE: state, "task": [INSTRUCTION]}
    current = {**batch, SCREEN: frames[:, -1]}

    visual = backbone.encode_images(batch[SCREEN][0])
    ours = backbone.read(visual[None], [INSTRUCTION], backbone.token_grid(IMAGE_SHAPE))[0].float()
    theirs = stock.features(batch[SCREEN][0]).float()
    difference = ((ours - theirs).norm() / theirs.norm()).item()
    warm_ups = 3 if args.compile else 1  # CUDA graphs are recorded in the second decision
    for turn in range(warm_ups + args.turns):
        if turn == warm_ups:
            watch.turns_ms.clear()
        policy.reset()
        for step in range(4):  # earlier decisions have encoded t-4 and t-2
            windows = memory.push({SCREEN: frames[:, step]}, [0], [step])
            if step in (0, 2):
                memory.encode_current(windows, [INSTRUCTION])
        watch("cached", lambda: policy.predict_action_chunk(current, noise, steps=[4]))
        watch("reencode", lambda: policy.predict_action_chunk(batch, noise, steps=[4]))
        watch("stock", lambda: stock(batch, noise))
        time_parts(policy, current, 1, watch)
    ratios = {
        f"over_{name}": round(
            median(t / c for c, t in zip(watch.turns_ms["cached"], watch.turns_ms[name], strict=True)), 2
        )
        for name in ("reencode", "stock")
    }
    pieces = ("cached", "reencode", "stock", *PARTS, *stock.parts, "stock expert")
    print(
        json.dumps(
            {
                "device": torch.cuda.get_device_name() if args.device.startswith("cuda") else "cpu",
                "quantization": args.quantization, "dequantize": args.dequantize, "compile": args.compile,
                "dtype": args.dtype, "turns": args.turns, **ratios,
                "milliseconds": {name: round(watch.percentile_ms(name, 50), 1) for name in pieces},
                "relative_difference_of_features": difference,
            }
        )
    )  # fmt: skip


if __name__ == "__main__":
    main()
