"""The plot of completions: visible sites, the truth, and several completions."""

from __future__ import annotations

import os

import numpy as np

from arjax.reporting.figures import new_figure, save_figure

#: The colour of hidden sites.
_VEIL = (0.55, 0.70, 0.85)


def draw_completions(
    path: str | os.PathLike,
    truth: np.ndarray,
    hidden: np.ndarray,
    drawn: np.ndarray,
    log_prob: np.ndarray,
    log_prob_truth: np.ndarray,
    max_value: float,
) -> None:
    """Draws one row per example: visible sites, the truth, and completions, each with its log-probability in nats.

    Args:
      truth: images [N, H, W] or [N, H, W, 3].
      hidden: bool[H, W].
      drawn: completions [N, K, H, W(, 3)].
      log_prob: of the completions, [N, K], and `log_prob_truth` [N].
    """
    num, num_completions = drawn.shape[:2]
    figure = new_figure(1.0 * (num_completions + 2), 1.18 * num)
    axes = figure.subplots(num, num_completions + 2, squeeze=False)
    for row, (image, completions) in enumerate(zip(truth, drawn, strict=True)):
        seen = _colour(image, max_value)
        seen[hidden] = _VEIL
        cells = [("seen", seen), (f"truth {log_prob_truth[row]:.1f}", _colour(image, max_value))]
        cells += [(f"{p:.1f}", _colour(c, max_value)) for p, c in zip(log_prob[row], completions, strict=True)]
        for axis, (title, tile) in zip(axes[row], cells, strict=True):
            axis.imshow(tile, interpolation="nearest")
            axis.set_title(title, fontsize=8, pad=2)
            axis.axis("off")
    save_figure(figure, path)


def _colour(image: np.ndarray, max_value: float) -> np.ndarray:
    """[H, W(, 3)] as colours in 0..1, [H, W, 3]."""
    scaled = np.clip(np.asarray(image, float) / max_value, 0, 1)
    return np.repeat(scaled[..., None], 3, axis=-1) if scaled.ndim == 2 else scaled
