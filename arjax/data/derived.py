"""Data sets that are made of others: a stage of their examples, and draws from the model of another run."""

from __future__ import annotations

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np

from arjax.core.arrays import fingerprint_of_arrays, up_to_end
from arjax.core.batch import Batch
from arjax.core.errors import UserError, refuse
from arjax.core.files import user_path
from arjax.core.options import opt, seed_option
from arjax.core.spec import NO_CONTEXT
from arjax.core.traits import require
from arjax.data.base import DATASETS, Dataset, OpenRun, Truth, make_dataset, split_sizes
from arjax.data.sources import LazySource, Source, read_all
from arjax.stages import Stages, make_stages

#: Examples that one call draws.
AT_ONCE = 512


@DATASETS.register("stage")
def stage(
    *, of: str = "digits", stages: str = "digits(base=4)", number: int = 1, open_run: OpenRun | None = None
) -> Dataset:
    """One stage of the examples of another data set, with the coarser stages as the local part `coarse` of the context.

    A model of these data is the part of that number of a `cascade` of the other data: `train.init_from` loads its
    parameters into the cascade, as in `1=runs/coarse,2=runs/fine`. Where earlier stages exclude some values, it learns
    to avoid them, and the cascade leaves them out. Data that change in each step have no stages.

    Args:
      of: the call string of the other data set, such as "mnist(binarize='none')".
      stages: the call string of the stages.
      open_run: opens the run of the other data set, where it is made of one; filled in where a config is built.
    """
    whole = make_dataset(DATASETS.read(of), open_run=open_run)
    changes, kept = whole.transform is not None or whole.scale is not None, "a stage is one of examples as they are"
    refuse(
        (changes, f"the data set {of!r} changes or rescales its examples: {kept}"),
        (whole.has_holes, f"the data set {of!r} has missing values, which have no stages"),
    )
    cut, context = make_stages(stages, whole.event), whole.context
    most = len(cut.events)
    refuse((number > most, f"the data set option 'number' must be from 1 to {most}, not {number}"))
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
    """Returns stage k, counted from 0, of all examples of a source."""
    rows = read_all(source)
    parts = cut.split(np.asarray(rows.x))
    context = {name: np.asarray(part) for name, part in {**rows.context, **cut.context(k, parts[:k])}.items()}
    mask = None if rows.mask is None else np.asarray(cut.masks(np.asarray(rows.mask))[k])
    return dataclasses.replace(rows, x=np.asarray(parts[k]), context=context, mask=mask)


@DATASETS.register("drawn")
def drawn(
    *,
    run: str = "",
    num_examples: int = opt(20_000, least=4),
    seed: int = seed_option(),
    open_run: OpenRun | None = None,
) -> Dataset:
    """Examples drawn from the best parameters of another run, in its order of sites; `truth` is that model.

    Each process draws a split when it first reads it: nothing is stored. It takes as long as sampling: 6 s for 20,000
    sequences of 64 tokens from a small GRU on two CPU cores. The draws are a function of the parameters and the seed,
    up to rounding on another device. Units, tokens, waveforms and the ends of strings are as in that run's data; sites
    behind an end are not scored.

    Args:
      run: workdir of the other run, of an autoregressive model without a context, and of strings in the order of their
        tokens; others are refused.
      num_examples: of the train split; the others have a quarter of it.
      open_run: opens the run; filled in where a config is built.
    """
    refuse((not run, "the data set 'drawn' needs the option 'run', the workdir of the run that it is drawn from"))
    if open_run is None:
        remedy = "use it in a config, or give make_dataset an `open_run`"
        raise UserError(f"the data set 'drawn' opens another run: {remedy}")
    sizes = split_sizes(num_examples)
    other = open_run(run)
    model = require(other.model, "conditionals", "the data set 'drawn'")
    end = other.dataset.end
    other_order = f"the run in {run} visits the tokens of a string in another order than their own, so log p of one"
    refuse(
        (model.context_spec, f"the run in {run} has a context, and 'drawn' draws from models without one"),
        (end is not None and not model.in_sequence, f"{other_order} is not known: 'drawn' needs a run in raster order"),
    )
    # draws have the run's own order, whatever orders it was trained on
    truth, splits = Truth(dataclasses.replace(model, orders=None), other.params, end), {}
    for i, (split, size) in enumerate(sizes.items()):
        draw = functools.partial(_draw, truth, size, jax.random.fold_in(jax.random.key(seed), i))
        splits[split] = LazySource(model.event, NO_CONTEXT, size, draw)
        if jax.process_count() > 1:
            splits[split].arrays  # noqa: B018  drawn now: all processes draw together, and none in a thread
    # of the parameters, as the run may be trained further
    named = {"name": f"drawn/{user_path(run).name}", "fingerprint": fingerprint_of_arrays(other.params)}
    return dataclasses.replace(other.dataset, splits=splits, transform=None, answer="", truth=truth, **named)


def _draw(truth: Truth, num: int, key: jax.Array) -> Batch:
    """Draws `num` examples by one program in batches of one size; example b has the key fold_in(key, b)."""
    size, pieces = min(AT_ONCE, num), []
    keys = jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.arange(-(-num // size) * size))
    for first in range(0, num, size):
        pieces.append(np.asarray(truth.model.draw(truth.params, keys[first : first + size], end=truth.end).x))
    x = np.concatenate(pieces)[:num]
    return Batch(x, mask=None if truth.end is None else up_to_end(x, truth.end))
