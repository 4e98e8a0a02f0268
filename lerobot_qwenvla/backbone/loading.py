"""Reading a part of a Qwen3-VL from its source, quantised or not, and nothing but that part."""

import logging
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.utils import is_bitsandbytes_available

from lerobot_qwenvla.backbone.quantization import quantization_config

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
    dequantize: bool,
) -> Part:
    """The weights of `source` whose names begin with `prefix`, as a frozen model of class `part`.

    With `dequantize`, quantised weights are made whole again once, after they were read: the same values, without
    doing so for every product.

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
    if dequantize and quantization != "none":
        model = model.dequantize(dtype=dtype)
    logger.info("%s of %s: %.0f MB", part.__name__, name, model.get_memory_footprint() / 1e6)
    return model.requires_grad_(False).eval()
