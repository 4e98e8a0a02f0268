"""The frozen Qwen3-VL of a policy: what it was made of, and its two steps, encoding pictures and reading them."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import Tensor, nn
from transformers import AutoConfig, AutoProcessor, Qwen3VLConfig
from transformers.models.qwen2_vl.image_processing_qwen2_vl import smart_resize

from lerobot_qwenvla.backbone.loading import load_part
from lerobot_qwenvla.backbone.prefix_cache import PrefixCache, Prefixes, pad_words
from lerobot_qwenvla.backbone.prompt import chat_prompt
from lerobot_qwenvla.backbone.settings import BackboneSettings
from lerobot_qwenvla.backbone.text_layers import TextLayers
from lerobot_qwenvla.backbone.vision_tower import Grid, VisionTower

logger = logging.getLogger(__name__)

# Of Qwen3-VL-2B a token takes 57 kB in 14 layers: about 200 instructions of 20 tokens.
PREFIX_CACHE_BYTES = 256_000_000


class FrozenBackbone(nn.Module):
    """Vision tower and first `vlm_layer` text layers of a Qwen3-VL; in eval mode and without gradient.

    Weights are read on the first use (or by `load`), so that training on precomputed features never holds them. They
    are not part of any checkpoint: a 4-bit weight read back from one would silently keep the old scales, and the source
    named in the settings has them anyway. Adapters, which PEFT adds, are: they are what was trained.

    Raises:
        ValueError: The source is missing or no Qwen3-VL, `vlm_layer` exceeds its depth, its weights are missing or
            incomplete, or bitsandbytes is not installed for a quantised backbone.
    """

    def __init__(self, settings: BackboneSettings) -> None:
        super().__init__()
        self.settings = settings
        self.source = {
            "pretrained_model_name_or_path": settings.backbone,
            "revision": settings.backbone_revision,
        }
        self.vlm_config, self.processor = _read_source(settings, self.source)
        # Smallest and largest allowed area, in pixels, are the same: every picture is resized to about that area.
        self.resize = {"shortest_edge": settings.image_size**2, "longest_edge": settings.image_size**2}
        self._between = chat_prompt(self.processor, "").between
        self.vision: VisionTower | None = None
        self.text: TextLayers | None = None
        self._own_modules: list[tuple[dict[str, nn.Module], str, nn.Module]] = []
        self._prefix_cache = PrefixCache(PREFIX_CACHE_BYTES)
        self._prefixes_read_by: list[Any] = []

    @property
    def width(self) -> int:
        """Width D of a feature."""
        return self.vlm_config.text_config.hidden_size

    @property
    def is_adapted(self) -> bool:
        """Whether adapters have taken the place of some of its modules."""
        return any(siblings.get(name) is not module for siblings, name, module in self._own_modules)

    def token_grid(self, image_shape: tuple[int, int, int]) -> Grid:
        """Rows and columns of the features a picture of shape (C, H, W) becomes."""
        pictures = self.processor.image_processor
        token_px = pictures.patch_size * pictures.merge_size
        area = self.resize["shortest_edge"]
        height, width = smart_resize(*image_shape[1:], factor=token_px, min_pixels=area, max_pixels=area)
        return height // token_px, width // token_px

    def load(self, device: torch.device | str) -> None:
        """Reads the weights to a device; does nothing when they are there already."""
        if self.vision is not None:
            return
        settings, source = self.settings, self.source
        common = {"dtype": settings.torch_dtype, "device": device, "dequantize": settings.dequantize}
        self.vision = load_part(
            VisionTower, self.vlm_config.vision_config, source,
            prefix="model.visual", quantization=settings.vision_quantization, **common,
        )  # fmt: skip
        self.text = load_part(
            TextLayers, self.vlm_config.text_config, source,
            prefix="model.language_model", quantization=settings.quantization, **common,
        )  # fmt: skip
        self._own_modules = [
            (parent._modules, name, child) for parent in self.modules() for name, child in parent.named_children()
        ]

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
            (B, F, T, D), the hidden states of each frame's tokens after `vlm_layer` layers, in the backbone's type.
        """
        batch, count = frames.shape[:2]
        grid = self.token_grid(frames.shape[2:])
        visual = self.encode_images(frames.flatten(0, 1))  # (B·F, 1 + K, T, D)
        if self.settings.frame_encoding == "joint":
            return self.read(visual.unflatten(0, (batch, count)), instructions, grid)
        per_frame = [text for text in instructions for _ in range(count)]
        return self.read(visual[:, None], per_frame, grid).view(batch, count, *visual.shape[2:])

    def prepare(self, images: Tensor) -> Tensor:
        """Pictures (N, C, H, W) in [0, 1] → patches.  # (N, S, P)"""
        inputs = self.processor.image_processor(
            images=list(images), do_rescale=False, size=self.resize, return_tensors="pt"
        )
        return inputs["pixel_values"].unflatten(0, (len(images), -1))

    def patch_grid(self, image_shape: tuple[int, int, int]) -> Grid:
        """Rows and columns of the patches a picture of shape (C, H, W) is cut into."""
        merged = self.processor.image_processor.merge_size
        rows, columns = self.token_grid(image_shape)
        return merged * rows, merged * columns

    def encode_images(self, images: Tensor) -> Tensor:
        """What the text layers need to know of pictures (N, C, H, W).  # (N, 1 + K, T, D)"""
        self.load(images.device)
        with self._precisely(images.device):
            return self.vision.encode_images(self.prepare(images), self.patch_grid(images.shape[1:]))

    def read(self, visual: Tensor, instructions: list[str], grid: Grid) -> Tensor:
        """Hidden states of the tokens of pictures that are read one after the other behind an instruction.

        Args:
            visual: (B, F, 1 + K, T, D) from `encode_images`.
            instructions: B texts.
            grid: Rows and columns of a picture's tokens.

        Returns:
            (B, F, T, D) in the backbone's type.
        """
        self.load(visual.device)
        between = torch.tensor(self._between, device=visual.device)
        with self._precisely(visual.device):
            return self.text.read_pictures(visual, grid, self.prefixes(instructions), between)

    def words(self, instructions: list[str], device: torch.device | str) -> Tensor:
        """Hidden states of the tokens of B instructions in the backbone's type, see `pad_words`.  # (B, L, D)"""
        self.load(device)
        with self._precisely(torch.device(device)):
            return pad_words(self.prefixes(instructions).words)

    def prefixes(self, instructions: list[str]) -> Prefixes:
        """Instructions as the text layers have read them: once, unless adapters are being trained on them."""
        if torch.is_grad_enabled():
            # A gradient announces a change that fused optimizers don't count in a parameter's version.
            self._prefix_cache.clear()
            distinct = list(dict.fromkeys(instructions))
            keys_values, words = self.prefill(distinct)
            rows = [distinct.index(text) for text in instructions]
            return Prefixes(keys_values, rows, [words[row] for row in rows])
        read_by = self._adapter_state() if self.is_adapted else []
        if read_by != self._prefixes_read_by:
            self._prefix_cache.clear()
            self._prefixes_read_by = read_by
        return self._prefix_cache.prefixes(instructions, self.prefill)

    def prefill(self, instructions: list[str]) -> tuple[Tensor, list[Tensor]]:
        """Keys and values (layers, 2, N, heads, P, head size) and hidden states (P, D) of N instructions."""
        return self.text.prefill([chat_prompt(self.processor, text).prefix for text in instructions])

    def _adapter_state(self) -> list[Any]:
        """What changes when adapters are added, loaded, trained or disabled."""
        layers = [module for module in self.text.modules() if isinstance(module, BaseTunerLayer)]
        return [
            *(p._version if p.requires_grad else None for p in self.text.parameters()),
            *((layer.disable_adapters, tuple(layer.active_adapters)) for layer in layers),
        ]

    @contextmanager
    def _precisely(self, device: torch.device) -> Iterator[None]:
        """Autocast would change the features of a backbone that runs in its own, fixed type."""
        learns = torch.is_grad_enabled() and self.is_adapted
        # What is kept here outlives an `inference_mode` around this call, and may be trained with.
        with torch.autocast(device.type, enabled=False), torch.inference_mode(False), torch.set_grad_enabled(learns):
            yield

    def _apply(self, *args: Any, **kwargs: Any) -> "FrozenBackbone":
        """Moves the weights; the prefixes would be left behind."""
        self._prefix_cache.clear()
        return super()._apply(*args, **kwargs)


class UnloadedBackbone(FrozenBackbone):
    """Knows the sizes of its features and never reads weights: for policies that are not asked to look."""

    def load(self, device: torch.device | str) -> None:
        pass


def _read_source(settings: BackboneSettings, source: dict[str, Any]) -> tuple[Qwen3VLConfig, Any]:
    """The config, cut to the layers in use, and the processor."""
    try:
        config = AutoConfig.from_pretrained(**source)
        processor = AutoProcessor.from_pretrained(**source)
    except OSError as error:
        raise ValueError(f"--policy.backbone={settings.backbone}: {_not_found(settings.backbone, error)}") from error
    if not isinstance(config, Qwen3VLConfig):
        raise ValueError(f"--policy.backbone={settings.backbone} is a {config.model_type}; a qwen3_vl is needed")
    depth = config.text_config.num_hidden_layers
    if settings.vlm_layer > depth:
        raise ValueError(
            f"--policy.vlm_layer={settings.vlm_layer} exceeds the {depth} text layers of {settings.backbone}"
        )
    config.text_config.num_hidden_layers = settings.vlm_layer
    return config, processor


def _not_found(name: str, error: OSError) -> str:
    """What was looked for and where, and what to do."""
    if Path(name).is_dir():
        return f"{str(error).splitlines()[0]}; is it the folder of a Qwen3-VL?"
    what = f"there is no folder {Path(name).absolute()}"
    if name.count("/") > 1 or name.startswith((".", "/")):
        return (
            f"{what}; if it is relative, run from the folder it is relative to, or pass the Hub name or the local "
            "folder of a Qwen3-VL (qwenvla-tiny-backbone makes a small one)"
        )
    return (
        f"{what}, and as a Hub name: {str(error).splitlines()[0]}; pass the Hub name or the local folder of a Qwen3-VL "
        "(qwenvla-tiny-backbone makes a small one)"
    )
