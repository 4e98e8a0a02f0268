"""Instructions that have been read: keys and values for all pictures that are read behind them, and hidden states."""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers.cache_utils import Cache, DynamicLayer

# The table grows by whole steps of tokens, so that a slightly longer instruction does not copy it.
TOKEN_STEP = 16
FIRST_SLOTS = 8

# Of N texts: keys and values (layers, 2, N, heads, P, head size), and hidden states, N times (P, D).
Prefill = Callable[[list[str]], tuple[Tensor, list[Tensor]]]


def pad_words(words: list[Tensor]) -> Tensor:
    """B times (P, D) → (B, L, D), with zeros behind the shorter ones: no token's hidden state is all zero."""
    return pad_sequence(words, batch_first=True)


@dataclass(frozen=True, eq=False)
class Prefixes:
    """What a batch of pictures is read behind.

    Attributes:
        keys_values: (layers, 2, N, heads, P, head size), of N instructions padded on the right to P tokens.
        rows: Which of the N stands before each of the B rows of the batch.
        words: Hidden states of the tokens of each row's instruction, B times (P, D).
    """

    keys_values: Tensor
    rows: list[int]
    words: list[Tensor]

    @property
    def lengths(self) -> list[int]:
        """Tokens of each row's instruction."""
        return [len(words) for words in self.words]

    def kv_cache(self) -> Cache:
        """transformers' cache of this batch."""
        is_one = len(set(self.rows)) == 1
        rows = self.rows[:1] if is_one else torch.tensor(self.rows, device=self.keys_values.device)
        return Cache(layers=[PrefixLayer(keys, values, rows) for keys, values in self.keys_values])


class PrefixLayer(DynamicLayer):
    """A layer's keys and values of N instructions (N, heads, P, head size), before those of B rows of pictures.

    What is read behind them is used once and not kept: the pictures' keys and values of all layers together would be
    most of the memory of a training step.
    """

    def __init__(self, keys: Tensor, values: Tensor, rows: Tensor | list[int]) -> None:
        super().__init__()
        self.keys, self.values, self.rows = keys, values, rows
        self.is_initialized = True

    def update(self, key_states: Tensor, value_states: Tensor, *_, **__) -> tuple[Tensor, Tensor]:
        """Keys and values of the instructions and of the pictures behind them.  # (B, heads, P + L, head size)"""
        size = key_states.shape[0], -1, -1, -1
        # One instruction for all rows (a list of its number) is not copied once per row first.
        before = (kept[self.rows].expand(size) for kept in (self.keys, self.values))
        return tuple(torch.cat(pair, dim=2) for pair in zip(before, (key_states, value_states), strict=True))


class PrefixCache:
    """Keys and values by instruction in one preallocated table; the least recently used leave when it is full.

    Not for two threads at once.
    """

    def __init__(self, max_bytes: int) -> None:
        """`max_bytes` bounds the table; only a batch of more instructions than fit makes it larger."""
        self.max_bytes = max_bytes
        self.clear()

    def clear(self) -> None:
        """Forgets all instructions."""
        self._table: Tensor | None = None  # (layers, 2, slots, heads, tokens, head size)
        self._slots: OrderedDict[str, int] = OrderedDict()  # least recently used first
        self._words: dict[str, Tensor] = {}

    def __len__(self) -> int:
        return len(self._slots)

    @property
    def nbytes(self) -> int:
        """Size of the table."""
        return 0 if self._table is None else self._table.nbytes

    def prefixes(self, instructions: list[str], prefill: Prefill) -> Prefixes:
        """Prefixes of a batch of B instructions.

        Args:
            instructions: B texts.
            prefill: Reads those that are missing, together.
        """
        distinct = dict.fromkeys(instructions)
        for text in distinct.keys() & self._slots.keys():
            self._slots.move_to_end(text)
        if missing := [text for text in distinct if text not in self._slots]:
            self._store(missing, *prefill(missing), needed=len(distinct))
        words = [self._words[text] for text in instructions]
        keys_values = self._table[..., : max(map(len, words)), :]
        return Prefixes(keys_values, [self._slots[text] for text in instructions], words)

    def _store(self, texts: list[str], keys_values: Tensor, words: list[Tensor], *, needed: int) -> None:
        """Puts new instructions in the place of free and of the least recently used ones."""
        self._grow(keys_values, slots=len(self._slots) + len(texts), needed=needed)
        capacity = self._table.shape[2]
        while len(self._slots) + len(texts) > capacity:
            oldest, _ = self._slots.popitem(last=False)
            del self._words[oldest]
        free = [slot for slot in range(capacity) if slot not in set(self._slots.values())][: len(texts)]
        self._table[:, :, free, :, : keys_values.shape[4]] = keys_values
        self._slots.update(zip(texts, free, strict=True))
        self._words.update((text, hidden.clone()) for text, hidden in zip(texts, words, strict=True))

    def _grow(self, keys_values: Tensor, *, slots: int, needed: int) -> None:
        """Makes room for `slots` instructions of that length as far as the bound allows, for `needed` in any case."""
        layers, two, _, heads, tokens, size = keys_values.shape
        old = self._table
        capacity, longest = (old.shape[2], old.shape[4]) if old is not None else (FIRST_SLOTS, 0)
        longest = max(longest, -(-tokens // TOKEN_STEP) * TOKEN_STEP)
        slot_bytes = layers * two * heads * longest * size * keys_values.element_size()
        while capacity < slots:
            capacity *= 2
        capacity = max(needed, min(capacity, self.max_bytes // slot_bytes))
        if old is not None and (capacity, longest) == (old.shape[2], old.shape[4]):
            return
        # Longer ones may leave room for fewer.
        while len(self._slots) > capacity:
            del self._words[self._slots.popitem(last=False)[0]]
        self._table = keys_values.new_zeros(layers, two, capacity, heads, longest, size)
        if self._slots:
            kept = list(self._slots.values())
            self._table[:, :, : len(kept), :, : old.shape[4]] = old[:, :, kept]
            self._slots = OrderedDict(zip(self._slots, range(len(kept)), strict=True))
