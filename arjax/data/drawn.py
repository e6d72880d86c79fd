"""Examples drawn from the model of another run, which is then their truth."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
from typing import Any

import jax
import numpy as np

from arjax.core.arrays import up_to_end
from arjax.core.batch import Batch
from arjax.core.errors import UserError
from arjax.core.files import user_path
from arjax.core.options import opt, seed_option
from arjax.core.spec import NO_CONTEXT
from arjax.core.traits import require
from arjax.data.base import DATASETS, Dataset, OpenRun, Truth, split_sizes
from arjax.data.sources import LazySource
from arjax.models.draws import keys_of
from arjax.models.extras import in_sequence

#: Examples that one call draws.
AT_ONCE = 512


@DATASETS.register("drawn")
def drawn(
    *,
    run: str = "",
    num_examples: int = opt(20_000, least=4),
    seed: int = seed_option(),
    open_run: OpenRun | None = None,
) -> Dataset:
    """Examples drawn from the best parameters of another run, in its order of sites; `truth` is that model.

    A split is drawn when it is read first, and again in each process: nothing is stored. It takes as long as sampling
    does: 6 s for 20,000 sequences of 64 tokens from a small GRU on two CPU cores. It is a function of the parameters
    and the seed, up to rounding on another device. Units, tokens and waveforms are those of that run's data. Of a run
    on strings, examples end where they do in its data, and what stands behind an end is not scored.

    Args:
      run: workdir of the other run, of an autoregressive model without a context, and of strings in the order of their
        tokens; others are refused.
      num_examples: of the train split; the others have a quarter of it.
      seed: of the draws.
      open_run: opens the run; filled in where a config is built.
    """
    if not run:
        raise UserError("the data set 'drawn' needs the option 'run', the workdir of the run that it is drawn from")
    if open_run is None:
        remedy = "use it in a config, or give make_dataset an `open_run`"
        raise UserError(f"the data set 'drawn' opens another run: {remedy}")
    sizes = split_sizes(num_examples)
    other = open_run(run)
    model = require(other.model, "conditionals", "the data set 'drawn'")
    if model.context_spec:
        raise UserError(f"the run in {run} has a context, and 'drawn' draws from models without one")
    end = other.dataset.end
    # of all orders that it was trained on, its own alone is that of the draws
    model = dataclasses.replace(model, orders=None)
    if end is not None and not in_sequence(model):
        raise UserError(
            f"the run in {run} visits the tokens of a string in another order than their own, so log p of a string is "
            "not known: 'drawn' needs a run in raster order"
        )
    truth, splits = Truth(model, other.params, end), {}
    for i, (split, size) in enumerate(sizes.items()):
        draw = functools.partial(_draw, truth, size, jax.random.fold_in(jax.random.key(seed), i))
        splits[split] = LazySource(truth.model.event, NO_CONTEXT, size, draw)
        if jax.process_count() > 1:
            splits[split].arrays  # noqa: B018  drawn now: all processes draw together, and none in a thread
    named = {"name": f"drawn/{user_path(run).name}", "fingerprint": _digest(other.params)}
    return dataclasses.replace(other.dataset, splits=splits, transform=None, answer="", truth=truth, **named)


def _draw(truth: Truth, num: int, key: jax.Array) -> Batch:
    """`num` examples, drawn by one program in batches of one size; example b has the key fold_in(key, b)."""
    size = min(AT_ONCE, num)
    keys, found = keys_of(key, -(-num // size) * size), []
    for first in range(0, num, size):
        found.append(np.asarray(truth.model.draw(truth.params, keys[first : first + size], end=truth.end).x))
    x = np.concatenate(found)[:num]
    return Batch(x, mask=None if truth.end is None else up_to_end(x, truth.end))


def _digest(params: Any) -> str:
    """Of the parameters: they may be trained further after a run has begun on their draws."""
    digest = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        digest.update(jax.tree_util.keystr(path).encode())
        digest.update(np.asarray(leaf).tobytes())
    return digest.hexdigest()
