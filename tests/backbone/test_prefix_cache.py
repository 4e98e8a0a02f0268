import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lerobot_qwenvla.backbone.prefix_cache import PrefixCache, pad_words

LAYERS, HEADS, SIZE = 2, 3, 4
SLOT_BYTES = LAYERS * 2 * HEADS * 16 * SIZE * 4  # of up to 16 tokens in float32


class Reader:
    """Keys and values that tell which text, and which of its tokens, they are of; text "aaa" has three tokens."""

    def __init__(self) -> None:
        self.read: list[list[str]] = []

    def prefill(self, texts: list[str]) -> tuple[torch.Tensor, list[torch.Tensor]]:
        self.read.append(texts)
        lengths = [len(text) for text in texts]
        keys_values = torch.full((LAYERS, 2, len(texts), HEADS, max(lengths), SIZE), torch.nan)
        for n, text in enumerate(texts):
            keys_values[:, :, n, :, : len(text)] = torch.tensor([ord(letter) for letter in text])[:, None].float()
        return keys_values, [keys_values[0, 0, n, 0, :length] for n, length in enumerate(lengths)]


def texts_of(prefixes) -> list[str]:
    """The text before each row, as its keys and values tell it."""
    tokens = prefixes.keys_values[0, 0, prefixes.rows, 0, :, 0]
    rows = zip(tokens, prefixes.lengths, strict=True)
    return ["".join(chr(int(token)) for token in row[:length]) for row, length in rows]


def test_what_is_missing_is_read_together_and_once():
    cache, reader = PrefixCache(10**6), Reader()
    assert texts_of(cache.prefixes(["go", "stop", "go"], reader.prefill)) == ["go", "stop", "go"]
    assert texts_of(cache.prefixes(["turn", "stop", "jump"], reader.prefill)) == ["turn", "stop", "jump"]
    assert reader.read == [["go", "stop"], ["turn", "jump"]]


def test_words_of_an_instruction_are_kept_with_it():
    cache, reader = PrefixCache(10**6), Reader()
    cache.prefixes(["go", "stop"], reader.prefill)
    words = pad_words(cache.prefixes(["stop", "go"], reader.prefill).words)
    assert words[..., 0].tolist() == [[*map(ord, "stop")], [ord("g"), ord("o"), 0, 0]]
    assert len(reader.read) == 1


def test_the_least_recently_used_leave_when_the_bytes_are_used_up():
    cache, reader = PrefixCache(3 * SLOT_BYTES), Reader()
    for text in ("a", "b", "c", "a", "d"):
        cache.prefixes([text], reader.prefill)
    assert cache.nbytes <= 3 * SLOT_BYTES
    cache.prefixes(["a", "c", "d"], reader.prefill)
    assert reader.read == [["a"], ["b"], ["c"], ["d"]]
    cache.prefixes(["b"], reader.prefill)
    assert reader.read[-1] == ["b"]


def test_a_batch_of_more_than_fit_is_read_all_the_same():
    cache, reader = PrefixCache(2 * SLOT_BYTES), Reader()
    texts = [letter * 5 for letter in "abcdefgh"]
    assert texts_of(cache.prefixes(texts, reader.prefill)) == texts


def test_a_longer_instruction_leaves_the_shorter_ones_as_they_were():
    cache, reader = PrefixCache(10**6), Reader()
    cache.prefixes(["go", "stop"], reader.prefill)
    cache.prefixes(["x" * 40], reader.prefill)
    assert texts_of(cache.prefixes(["go", "x" * 40, "stop"], reader.prefill)) == ["go", "x" * 40, "stop"]
    assert len(reader.read) == 2


@given(
    batches=st.lists(st.lists(st.text("abc", min_size=1, max_size=20), min_size=1, max_size=6), max_size=12),
    slots=st.integers(1, 6),
)
@settings(deadline=None)
def test_any_batch_gets_its_texts_within_the_bound(batches, slots):
    cache, reader, largest = PrefixCache(slots * SLOT_BYTES), Reader(), 0
    for batch in batches:
        assert texts_of(cache.prefixes(batch, reader.prefill)) == batch
        largest = max(largest, len(set(batch)))
        assert cache.nbytes <= max(slots, 2 * largest) * SLOT_BYTES  # of up to 32 tokens


@pytest.mark.parametrize("rows", [["go"] * 3, ["go", "stop", "go"]])
def test_keys_and_values_of_pictures_follow_those_of_their_instruction(rows):
    prefixes = PrefixCache(10**6).prefixes(rows, Reader().prefill)
    pictures = torch.rand(3, HEADS, 7, SIZE)
    layer = prefixes.kv_cache().layers[1]
    keys, values = layer.update(pictures, -pictures)
    longest = max(map(len, rows))
    assert keys.shape == (3, HEADS, longest + 7, SIZE)
    assert torch.equal(keys[:, :, longest:], pictures) and torch.equal(values[:, :, longest:], -pictures)
    assert [chr(int(row[0, 0, 0])) for row in keys] == [text[0] for text in rows]
