"""The frozen Qwen3-VL: pictures and an instruction in, hidden states of the picture tokens out."""

import logging
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from transformers import AutoConfig, AutoProcessor, BitsAndBytesConfig, Qwen3VLConfig, Qwen3VLModel
from transformers.utils import is_bitsandbytes_available

from lerobot_qwenvla.configuration_qwenvla import QwenVLAConfig

logger = logging.getLogger(__name__)


class TruncatedQwen3VLModel(Qwen3VLModel):
    """A Qwen3-VL built with fewer text layers than its checkpoint holds, and without the final norm.

    Its output is exactly the full model's `hidden_states[num_hidden_layers]`.
    """

    _keys_to_ignore_on_load_unexpected = [r"language_model\.(layers|norm)\.", r"lm_head\."]  # noqa: RUF012

    def __init__(self, config: Qwen3VLConfig) -> None:
        super().__init__(config)
        self.language_model.norm = nn.Identity()


class FrozenBackbone(nn.Module):
    """First `vlm_layer` text layers and the vision tower of a Qwen3-VL; always in eval mode, never with gradient.

    Weights are read on the first `encode` (or by `load`), so that training on precomputed features never holds
    them. They are not part of any state dict: a 4-bit weight read back from a checkpoint would silently keep
    the old scales, and the source named in the config has them anyway.

    Raises:
        ValueError: The source is missing or no Qwen3-VL, `vlm_layer` exceeds its depth, its weights are missing or
            incomplete, or bitsandbytes is not installed for a quantised backbone.
    """

    def __init__(self, config: QwenVLAConfig) -> None:
        super().__init__()
        self.source = {"pretrained_model_name_or_path": config.backbone, "revision": config.backbone_revision}
        self.device = config.device
        self.dtype = getattr(torch, config.dtype)
        self.quantization = config.quantization
        # Smallest and largest allowed area, in pixels, are the same: every picture is resized to about that area.
        self.resize = {"shortest_edge": config.image_size**2, "longest_edge": config.image_size**2}
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
        self.model: TruncatedQwen3VLModel | None = None

    @property
    def width(self) -> int:
        """Width D of a feature."""
        return self.vlm_config.text_config.hidden_size

    def tokens_per_image(self, image_shape: tuple[int, int, int]) -> int:
        """Number T of features a picture of shape (C, H, W) becomes."""
        area = {"min_pixels": self.resize["shortest_edge"], "max_pixels": self.resize["longest_edge"]}
        patches = self.processor.image_processor.get_number_of_image_patches(*image_shape[1:], area)
        return patches // self.processor.image_processor.merge_size**2

    def load(self) -> None:
        """Reads the weights; does nothing when they are there already."""
        if self.model is None:
            self.model = _load_model(
                self.source,
                self.vlm_config,
                quantization=self.quantization,
                dtype=self.dtype,
                device=self.device,
            )

    def train(self, mode: bool = True) -> "FrozenBackbone":
        return super().train(False)

    def state_dict(self, *args: Any, destination: dict | None = None, **kwargs: Any) -> dict:
        return {} if destination is None else destination

    @torch.no_grad()
    def encode(self, images: Tensor, instructions: list[str]) -> Tensor:
        """Features of pictures that are each read after its own instruction.

        Args:
            images: (N, C, H, W) in [0, 1].
            instructions: N texts.

        Returns:
            (N, T, D) float32, the hidden states of each picture's tokens after `vlm_layer` layers.
        """
        self.load()
        prompts = {text: self._prompt(text) for text in set(instructions)}
        inputs = self.processor(
            text=[prompts[text] for text in instructions],
            images=list(images),
            padding=True,
            padding_side="right",  # behind the picture, where a causal model cannot see it
            do_rescale=False,
            size=self.resize,
            return_tensors="pt",
        ).to(images.device)
        # Autocast would change the features of a backbone that runs in its own, fixed type.
        with torch.autocast(images.device.type, enabled=False):
            hidden = self.model(**inputs, use_cache=False).last_hidden_state  # (N, L, D)
        is_image = inputs["input_ids"] == self.vlm_config.image_token_id  # (N, L)
        return hidden[is_image].reshape(len(images), -1, self.width).float()

    def _prompt(self, instruction: str) -> str:
        """The instruction comes before the picture, so that the picture's tokens have read it."""
        content = [{"type": "text", "text": instruction}, {"type": "image"}]
        return self.processor.apply_chat_template([{"role": "user", "content": content}], tokenize=False)


def _load_model(
    source: dict[str, Any], config: Qwen3VLConfig, *, quantization: str, dtype: torch.dtype, device: str
) -> TruncatedQwen3VLModel:
    name = source["pretrained_model_name_or_path"]
    if quantization != "none" and not is_bitsandbytes_available():
        raise ValueError(
            f"--policy.quantization={quantization} needs bitsandbytes: pip install bitsandbytes, "
            "or pass --policy.quantization=none"
        )
    try:
        model, loading = TruncatedQwen3VLModel.from_pretrained(
            **source,
            config=config,
            dtype=dtype,
            device_map={"": device},
            quantization_config=_quantization_config(quantization, dtype),
            output_loading_info=True,
        )
    except (OSError, SafetensorError) as error:
        raise ValueError(f"--policy.backbone={name}: {str(error).splitlines()[0]}; download it again") from error
    if loading["missing_keys"]:
        raise ValueError(
            f"--policy.backbone={name}: {len(loading['missing_keys'])} weights are missing, "
            f"the first is {min(loading['missing_keys'])}; download it again"
        )
    logger.info("Backbone %s: %.0f MB", name, model.get_memory_footprint() / 1e6)
    return model.requires_grad_(False).eval()


def _quantization_config(quantization: str, dtype: torch.dtype) -> BitsAndBytesConfig | None:
    keep = ["visual"]  # the vision tower is small and loses most by quantisation
    if quantization == "4bit":
        return BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=dtype,
            llm_int8_skip_modules=keep,
        )
    if quantization == "8bit":
        return BitsAndBytesConfig(load_in_8bit=True, llm_int8_skip_modules=keep)
    return None
