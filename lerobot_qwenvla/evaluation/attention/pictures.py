"""Attention made visible: pictures dark where nobody looks, and words in bars."""

from collections.abc import Sequence

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from PIL import Image

# Share of its brightness that is left of what gets no attention.
DARKEST = 0.2
# Shorter pictures are enlarged to this height in a film.
FILM_HEIGHT_PX = 256


def spotlight(picture: np.ndarray, shares: np.ndarray, brightest: float) -> np.ndarray:
    """A picture as bright, at each place, as its token's share of the attention.

    Args:
        picture: (H, W, 3) in [0, 1].
        shares: Of its tokens.  # (rows, columns)
        brightest: The share that leaves a picture as it is.

    Returns:
        (H, W, 3) in [0, 1]
    """
    height, width, _ = picture.shape
    light = Image.fromarray(np.clip(shares / brightest, 0, 1).astype(np.float32))
    light = np.asarray(light.resize((width, height), Image.Resampling.BILINEAR))[..., None]
    return picture * (DARKEST + (1 - DARKEST) * light)


def film_frame(pictures: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """All the frames of a decision side by side, lit together, so that one can be told to get more than another.

    Args:
        pictures: (F, H, W, 3) in [0, 1].
        shares: (F, rows, columns)

    Returns:
        (H', W', 3) bytes, of even sides as videos need.
    """
    row = np.concatenate([spotlight(*each, shares.max()) for each in zip(pictures, shares, strict=True)], axis=1)
    scale = max(1, -(-FILM_HEIGHT_PX // row.shape[0]))
    row = row.repeat(scale, axis=0).repeat(scale, axis=1)
    return (255 * row[: row.shape[0] // 2 * 2, : row.shape[1] // 2 * 2]).round().astype(np.uint8)


def decision_figure(
    pictures: np.ndarray,
    shares: np.ndarray,
    offsets: Sequence[int],
    words: Sequence[str],
    word_shares: np.ndarray,
    title: str,
) -> Figure:
    """Where each layer looks in each frame of a decision, and which words each head hears.

    Args:
        pictures: (F, H, W, 3) in [0, 1].
        shares: (layers, F, rows, columns)
        offsets: Steps from the decision to each frame, F.
        words: Of the instruction, L.
        word_shares: (heads, L)
        title: Above all.
    """
    layers, frames = shares.shape[:2]
    figure = Figure(figsize=(1 + 2.1 * frames, 1.6 + 2.2 * layers + 0.3 * len(word_shares)), layout="constrained")
    upper, lower = figure.subfigures(2, height_ratios=[2.2 * layers, 1 + 0.3 * len(word_shares)])
    panels = upper.subplots(layers, frames, squeeze=False)
    for layer, row in enumerate(panels):
        for frame, axes in enumerate(row):
            axes.imshow(spotlight(pictures[frame], shares[layer, frame], shares[layer].max()))
            axes.set(xticks=[], yticks=[])
            axes.set_xlabel(f"{shares[layer, frame].sum():.0%}", fontsize=8)
            if layer == 0:
                axes.set_title(f"t − {-offsets[frame]}" if offsets[frame] else "t", fontsize=9)
            if frame == 0:
                axes.set_ylabel(f"layer {2 * layer}", fontsize=9)
    axes = lower.subplots()
    image = axes.imshow(word_shares, cmap="Blues", vmin=0, aspect="auto")
    axes.set_xticks(range(len(words)), words, rotation=45, ha="right", fontsize=8)
    axes.set_yticks(range(len(word_shares)), [f"head {i}" for i in range(len(word_shares))], fontsize=8)
    lower.colorbar(image, format=matplotlib.ticker.PercentFormatter(1, 0))
    figure.suptitle(title, x=0.01, ha="left", fontsize=10)
    return figure
