"""One decision at full size: with the policy's cache, encoding its three frames again, and the stock way.

    python benchmarks/full_size_backbone.py outputs/qwen3-vl-2b-random
    python benchmarks/decision.py --backbone=outputs/qwen3-vl-2b-random --quantization=none --dtype=float32 --device=cpu

The stock way is transformers' own model: all text layers and the language head over one prompt with three pictures,
`output_hidden_states`, and a context that is projected again at every solver step. Its weights are of the same type as
the policy's. The three alternate in one process. Prints one JSON line: medians in milliseconds, parts of the first and
the last, median ratios `over_reencode` and `over_stock`, and how far the policy's features of the pictures in one
prompt are from the stock ones.
"""

import argparse
import json
import time
from collections.abc import Callable
from statistics import median
from typing import Any

import torch
from lerobot.configs import FeatureType, PolicyFeature
from lerobot.utils.constants import ACTION, OBS_STATE
from torch import Tensor, nn
from transformers import AutoModelForImageTextToText

from lerobot_qwenvla.backbone.loading import quantization_config
from lerobot_qwenvla.policy.configuration_qwenvla import DTYPES, QUANTIZATIONS, QwenVLAConfig
from lerobot_qwenvla.policy.modeling_qwenvla import QwenVLAPolicy
from lerobot_qwenvla.policy.solvers import integrate

SCREEN, INSTRUCTION = "observation.images.screen", "go to the red box"
IMAGE_SHAPE, CHANNELS = (3, 384, 384), 27  # mouse and keyboard


def make_policy(args: argparse.Namespace) -> QwenVLAPolicy:
    config = QwenVLAConfig(
        backbone=args.backbone, quantization=args.quantization, dtype=args.dtype, device=args.device,
        compile_model=args.compile,
    )  # fmt: skip
    config.input_features = {
        SCREEN: PolicyFeature(FeatureType.VISUAL, IMAGE_SHAPE),
        OBS_STATE: PolicyFeature(FeatureType.STATE, (CHANNELS,)),
    }
    config.output_features = {ACTION: PolicyFeature(FeatureType.ACTION, (CHANNELS,))}
    return QwenVLAPolicy(config).to(args.device).eval()


class Stopwatch:
    """Milliseconds of named pieces of work, by turn."""

    def __init__(self, device: str) -> None:
        self.device = device
        self.turns: dict[str, list[float]] = {}
        self._starts: list[float] = []  # of the pieces under way, one within the other

    def __call__(self, name: str, work: Callable[[], Any]) -> Any:
        self._start()
        result = work()
        self._stop(name)
        return result

    def watch(self, name: str, module: nn.Module) -> None:
        """Times every call of a module."""
        module.register_forward_pre_hook(lambda *_: self._start())
        module.register_forward_hook(lambda *_: self._stop(name))

    def median(self, name: str) -> float:
        return round(median(self.turns[name]), 1)

    def _start(self) -> None:
        self._synchronize()
        self._starts.append(time.perf_counter())

    def _stop(self, name: str) -> None:
        self._synchronize()
        self.turns.setdefault(name, []).append(1e3 * (time.perf_counter() - self._starts.pop()))

    def _synchronize(self) -> None:
        if self.device.startswith("cuda"):
            torch.cuda.synchronize()


class StockDecision:
    """What one writes with transformers alone."""

    def __init__(self, policy: QwenVLAPolicy, watch: Stopwatch) -> None:
        config = policy.config
        dtype = getattr(torch, config.dtype)
        self.policy, self.processor, self.time = policy, policy.backbone.processor, watch
        self.model = AutoModelForImageTextToText.from_pretrained(
            config.backbone,
            dtype=dtype,
            device_map={"": config.device},
            quantization_config=quantization_config(config.quantization, dtype, keep=["visual", "lm_head"]),
        ).eval()
        for name, module in (
            ("stock vision, 3 frames", self.model.model.visual),
            ("stock language, 28 layers", self.model.model.language_model),
            ("stock language head", self.model.lm_head),
        ):
            watch.watch(name, module)

    def features(self, frames: Tensor) -> Tensor:  # (F, C, H, W) → (F, T, D)
        content = [{"type": "text", "text": INSTRUCTION}, *[{"type": "image"}] * len(frames)]
        prompt = self.processor.apply_chat_template([{"role": "user", "content": content}], tokenize=False)
        inputs = self.processor(
            text=[prompt], images=list(frames), do_rescale=False, size=self.policy.backbone.resize, return_tensors="pt"
        ).to(frames.device)
        hidden = self.model(**inputs, output_hidden_states=True).hidden_states[self.policy.config.vlm_layer]
        return hidden[inputs["input_ids"] == self.model.config.image_token_id].float().unflatten(0, (len(frames), -1))

    def __call__(self, batch: dict[str, Any], noise: Tensor) -> Tensor:
        features = {SCREEN: self.features(batch[SCREEN][0])[None]}

        def velocity(x_t: Tensor, time: Tensor) -> Tensor:
            return self.policy.expert(x_t, time, self.policy._keys_values(features, batch))

        config = self.policy.config
        return self.time("stock expert", lambda: integrate(velocity, noise, config.num_inference_steps, config.solver))


def time_parts(policy: QwenVLAPolicy, batch: dict[str, Any], noise: Tensor, watch: Stopwatch) -> None:
    """The steps of a decision that finds its older frames in the cache, each by itself."""
    backbone, config = policy.backbone, policy.config
    image = batch[SCREEN][:, -1]
    patches, grid = watch("picture", lambda: backbone.prepare(image))
    visual = watch("vision, 1 frame", lambda: backbone.vision.look(patches, grid))
    token_grid = backbone.token_grid(IMAGE_SHAPE)
    features = watch("language, 14 layers", lambda: backbone.read(visual[:, None], [INSTRUCTION], token_grid))
    features = {SCREEN: features.repeat(1, config.num_frames, 1, 1)}
    context = watch("context", lambda: policy._keys_values(features, batch))
    watch("expert", lambda: integrate(
        lambda x_t, time: policy.expert(x_t, time, context), noise, config.num_inference_steps, config.solver
    ))  # fmt: skip


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backbone", required=True)
    parser.add_argument("--quantization", default="4bit", choices=QUANTIZATIONS)
    parser.add_argument("--dtype", default="bfloat16", choices=DTYPES)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--compile", action="store_true", help="torch.compile the expert")
    parser.add_argument("--turns", type=int, default=5)
    args = parser.parse_args()
    torch.manual_seed(0)
    policy, watch = make_policy(args), Stopwatch(args.device)
    stock = StockDecision(policy, watch)
    frames = torch.rand(1, 5, *IMAGE_SHAPE, device=args.device)  # steps t-4 to t
    state, noise = torch.randn(1, CHANNELS, device=args.device), torch.randn(1, 50, CHANNELS, device=args.device)
    batch = {SCREEN: frames[:, ::2], OBS_STATE: state, "task": [INSTRUCTION]}
    current = {**batch, SCREEN: frames[:, -1]}

    visual = policy.backbone.look(batch[SCREEN][0])
    ours = policy.backbone.read(visual[None], [INSTRUCTION], policy.backbone.token_grid(IMAGE_SHAPE))[0]
    theirs = stock.features(batch[SCREEN][0])
    difference = ((ours - theirs).norm() / theirs.norm()).item()
    for _ in range(args.turns + 1):
        policy.reset()
        for step in range(4):  # earlier decisions have encoded t-4 and t-2
            policy.cache.push({SCREEN: frames[:, step]}, [0])
            if step in (0, 2):
                policy.cache.encode([INSTRUCTION], [0])
        watch("cached", lambda: policy.predict_action_chunk(current, noise))
        watch("reencode", lambda: policy.predict_action_chunk(batch, noise))
        watch("stock", lambda: stock(batch, noise))
        time_parts(policy, batch, noise, watch)
    watch.turns = {name: turns[-args.turns :] for name, turns in watch.turns.items()}  # the first warms up
    ratios = {
        f"over_{name}": round(median(t / c for c, t in zip(watch.turns["cached"], watch.turns[name], strict=True)), 2)
        for name in ("reencode", "stock")
    }
    print(
        json.dumps(
            {
                "device": torch.cuda.get_device_name() if args.device.startswith("cuda") else "cpu",
                "quantization": args.quantization, "dtype": args.dtype, "turns": args.turns, **ratios,
                "milliseconds": {name: watch.median(name) for name in watch.turns},
                "relative_difference_of_features": difference,
            }
        )
    )  # fmt: skip


if __name__ == "__main__":
    main()
