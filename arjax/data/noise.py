"""Uniform noise of any shape: for plans and timings, which need shapes but no files."""

from __future__ import annotations

import numpy as np

from arjax.core.batch import Batch
from arjax.core.errors import UserError
from arjax.core.options import opt
from arjax.core.spec import KINDS, ContextSpec, EventSpec, class_label
from arjax.data.base import DATASETS, USUAL_LEVELS, Dataset, levels_of
from arjax.data.sources import SPLITS


@DATASETS.register("noise")
def noise(
    *,
    grid: tuple[int, ...] = (64,),
    value: tuple[int, ...] = (),
    kind: str = opt("tokens", choices=KINDS[:-1]),
    num_levels: int = USUAL_LEVELS,
    num_examples: int = 1024,
    num_classes: int = 0,
    context_length: int = 0,
) -> Dataset:
    """Examples of independent uniform (for real data standard normal) values; nothing can be learned from them.

    No model can score below `log(num_levels)` nats per scalar, which is a check as well.

    Args:
      grid: shape of the grid.
      value: shape of the value of a site, `()` for scalars.
      kind: "binary", "levels", "tokens" or "real".
      num_levels: number of values, of levels and tokens.
      num_examples: per split.
      num_classes: number of labels, or of tokens in a sequence, to condition on; 0 for no context.
      context_length: longest sequence of tokens to condition on (lengths are random too), 0 for one label.
    """
    event = EventSpec(tuple(grid), tuple(value), kind, levels_of(kind, num_levels))
    if context_length and not num_classes:
        raise UserError("the data set option 'context_length' needs 'num_classes', the number of tokens")
    context_kind = "sequence" if context_length else "label" if num_classes else "none"
    context = ContextSpec(context_kind, num_classes, context_length)
    splits = {split: NoiseSource(event, context, num_examples, i) for i, split in enumerate(SPLITS)}
    return Dataset("noise", event, context, splits)


class NoiseSource:
    """Draws an example from its index when it is read: a split of long sequences takes no memory."""

    def __init__(self, event: EventSpec, context: ContextSpec, num_examples: int, seed: int):
        """`seed` differs between splits."""
        self._event, self._context, self._num, self._seed = event, context, num_examples, seed

    def __len__(self) -> int:
        return self._num

    def __getitems__(self, indices: np.ndarray) -> Batch:
        draws = [self._draw(np.random.default_rng((self._seed, int(i)))) for i in np.asarray(indices).ravel()]
        x, context = np.stack([x for x, _ in draws]), np.array([context for _, context in draws], np.int32)
        return Batch(x, {name: context for name, _ in self._context.parts})

    def _draw(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray | int]:
        event, context = self._event, self._draw_context(rng)
        draw = rng.integers(event.num_levels, size=event.shape) if event.is_discrete else rng.normal(size=event.shape)
        return draw.astype(event.dtype), context

    def _draw_context(self, rng: np.random.Generator) -> np.ndarray | int:
        """A label, or a sequence of random length with -1 after its end."""
        part = self._context.parts[0][1] if self._context else class_label(1)
        if not part.grid_shape:
            return int(rng.integers(part.num_levels))
        length = part.num_sites
        tokens = rng.integers(part.num_levels, size=length)
        return np.where(np.arange(length) < rng.integers(1, length + 1), tokens, -1)
