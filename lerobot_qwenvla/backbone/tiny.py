"""Makes a small Qwen3-VL folder with random weights, for tests and for trying everything without a GPU.

It has the classes, files, prompt format and loading code of the real model. Frozen and random, its vision tower is a
bank of random features of the picture, which is enough for a policy to learn a simple task on.
"""

import argparse
import tempfile
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    AutoModelForImageTextToText,
    Qwen2TokenizerFast,
    Qwen2VLImageProcessor,
    Qwen3VLConfig,
    Qwen3VLProcessor,
    Qwen3VLVideoProcessor,
)

SPECIAL_TOKENS = (
    "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>",
    "<|video_pad|>",
)  # fmt: skip

# Common words of instructions: each is one token, as in Qwen3-VL, so that "red" is the same in words never trained on.
WORDS = """
a about above across after again against ahead all along also an and another any approach are area arm arms around as
at attack avoid away back ball balls be bed before begin behind belong belongs below beneath beside between big black
blade block blue book both box boxes branch branches brick bridge bring brown build button by can car card carry catch
ceiling center chair chest circle climb close collect color colour come comes cone continue corner corridor corridors
cover craft crate cross cube cursor cut cyan cylinder dark deep desk dig direction do door doors down drag drive drop
each east eat edge either empty end ends enemy enter entrance every everything exit face far fast few fight figure
find first floor follow for forest fork forward four from front full gap gate gather get give go goal gold grab grass
gray green grey ground hall hallway hand hard has have head heal here high hill hit hold home house how hunt I if in
inside into iron is it item its join jump junction keep key keys kill kit kitchen know lamp large last lava lead leave
left leg less let level lie lies light like line lit little long look low magenta make map marked maze me menu middle
mine monster more most mountain mouse move name named names near nearest need never next night no none north not
nothing now object objects of off old on once one open opening opposite or orange other out outside over pale pass
path pause pick picture pillar pink place plan plant play point post press pull purple push put quick quickly quit
reach read red rest return right ring river road roof room rooms rotate round row run safe same says search second see
select set shape she shield shoot short should show side sign silver sit skip slope slot slow slowly small so some
south space sphere splits square stairs stand stands start stay stone stop straight strike sword T table take talk tall
tell than that the their them then there these they thing things third this those three through throw time to together
top torch touch toward towards tower trap travel treasure tree triangle turn two under until up upstairs us use user
view violet visit wait walk wall walls want watch water way ways weapon west what wheel when where which white whose
wide will window with without wood words world write written yard yellow yes you your zone
"""

# The prompt format of Qwen3-VL, reduced to what one user turn needs.
CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n"
    "{% for part in message.content %}"
    "{% if part.type == 'image' %}<|vision_start|><|image_pad|><|vision_end|>{% else %}{{ part.text }}{% endif %}"
    "{% endfor %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def make_tiny_backbone(folder: Path, *, width: int = 128, text_layers: int = 6, seed: int = 0) -> Path:
    """Writes a Qwen3-VL of a few MB to `folder`; the same arguments always write the same weights.

    Raises:
        FileExistsError: `folder` exists.
    """
    text = {
        "vocab_size": len(_tokenizer()),
        "hidden_size": width,
        "intermediate_size": 2 * width,
        "num_hidden_layers": text_layers,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": width // 4,
        "rope_parameters": {
            "rope_type": "default",
            "rope_theta": 5_000_000.0,
            "mrope_section": [width // 8 - 2 * (width // 24), width // 24, width // 24],
            "mrope_interleaved": True,
        },
    }
    vision = {
        "depth": 4,
        "hidden_size": width,
        "intermediate_size": 2 * width,
        "num_heads": 4,
        "patch_size": 16,
        "out_hidden_size": width,
        "num_position_embeddings": 64,
        "deepstack_visual_indexes": [1, 2, 3],
    }
    return write_random_backbone(folder, text, vision, dtype=torch.float32, seed=seed)


def write_random_backbone(
    folder: Path, text: dict[str, Any], vision: dict[str, Any], *, dtype: torch.dtype, seed: int
) -> Path:
    """Writes a Qwen3-VL of the given text and vision configs with random weights, complete or not at all.

    Raises:
        FileExistsError: `folder` exists.
    """
    folder = Path(folder)
    if folder.exists():
        raise FileExistsError(f"{folder} exists; remove it or choose another folder")
    tokenizer = _tokenizer()
    token_id = tokenizer.convert_tokens_to_ids
    config = Qwen3VLConfig(
        text_config=text,
        vision_config=vision,
        image_token_id=token_id("<|image_pad|>"),
        video_token_id=token_id("<|video_pad|>"),
        vision_start_token_id=token_id("<|vision_start|>"),
        vision_end_token_id=token_id("<|vision_end|>"),
        tie_word_embeddings=True,
        dtype=dtype,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = AutoModelForImageTextToText.from_config(config, dtype=dtype)
    pictures = {
        "patch_size": 16,
        "temporal_patch_size": 2,
        "merge_size": 2,
        "image_mean": [0.5] * 3,
        "image_std": [0.5] * 3,
    }
    processor = Qwen3VLProcessor(
        image_processor=Qwen2VLImageProcessor(**pictures),
        tokenizer=tokenizer,
        video_processor=Qwen3VLVideoProcessor(**pictures),
        chat_template=CHAT_TEMPLATE,
    )
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as unfinished:
        model.save_pretrained(unfinished := Path(unfinished) / folder.name)
        processor.save_pretrained(unfinished)
        unfinished.rename(folder)
    return folder


def _tokenizer() -> Qwen2TokenizerFast:
    """One token per common word; others are read in pieces, to single bytes, so that any text in any language is."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=10_000,  # more than all merges make
        min_frequency=1,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    # At the beginning, with and without a capital, and behind a space.
    backend.train_from_iterator((f"{text} {word}" for word in WORDS.split() for text in (word, word.title())), trainer)
    tokenizer = Qwen2TokenizerFast(
        tokenizer_object=backend, unk_token=None, eos_token="<|im_end|>", pad_token="<|endoftext|>"
    )
    tokenizer.add_special_tokens({"additional_special_tokens": list(SPECIAL_TOKENS)})
    return tokenizer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="folder to write, e.g. outputs/tiny-qwen3-vl")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    print(make_tiny_backbone(args.folder, seed=args.seed))


if __name__ == "__main__":
    main()
