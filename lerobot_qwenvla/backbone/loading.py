"""Reading a part of a Qwen3-VL from its source, quantised or not, and nothing but that part."""

import logging
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import BitsAndBytesConfig, PreTrainedConfig, PreTrainedModel
from transformers.utils import is_bitsandbytes_available

logger = logging.getLogger(__name__)


def load_part[Part: PreTrainedModel](
    part: type[Part],
    config: PreTrainedConfig,
    source: dict[str, Any],
    *,
    prefix: str,
    quantization: str,
    dtype: torch.dtype,
    device: torch.device | str,
) -> Part:
    """The weights of `source` whose names begin with `prefix`, as a frozen model of class `part`.

    Raises:
        ValueError: The weights are missing or damaged, or bitsandbytes is not installed for a quantised part.
    """
    name = source["pretrained_model_name_or_path"]
    if quantization != "none" and not is_bitsandbytes_available():
        raise ValueError(
            f"a {quantization} backbone needs bitsandbytes: pip install bitsandbytes, or pass "
            "--policy.quantization=none --policy.vision_quantization=none"
        )
    try:
        model, loading = part.from_pretrained(
            **source,
            config=config,
            key_mapping={rf"^{prefix}\.": ""},
            dtype=dtype,
            device_map={"": device},
            quantization_config=quantization_config(quantization, dtype, keep=[]),
            output_loading_info=True,
        )
    except (OSError, SafetensorError) as error:
        raise ValueError(f"--policy.backbone={name}: {str(error).splitlines()[0]}; download it again") from error
    if missing := loading["missing_keys"]:
        raise ValueError(
            f"--policy.backbone={name}: {len(missing)} weights are missing, "
            f"the first is {prefix}.{min(missing)}; download it again"
        )
    logger.info("%s of %s: %.0f MB", part.__name__, name, model.get_memory_footprint() / 1e6)
    return model.requires_grad_(False).eval()


def quantization_config(quantization: str, dtype: torch.dtype, keep: list[str]) -> BitsAndBytesConfig | None:
    """transformers' config of a quantisation; modules named in `keep` stay as they are (None: the last one does)."""
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
