"""`qwenvla-attention`: where a policy looks in recorded episodes, and which words of their instructions it hears.

Takes `--policy.path=CHECKPOINT` and the `--dataset` arguments of `lerobot-train`. To `--output` goes of each episode a
film of what the layers look at on average, and a picture of the middle decision by layer; and the shares as JSON.
"""

import json
import sys
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from draccus.utils import DraccusException
from lerobot.configs import parser
from lerobot.utils.io_utils import write_video
from matplotlib.figure import Figure
from peft import PeftModel
from torch import Tensor
from torch.utils.data import DataLoader, Subset
from tqdm import tqdm

from lerobot_qwenvla.backbone.prompt import DEFAULT_INSTRUCTION, chat_prompt
from lerobot_qwenvla.evaluation.attention.pictures import decision_figure, film_frame
from lerobot_qwenvla.evaluation.attention.weights import Shares, attend
from lerobot_qwenvla.evaluation.attention.words import words_of
from lerobot_qwenvla.evaluation.loading import Subject, SubjectConfig, load
from lerobot_qwenvla.features.columns import feature_columns
from lerobot_qwenvla.policy.modeling_qwenvla import QwenVLAPolicy


@dataclass
class AttentionConfig(SubjectConfig):
    """The policy, the dataset, and:"""

    # Folder to write films, pictures and attention.json to.
    output: Path = Path("outputs/attention")
    # Episodes shown, the first of those chosen.
    show_episodes: int = 3
    # Frames looked at together.
    batch_size: int = 16
    # Of the noise, one for all frames.
    seed: int = 0


@dataclass(frozen=True)
class EpisodeAttention:
    """Where a policy looks at each of the N frames of an episode.

    Attributes:
        pictures: Per camera what each decision saw.  # (N, F, H, W, 3) in [0, 1]
        shares: Of N decisions, on the CPU.
        words: Of the instruction.
        word_shares: (heads, words)
    """

    episode: int
    instruction: str
    pictures: dict[str, np.ndarray]
    shares: Shares
    words: list[str]
    word_shares: np.ndarray


def look(subject: Subject, episode: int, *, batch_size: int, seed: int) -> EpisodeAttention:
    """Has the policy decide at every frame of one of the subject's episodes.

    Raises:
        ValueError: The dataset has precomputed features, which can't be shown.
    """
    if feature_columns(subject.dataset.meta.features):
        raise ValueError("precomputed features can't be shown; pass the dataset of pictures they were computed from")
    policy = subject.policy.get_base_model() if isinstance(subject.policy, PeftModel) else subject.policy
    noise = torch.randn(1, *policy.model.chunk_shape, generator=torch.Generator().manual_seed(seed))
    rows = np.flatnonzero(np.asarray(subject.dataset.hf_dataset.with_format("numpy")["episode_index"][:]) == episode)
    parts: list[Shares] = []
    pictures: dict[str, list[Tensor]] = {camera: [] for camera in policy.config.image_features}
    for batch in DataLoader(Subset(subject.dataset, rows.tolist()), batch_size=batch_size):
        instruction = batch["task"][0]
        size = len(batch["task"])
        parts.append(attend(policy, subject.preprocessor(batch), noise.expand(size, -1, -1).to(policy.config.device)))
        for camera, shown in pictures.items():
            shown.append(batch[camera].movedim(-3, -1))
    shares = Shares(
        {camera: torch.cat([part.pictures[camera] for part in parts]).cpu() for camera in parts[0].pictures},
        None if parts[0].state is None else torch.cat([part.state for part in parts]).cpu(),
        torch.cat([part.words for part in parts]).cpu(),
    )
    words, word_shares = _by_word(policy, instruction or DEFAULT_INSTRUCTION, shares.words[0])
    shown = {camera: torch.cat(each).numpy() for camera, each in pictures.items()}
    return EpisodeAttention(episode, instruction, shown, shares, words, word_shares)


def figure_of(seen: EpisodeAttention, camera: str, offsets: list[int]) -> Figure:
    """The decision in the middle of an episode, by layer."""
    middle = len(seen.pictures[camera]) // 2
    return decision_figure(
        seen.pictures[camera][middle],
        seen.shares.pictures[camera][middle].numpy(),
        offsets,
        seen.words,
        seen.word_shares,
        f"Episode {seen.episode}, frame {middle}: “{seen.instruction}”",
    )


def summary(seen: EpisodeAttention) -> dict[str, Any]:
    """Mean shares of an episode: by layer of each frame and of the state, and by head of the words."""
    by_frame = {camera: each.sum((-2, -1)).mean(0).tolist() for camera, each in seen.shares.pictures.items()}
    return {
        "episode": seen.episode,
        "instruction": seen.instruction,
        "frames": by_frame,
        "state": None if seen.shares.state is None else seen.shares.state.mean(0).tolist(),
        "words": seen.words,
        "word_shares": seen.word_shares.tolist(),
    }


def show(config: AttentionConfig) -> None:
    """Looks, and writes.

    Raises:
        ValueError: Policy, dataset or options don't fit each other.
    """
    for name in ("show_episodes", "batch_size"):
        if (value := getattr(config, name)) < 1:
            raise ValueError(f"--{name} must be at least 1, got {value}")
    # A compiled policy would not be overheard, and takes minutes to begin.
    subject = load(config, compile_model=False)
    config.output.mkdir(parents=True, exist_ok=True)
    summaries = []
    for episode in tqdm(list(islice(subject.episodes, config.show_episodes)), "Looking", unit="episode"):
        seen = look(subject, episode, batch_size=config.batch_size, seed=config.seed)
        for camera, shares in seen.shares.pictures.items():
            name = f"episode_{episode:03d}_{camera.split('.')[-1]}"
            decisions = zip(seen.pictures[camera], shares.mean(1).numpy(), strict=True)
            write_video(config.output / f"{name}.mp4", [film_frame(*each) for each in decisions], subject.dataset.fps)
            figure_of(seen, camera, subject.policy.config.frame_offsets).savefig(config.output / f"{name}.png", dpi=110)
        summaries.append(summary(seen))
    facts = {"checkpoint": subject.path, "selection": subject.which, "seed": config.seed, "episodes": summaries}
    (config.output / "attention.json").write_text(json.dumps(facts, indent=2), encoding="utf-8")
    print(f"Written to {config.output}")


def _by_word(policy: QwenVLAPolicy, instruction: str, shares: Tensor) -> tuple[list[str], np.ndarray]:
    """Shares of tokens (heads, L) → words and their shares (heads, words)."""
    processor = policy.backbone.processor
    words = words_of(processor.tokenizer, chat_prompt(processor, instruction).prefix)
    by_word = [shares[:, word.start : word.stop].sum(1) for word in words]
    return [word.text for word in words], torch.stack(by_word, dim=1).numpy()


@parser.wrap()
def _run(config: AttentionConfig) -> None:
    show(config)


def main() -> None:
    try:
        _run()
    except (ValueError, OSError, DraccusException) as error:
        sys.exit(f"qwenvla-attention: {' '.join(str(error).split())}")
    except KeyboardInterrupt:
        sys.exit("\nqwenvla-attention: interrupted")


if __name__ == "__main__":
    main()
