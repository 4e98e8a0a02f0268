from transformers import AutoTokenizer

from lerobot_qwenvla.evaluation.attention.words import words_of


def test_tokens_of_a_word_are_put_together(backbone_dir):
    tokenizer = AutoTokenizer.from_pretrained(backbone_dir)
    text = "<|im_start|>user\ngo to the box<|vision_start|>"
    ids = tokenizer(text).input_ids
    words = words_of(tokenizer, ids)
    assert [word.text for word in words] == [
        "<|im_start|>", "user", "go", "to", "the", "box", "<|vision_start|>"
    ]  # fmt: skip
    assert [word.start for word in words[1:]] == [word.stop for word in words[:-1]]
    assert (words[0].start, words[-1].stop) == (0, len(ids))
