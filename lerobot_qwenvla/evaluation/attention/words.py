"""Tokens of an instruction → the words a reader knows."""

from typing import NamedTuple

from transformers import PreTrainedTokenizerBase

# How byte-level tokenizers write the space or the line break that a word begins with.
WORD_STARTS = ("Ġ", "Ċ")


class Word(NamedTuple):
    """A word, and which tokens it is made of."""

    text: str
    start: int
    stop: int


def words_of(tokenizer: PreTrainedTokenizerBase, token_ids: list[int]) -> list[Word]:
    """The words of a row of tokens; each mark of the chat format is one."""
    tokens = tokenizer.convert_ids_to_tokens(token_ids)
    marks = {token.content for token in tokenizer.added_tokens_decoder.values()}
    starts = [
        i
        for i, token in enumerate(tokens)
        if i == 0 or token in marks or tokens[i - 1] in marks or token.startswith(WORD_STARTS)
    ]
    return [
        Word(tokenizer.decode(token_ids[start:stop]).strip() or "⏎", start, stop)
        for start, stop in zip(starts, [*starts[1:], len(tokens)], strict=True)
    ]
