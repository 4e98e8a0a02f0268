"""The chat format around an instruction and its pictures, as token ids."""

import logging
from dataclasses import dataclass

from transformers import Qwen3VLProcessor

logger = logging.getLogger(__name__)

# What is read where nobody says what to do.
DEFAULT_INSTRUCTION = "Do what comes next."
# What is read where the instruction is hidden: for guidance, and for training that prepares it.
HIDDEN_INSTRUCTION = ""
# Far more than an instruction needs. What is longer is cut: a page of text pasted by mistake must not fill the memory.
MAX_INSTRUCTION_TOKENS = 512


@dataclass(frozen=True)
class Prompt:
    """Token ids of a user turn: `prefix` picture `between` picture `between` ... picture."""

    prefix: list[int]
    between: list[int]


def chat_prompt(processor: Qwen3VLProcessor, instruction: str) -> Prompt:
    """The instruction comes before the pictures, so that their tokens have read it.

    An instruction of more than `MAX_INSTRUCTION_TOKENS` tokens is cut to about as many, with a warning.

    Raises:
        ValueError: The instruction contains the placeholder of a picture or a video.
    """
    tokenizer = processor.tokenizer
    for placeholder in (processor.image_token, processor.video_token):
        if placeholder in instruction:
            raise ValueError(f"the instruction {instruction[:80]!r} contains {placeholder}; remove it")
    token_ids = tokenizer(instruction).input_ids
    if len(token_ids) > MAX_INSTRUCTION_TOKENS:
        logger.warning(
            "An instruction of %d tokens is cut to %d: %r...", len(token_ids), MAX_INSTRUCTION_TOKENS, instruction[:60]
        )
        instruction = tokenizer.decode(token_ids[:MAX_INSTRUCTION_TOKENS])
    content = [{"type": "text", "text": instruction}, {"type": "image"}, {"type": "image"}]
    text = processor.apply_chat_template([{"role": "user", "content": content}], tokenize=False)
    prefix, between, _ = text.split(processor.image_token)
    return Prompt(tokenizer(prefix).input_ids, tokenizer(between).input_ids)
