"""A stage of another data set: the part of each example, given the coarser ones, to train a part of a cascade apart."""

from __future__ import annotations

import dataclasses
import functools

import numpy as np

from arjax.core.batch import Batch
from arjax.core.errors import UserError
from arjax.data.base import DATASETS, Dataset, OpenRun, make_dataset
from arjax.data.sources import LazySource, Source
from arjax.stages import Stages, make_stages


@DATASETS.register("stage")
def stage(
    *, of: str = "digits", stages: str = "digits(base=4)", number: int = 1, open_run: OpenRun | None = None
) -> Dataset:
    """One stage of the examples of another data set, with the coarser stages as the local part `coarse` of the context.

    A model of these data is the part of that number of a `cascade` of the other data: its parameters come into the
    cascade by `train.init_from`, as in `1=runs/coarse,2=runs/fine`. Where earlier stages leave less than all values, it
    learns to avoid the others, and the cascade leaves them out. Data that change in each step have no stages.

    Args:
      of: the call string of the other data set, such as "mnist(binarize='none')".
      stages: the call string of the stages.
      number: of the stage, from 1.
      open_run: opens the run of the other data set, where it is made of one; filled in where a config is built.
    """
    whole = make_dataset(DATASETS.read(of), open_run=open_run)
    if whole.transform is not None or whole.scale is not None:
        raise UserError(f"the data set {of!r} changes or rescales its examples: a stage is one of examples as they are")
    if whole.has_holes:
        raise UserError(f"the data set {of!r} has missing values, which have no stages")
    cut = make_stages(stages, whole.event)
    if number > len(cut.events):
        raise UserError(f"the data set option 'number' must be from 1 to {len(cut.events)}, not {number}")
    context = whole.context
    for name, part in cut.contexts[number - 1].parts:
        context = context.with_part(name, part, local=True)
    k, splits = number - 1, {}
    for split, source in whole.splits.items():
        make = functools.partial(_part, source, cut, k)
        splits[split] = LazySource(cut.events[k], context, len(source), make)
    first = next(iter(whole.splits.values())).__getitems__(np.zeros(1, int))
    if first.mask is not None:
        cut.masks(np.asarray(first.mask))  # raises where a part has no mask
    name = f"{whole.name}/{number} of {cut.call}"
    return Dataset(name, cut.events[k], context, splits, fingerprint=whole.fingerprint)


def _part(source: Source, cut: Stages, k: int) -> Batch:
    """Stage k, counted from 0, of all examples of a source."""
    rows = source.__getitems__(np.arange(len(source)))
    parts = cut.split(np.asarray(rows.x))
    context = {name: np.asarray(part) for name, part in {**rows.context, **cut.context(k, parts[:k])}.items()}
    mask = None if rows.mask is None else np.asarray(cut.masks(np.asarray(rows.mask))[k])
    return dataclasses.replace(rows, x=np.asarray(parts[k]), context=context, mask=mask)
