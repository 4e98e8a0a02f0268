"""The frozen Qwen3-VL of a policy: what it was made of, and its two steps, looking and reading."""

from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import Tensor, nn
from transformers import AutoConfig, AutoProcessor, Qwen3VLConfig
from transformers.models.qwen2_vl.image_processing_qwen2_vl import smart_resize

from lerobot_qwenvla.backbone.loading import load_part
from lerobot_qwenvla.backbone.prompt import chat_prompt
from lerobot_qwenvla.backbone.text_layers import Prefix, TextLayers
from lerobot_qwenvla.backbone.vision_tower import Grid, VisionTower
from lerobot_qwenvla.policy.configuration_qwenvla import QwenVLAConfig

# Instructions whose keys and values are kept; of 20 tokens, one takes about 1 MB, and of the longest 30.
KEPT_PREFIXES = 16


class FrozenBackbone(nn.Module):
    """Vision tower and first `vlm_layer` text layers of a Qwen3-VL; in eval mode and without gradient.

    Weights are read on the first use (or by `load`), so that training on precomputed features never holds them. They
    are not part of any checkpoint: a 4-bit weight read back from one would silently keep the old scales, and the source
    named in the config has them anyway. Adapters, which PEFT adds, are: they are what was trained.

    Raises:
        ValueError: The source is missing or no Qwen3-VL, `vlm_layer` exceeds its depth, its weights are missing or
            incomplete, or bitsandbytes is not installed for a quantised backbone.
    """

    def __init__(self, config: QwenVLAConfig) -> None:
        super().__init__()
        self.config = config
        self.source = {"pretrained_model_name_or_path": config.backbone, "revision": config.backbone_revision}
        try:
            self.vlm_config = AutoConfig.from_pretrained(**self.source)
            self.processor = AutoProcessor.from_pretrained(**self.source)
        except OSError as error:
            raise ValueError(
                f"--policy.backbone={config.backbone}: {str(error).splitlines()[0]}; pass the Hub name or the local "
                "folder of a Qwen3-VL (qwenvla-tiny-backbone makes a small one)"
            ) from error
        if not isinstance(self.vlm_config, Qwen3VLConfig):
            raise ValueError(
                f"--policy.backbone={config.backbone} is a {self.vlm_config.model_type}; a qwen3_vl is needed"
            )
        depth = self.vlm_config.text_config.num_hidden_layers
        if config.vlm_layer > depth:
            raise ValueError(
                f"--policy.vlm_layer={config.vlm_layer} exceeds the {depth} text layers of {config.backbone}"
            )
        self.vlm_config.text_config.num_hidden_layers = config.vlm_layer
        # Smallest and largest allowed area, in pixels, are the same: every picture is resized to about that area.
        self.resize = {"shortest_edge": config.image_size**2, "longest_edge": config.image_size**2}
        self._between = chat_prompt(self.processor, "").between
        self.vision: VisionTower | None = None
        self.text: TextLayers | None = None
        self._source_weights = 0
        self._prefixes: OrderedDict[str, Prefix] = OrderedDict()
        self._prefixes_read_by: list[Any] = []

    @property
    def width(self) -> int:
        """Width D of a feature."""
        return self.vlm_config.text_config.hidden_size

    @property
    def is_adapted(self) -> bool:
        """Whether it has weights that its source has not, or that are trained: adapters."""
        parameters = list(self.parameters())
        return len(parameters) != self._source_weights or any(p.requires_grad for p in parameters)

    def token_grid(self, image_shape: tuple[int, int, int]) -> Grid:
        """Rows and columns of the features a picture of shape (C, H, W) becomes."""
        pictures = self.processor.image_processor
        token_px = pictures.patch_size * pictures.merge_size
        area = self.resize["shortest_edge"]
        height, width = smart_resize(*image_shape[1:], factor=token_px, min_pixels=area, max_pixels=area)
        return height // token_px, width // token_px

    def load(self) -> None:
        """Reads the weights; does nothing when they are there already."""
        if self.vision is not None:
            return
        common = {"dtype": getattr(torch, self.config.dtype), "device": self.config.device}
        self.vision = load_part(
            VisionTower, self.vlm_config.vision_config, self.source,
            prefix="model.visual", quantization=self.config.vision_quantization, **common,
        )  # fmt: skip
        self.text = load_part(
            TextLayers, self.vlm_config.text_config, self.source,
            prefix="model.language_model", quantization=self.config.quantization, **common,
        )  # fmt: skip
        self._source_weights = len(list(self.parameters()))

    def train(self, mode: bool = True) -> "FrozenBackbone":
        return super().train(mode and self.is_adapted)

    def state_dict(self, *, destination: dict | None = None, **kwargs: Any) -> dict:
        """Nothing, or everything once there are adapters: PEFT picks them from it, to save and to load them."""
        if self.is_adapted:
            return super().state_dict(destination=destination, **kwargs)
        return {} if destination is None else destination

    def encode(self, frames: Tensor, instructions: list[str]) -> Tensor:
        """Features of the frames of decisions, as `frame_encoding` says: each by itself, or those of a row together.

        Args:
            frames: (B, F, C, H, W) in [0, 1].
            instructions: B texts.

        Returns:
            (B, F, T, D) float32, the hidden states of each frame's tokens after `vlm_layer` layers.
        """
        batch, count = frames.shape[:2]
        grid = self.token_grid(frames.shape[2:])
        visual = self.look(frames.flatten(0, 1))  # (B·F, 1 + K, T, D)
        if self.config.frame_encoding == "joint":
            return self.read(visual.unflatten(0, (batch, count)), instructions, grid)
        per_frame = [text for text in instructions for _ in range(count)]
        return self.read(visual[:, None], per_frame, grid).view(batch, count, *visual.shape[2:])

    def prepare(self, images: Tensor) -> tuple[Tensor, Grid]:
        """Pictures (N, C, H, W) in [0, 1] → patches (N, S, P), and rows and columns of patches."""
        inputs = self.processor.image_processor(
            images=list(images), do_rescale=False, size=self.resize, return_tensors="pt"
        )
        _, rows, columns = inputs["image_grid_thw"][0].tolist()
        return inputs["pixel_values"].unflatten(0, (len(images), -1)), (rows, columns)

    def look(self, images: Tensor) -> Tensor:
        """What the text layers need to know of pictures (N, C, H, W).  # (N, 1 + K, T, D)"""
        self.load()
        with self._precisely(images.device):
            return self.vision.look(*self.prepare(images))

    def read(self, visual: Tensor, instructions: list[str], grid: Grid) -> Tensor:
        """Hidden states of the tokens of pictures that are read one after the other behind an instruction.

        Args:
            visual: (B, F, 1 + K, T, D) from `look`.
            instructions: B texts.
            grid: Rows and columns of a picture's tokens.

        Returns:
            (B, F, T, D) float32.
        """
        self.load()
        between = torch.tensor(self._between, device=visual.device)
        with self._precisely(visual.device):
            self._forget_outdated_prefixes()
            prefixes = {text: self._prefix(text, visual.device) for text in dict.fromkeys(instructions)}
            return self.text.read_pictures(visual, grid, [prefixes[text] for text in instructions], between).float()

    def _prefix(self, instruction: str, device: torch.device) -> Prefix:
        """The instruction as the text layers have read it: once, unless adapters are being trained on it."""
        prefix = self._prefixes.pop(instruction, None)
        if prefix is None:
            token_ids = torch.tensor(chat_prompt(self.processor, instruction).prefix, device=device)
            prefix = self.text.read_prefix(token_ids)
        if not torch.is_grad_enabled():
            self._prefixes[instruction] = prefix
            if len(self._prefixes) > KEPT_PREFIXES:
                self._prefixes.popitem(last=False)
        return prefix

    def _forget_outdated_prefixes(self) -> None:
        """Adapters change what is read when they are added, loaded, trained or disabled."""
        layers = [module for module in self.text.modules() if isinstance(module, BaseTunerLayer)]
        adapters = [
            self.text.embed_tokens.weight.device,
            *(p._version if p.requires_grad else None for p in self.text.parameters()),
            *((layer.disable_adapters, tuple(layer.active_adapters)) for layer in layers),
        ]
        # A gradient announces a change that fused optimizers don't count in the version.
        if torch.is_grad_enabled() or adapters != self._prefixes_read_by:
            self._prefixes.clear()
            self._prefixes_read_by = adapters

    @contextmanager
    def _precisely(self, device: torch.device) -> Iterator[None]:
        """Autocast would change the features of a backbone that runs in its own, fixed type."""
        with (
            torch.autocast(device.type, enabled=False),
            torch.set_grad_enabled(torch.is_grad_enabled() and self.is_adapted),
        ):
            yield


class UnloadedBackbone(FrozenBackbone):
    """Knows the sizes of its features and never reads weights: for policies that are not asked to look."""

    def load(self) -> None:
        pass
