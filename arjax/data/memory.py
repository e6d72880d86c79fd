"""Tests of memory: an answer at the end of a long sequence depends on its beginning (Bai, Kolter & Koltun, 2018)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from arjax.core.options import opt, seed_option
from arjax.core.spec import EventSpec
from arjax.data.base import DATASETS, Dataset, draw_splits, from_splits

#: Copy memory: symbols to be kept, and different ones; tokens of a blank and of the sign to begin.
KEPT, SYMBOLS, BLANK, SIGN = 10, 8, 0, 9
#: Adding: a marked number u in [0, 1] stands as u + MARK.
MARK = 2.0


@DATASETS.register("copy_memory")
def copy_memory(*, delay: int = 100, num_examples: int = opt(20_000, least=10), seed: int = seed_option()) -> Dataset:
    """Copy memory: ten symbols, a pause, a sign, and the ten symbols again, which alone are scored.

    "An Empirical Evaluation of Generic Convolutional and Recurrent Networks for Sequence Modeling" (2018), section 4,
    with `delay` T: T + 20 tokens, namely 10 of 1..8 drawn uniformly, T - 1 blanks (0), the sign (9), and the 10 again.
    The paper shows the sign ten more times in place of the answer; here the model reads the answer so far, as in any
    autoregressive sequence, which says nothing of the symbols to come. A model without memory scores 10 log 8 = 20.79
    nats, one that remembers 0. Evaluation also reports `accuracy`, the part of the ten symbols that are most probable.

    Args:
      delay: T, tokens between the symbols and their copies.
      num_examples: of the train split; the others have a tenth of it.
      seed: of the draws.
    """
    length = delay + 2 * KEPT
    event = EventSpec((length,), kind="tokens", num_levels=SYMBOLS + 2)

    def draw(rng: np.random.Generator, num: int) -> np.ndarray:
        x_NT = np.full((num, length), BLANK, np.int32)
        x_NT[:, :KEPT] = x_NT[:, -KEPT:] = rng.integers(1, SYMBOLS + 1, (num, KEPT))
        x_NT[:, -KEPT - 1] = SIGN
        return x_NT

    return _dataset("copy_memory", event, draw, KEPT, "accuracy", num_examples, seed)


@DATASETS.register("adding")
def adding(
    *, length: int = opt(100, least=2), num_examples: int = opt(20_000, least=10), seed: int = seed_option()
) -> Dataset:
    """The adding problem: numbers in [0, 1], two of which are marked, then their sum. Only the sum is scored.

    Hochreiter & Schmidhuber (1997); Bai, Kolter & Koltun (2018), section 4, with T = `length` numbers drawn uniformly
    and two places drawn without replacement. The paper gives each number and its marker as two channels. A site has one
    value here, the number u, or u + 2 where it is marked, so that every autoregressive network reads it. The sum has
    the variance 1/6: the `squared_error` of a model without memory, which evaluation reports of the most probable value
    (of a Gaussian its mean). Its nats, of the best Gaussian, are log(2 pi e / 6) / 2 = 0.523.

    Args:
      length: T, numbers before the sum.
      num_examples, seed: as of `copy_memory`.
    """

    def draw(rng: np.random.Generator, num: int) -> np.ndarray:
        u_NT = rng.random((num, length))
        marked_N2 = rng.random((num, length)).argsort(1)[:, :2]
        sum_N1 = np.take_along_axis(u_NT, marked_N2, 1).sum(1, keepdims=True)
        np.put_along_axis(u_NT, marked_N2, np.take_along_axis(u_NT, marked_N2, 1) + MARK, 1)
        return np.concatenate([u_NT, sum_N1], 1).astype(np.float32)

    return _dataset("adding", EventSpec((length + 1,), kind="real"), draw, 1, "squared_error", num_examples, seed)


def _dataset(name: str, event: EventSpec, draw, answer_size: int, answer: str, num_examples: int, seed: int) -> Dataset:
    """The data set of drawn splits, whose last `answer_size` sites are scored."""
    mask_T = np.arange(event.num_sites) >= event.num_sites - answer_size

    def with_mask(rng: np.random.Generator, num: int) -> dict[str, np.ndarray]:
        return {"x": draw(rng, num), "mask": np.broadcast_to(mask_T, (num, event.num_sites))}

    return answers(name, event, with_mask, answer, num_examples, seed)


def answers(
    name: str,
    event: EventSpec,
    draw: Callable[[np.random.Generator, int], dict[str, np.ndarray]],
    answer: str,
    num_examples: int,
    seed: int,
) -> Dataset:
    """The data set of drawn splits, `x` and a `mask` of the sites that are answers: they alone are scored."""
    return from_splits(event, draw_splits(draw, num_examples, seed, part=10), name=name, answer=answer)
