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
    event, blocks_SM, num = tables.event, tables.blocks_SM, tables.num
    x = np.zeros((num, event.num_sites + 1, event.value_size), np.int32)  # one more for sites that do not exist
    if known is not None:
        x[:, :-1] = known.reshape(num, event.num_sites, -1)
    # All steps one behind another, each of them in one piece.
    values_SBn = x[:, blocks_SM].transpose(1, 0, 2, 3).reshape(len(blocks_SM), num, -1)
    goes_on_B = np.arange(num) < real
    for t, exists_n in enumerate(tables.exists_Sn):
        if end >= 0 and known is None:
            values_SBn[t, :real][~goes_on_B[:real]] = end
        coded_Bn = goes_on_B[:, None] & exists_n
        values_Bn = tables.step(chosen_by(chooser, None if coded_Bn.all() else coded_Bn, values_SBn[t]))
        if known is None:
            values_SBn[t] = values_Bn
        if end >= 0:
            goes_on_B &= values_Bn[:, 0] != end
    values_BSMv = values_SBn.reshape(*blocks_SM.shape[:1], num, -1, event.value_size).transpose(1, 0, 2, 3)
    x[:, blocks_SM.reshape(-1)] = values_BSMv.reshape(num, -1, event.value_size)
    return x[:, :-1].reshape(num, *event.shape).astype(event.dtype)
