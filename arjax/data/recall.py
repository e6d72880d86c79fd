"""Associative recall of several keys (Arora et al., 2023, "Zoology: Measuring and Improving Recall in Efficient
Language Models", section 3 and appendix E).
"""

from __future__ import annotations

import numpy as np

from arjax.core.errors import UserError
from arjax.core.options import opt, seed_option
from arjax.core.spec import EventSpec
from arjax.data.base import DATASETS, Dataset
from arjax.data.memory import answers

BLANK = 0
#: The exponent of the gaps between a pair and its question: p(g) is proportional to g^(POWER - 1).
POWER = 0.01


@DATASETS.register("recall")
def recall(
    *,
    pairs: int = 8,
    vocabulary: int = 64,
    length: int = 64,
    num_examples: int = opt(20_000, least=10),
    seed: int = seed_option(),
) -> Dataset:
    """Pairs of a key and a value, and later each key once more, with its value, which alone is scored: tokens [length].

    Keys are the tokens from 1 on, of which no pair has the same; values are those from `vocabulary` / 2 on. Questions
    stand at even places after the pairs, soon after them more often than late (a power law), and blanks (0) between.
    The paper leaves out the value after a question; here it stands there, as in any autoregressive sequence, and says
    nothing of other keys. A model without memory scores `pairs` log(vocabulary / 2) nats. Evaluation also reports
    `accuracy`, the part of the values that are most probable.

    Args:
      pairs: D; the paper has 4 to 64.
      vocabulary: tokens, an even number above twice `pairs`.
      length: tokens of a sequence, at least 4 for each pair.
      num_examples: of the train split; the others have a tenth of it.
      seed: of the draws.
    """
    for option, value, least in (("vocabulary", vocabulary, 2 * pairs + 2), ("length", length, 4 * pairs)):
        if value < least:
            raise UserError(f"the option {option!r} of the dataset 'recall' must be at least {least}, not {value}")
    half, places = vocabulary // 2, (length - 2 * pairs) // 2
    weights_P = np.arange(1, places + 1) ** (POWER - 1)

    def draw(rng: np.random.Generator, num: int) -> dict[str, np.ndarray]:
        keys_ND = rng.random((num, half - 1)).argsort(1)[:, :pairs] + 1
        values_ND = rng.integers(half, vocabulary, (num, pairs))
        # the places with the largest log w + Gumbel noise are draws without replacement
        scores_NP = np.log(weights_P) + rng.gumbel(size=(num, places))
        questions_ND = 2 * pairs + 2 * np.argpartition(-scores_NP, pairs - 1, 1)[:, :pairs]
        questions_ND = rng.permuted(questions_ND, axis=1)
        x_NT, mask_NT = np.full((num, length), BLANK, np.int32), np.zeros((num, length), bool)
        x_NT[:, 0 : 2 * pairs : 2], x_NT[:, 1 : 2 * pairs : 2] = keys_ND, values_ND
        np.put_along_axis(x_NT, questions_ND, keys_ND, 1)
        np.put_along_axis(x_NT, questions_ND + 1, values_ND, 1)
        np.put_along_axis(mask_NT, questions_ND + 1, True, 1)
        return {"x": x_NT, "mask": mask_NT}

    event = EventSpec((length,), kind="tokens", num_levels=vocabulary)
    return answers("recall", event, draw, "accuracy", num_examples, seed)
