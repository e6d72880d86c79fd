"""Examples in batches: the rows of a batch are coded side by side, step by step, one batch after another."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from arjax.coding.choosers import Chooser, chosen_by
from arjax.coding.tables import Choice, MixedTables
from arjax.core.batch import Array
from arjax.core.spec import EventSpec

#: The parts of the context of some examples, [N, ...] each, by name.
Contexts = Mapping[str, Array]


def code_examples(
    choice: Choice, chooser: Chooser, batch: int, num: int, context: Contexts, end: int, x: np.ndarray | None = None
) -> np.ndarray:
    """All examples, [N, *grid, *value], whose values a chooser chooses: those of `x` where they are known.

    The rows that fill up the last batch are zeros, on both sides.

    Args:
      batch: B, rows side by side.
      num: N.
      context: their contexts.
      end: the token behind which a row holds nothing else, in raster order; -1 where there is none.
    """
    event: EventSpec = choice.members[0].model.event
    tables, found = MixedTables(choice.members, batch), np.zeros((num, *event.shape), event.dtype)
    for start in range(0, num, batch):
        rows = np.minimum(np.arange(start, start + batch), num - 1)
        real = min(batch, num - start)
        parts = {name: np.asarray(part)[rows] for name, part in context.items()}
        tables.begin(parts)
        known = None
        if x is not None:
            known = np.zeros((batch, *event.shape), event.dtype)
            known[:real] = x[start : start + real]
        found[start : start + real] = _code_batch(tables, chooser, real, end, known)[:real]
    return found


def _code_batch(tables: MixedTables, chooser: Chooser, real: int, end: int, known: np.ndarray | None) -> np.ndarray:
    """The values of the B rows of tables that have begun, [B, *grid, *value]; the first ones are real."""
    model = tables.steps[0].model
    event, blocks_SM = model.event, np.asarray(model.factorization.blocks)
    num = tables.num
    x = np.zeros((num, event.num_sites + 1, event.value_size), np.int32)  # one more for sites that do not exist
    if known is not None:
        x[:, :-1] = known.reshape(num, event.num_sites, -1)
    real_B = np.arange(num) < real
    ended_B = np.zeros(num, bool)
    for t in range(len(blocks_SM)):
        coded_Bn = (real_B & ~ended_B)[:, None] & tables.exists_Sn[t]
        values_Bn = np.ascontiguousarray(x[:, blocks_SM[t]].reshape(num, -1))
        if end >= 0 and known is None:
            values_Bn[ended_B] = end
        values_Bn = tables.step(chosen_by(chooser, coded_Bn, values_Bn))
        x[:, blocks_SM[t]] = values_Bn.reshape(num, -1, event.value_size)
        x[:, -1] = 0
        if end >= 0:
            ended_B |= values_Bn[:, 0] == end
    return x[:, :-1].reshape(num, *event.shape).astype(event.dtype)
