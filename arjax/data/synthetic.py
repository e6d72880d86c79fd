"""Random tokens: a data set of any size without a download, for plans and speed measurements."""

from __future__ import annotations

import numpy as np

from arjax.data.base import DATASETS, Dataset
from arjax.errors import UserError
from arjax.spec import NO_CONTEXT, EventSpec


class RandomTokens:
    """Uniformly random sequences; row i is a pure function of (seed, i), so nothing is stored."""

    def __init__(self, event: EventSpec, num_examples: int, seed: int):
        """`num_examples` rows of `event`."""
        self._event, self._num_examples, self._seed = event, num_examples, seed

    def __len__(self) -> int:
        return self._num_examples

    def __getitems__(self, indices: np.ndarray) -> dict[str, np.ndarray]:
        rows = [self._row(int(i)) for i in indices]
        return {"x": np.stack(rows)}

    def _row(self, i: int) -> np.ndarray:
        rng = np.random.default_rng((self._seed, i))
        return rng.integers(0, self._event.num_levels, self._event.shape, dtype=np.int32)


@DATASETS.register("random_tokens")
def random_tokens(*, length: int = 64, vocabulary: int = 256, num_examples: int = 1024) -> Dataset:
    """Sequences of uniformly random tokens: no model can do better than log(vocabulary) nats per token.

    Args:
      length: T, tokens of an example.
      vocabulary: V, number of distinct tokens.
      num_examples: examples of the train split; the others have 64 each.
    """
    if min(length, num_examples) < 1 or vocabulary < 3:
        raise UserError("random_tokens needs length and num_examples of at least 1 and a vocabulary of at least 3")
    event = EventSpec((length,), (), "tokens", vocabulary)
    sizes = {"train": num_examples, "validation": 64, "test": 64}
    splits = {name: RandomTokens(event, size, seed) for seed, (name, size) in enumerate(sizes.items())}
    return Dataset("random_tokens", event, NO_CONTEXT, splits)
