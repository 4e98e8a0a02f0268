"""Writes a Qwen3-VL-2B-Instruct folder of true size and config with random weights (4.3 GB), to measure on offline.

    python benchmarks/full_size_backbone.py outputs/qwen3-vl-2b-random

Time and memory do not depend on what the weights are. Only the tokenizer differs: it has a few hundred words, and reads
others in pieces.
"""

import argparse
from pathlib import Path

import torch

from lerobot_qwenvla.backbone.tiny import write_random_backbone

TEXT = {
    "vocab_size": 151_936,
    "hidden_size": 2048,
    "intermediate_size": 6144,
    "num_hidden_layers": 28,
    "num_attention_heads": 16,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "max_position_embeddings": 262_144,
    "rope_parameters": {
        "rope_type": "default",
        "rope_theta": 5_000_000.0,
        "mrope_section": [24, 20, 20],
        "mrope_interleaved": True,
    },
}
VISION = {
    "depth": 24,
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "num_heads": 16,
    "patch_size": 16,
    "spatial_merge_size": 2,
    "temporal_patch_size": 2,
    "out_hidden_size": 2048,
    "num_position_embeddings": 2304,
    "deepstack_visual_indexes": [5, 11, 17],
}

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    args = parser.parse_args()
    print(write_random_backbone(args.folder, TEXT, VISION, dtype=torch.bfloat16, seed=0))
