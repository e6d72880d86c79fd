"""Samples of a model under another one, its judge: exposure bias where the truth is not known.

The nats of a model's own samples under a better model, beside those of the data under it, say how far the samples are
from the data in the eyes of the judge. Along a long text they show where the samples leave the data.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from arjax.core.arrays import up_to_end
from arjax.core.batch import Batch
from arjax.core.errors import UserError, refuse
from arjax.core.traits import require
from arjax.data import Dataset
from arjax.data.sources import ArraySource, read_all
from arjax.data.windows import RandomWindows, window_starts
from arjax.evaluation.likelihood import Evaluator
from arjax.evaluation.splits import Scoring, split_of
from arjax.evaluation.summaries import stderr_of, summarize
from arjax.models import AutoregressiveModel, Model
from arjax.models.checks import check_likelihood
from arjax.models.draws import keys_of
from arjax.models.longer import checked_length, of_length
from arjax.samplers import Request

#: Parts of a text whose nats are told apart, at most.
PARTS = 40


@dataclasses.dataclass(frozen=True)
class AlongText:
    """Nats per site under a judge in each of P equal parts of a text, means over sequences with their standard errors,
    float64[P] each.
    """

    places: np.ndarray  # the middle of each part, from 1
    own: np.ndarray  # of sequences that the model has drawn
    own_stderr: np.ndarray
    data: np.ndarray  # of texts of the data; empty if no text has this length
    data_stderr: np.ndarray


def check_judge(model: Model, judge: Model, length: int, dataset: Dataset) -> None:
    """Raises `UserError` unless the judge has a likelihood of the draws of the model, examples or sequences of `length`
    sites.
    """
    check_likelihood(judge, "config.evaluate.judge")
    events = f"the judge is of {judge.event.in_words}, and the model of {model.event.in_words}"
    if not length:
        if (judge.event, judge.context_spec) != (model.event, model.context_spec):
            raise UserError(f"{events}: both need the same data, or config.evaluate.length")
        return
    dataset.check_alike("config.evaluate.length")
    refuse(
        (dataset.end is not None, "config.evaluate.length is that of a text without an end, and these have one"),
        (model.context_spec or judge.context_spec, "config.evaluate.length needs models without a context"),
    )
    for one in (model, judge):
        require(one, "length", "config.evaluate.length")
        checked_length(one, Request(length=length))
    form_of_model, form = ((one.event.is_discrete, one.event.value_shape) for one in (model, judge))
    levels = model.event.num_levels
    refuse(
        (judge.event.num_levels != levels, f"the judge knows {judge.event.num_levels} tokens, and the model {levels}"),
        (form_of_model != form, f"{events}: both need values of one kind and shape"),  # binary values are tokens 0, 1
    )


def spread_rows(dataset: Dataset, split: str, num: int, key: jax.Array) -> Batch:
    """At most `num` scored examples of a split, evenly spread over it, as batches are when they are scored."""
    source = split_of(dataset, split)
    num = min(num, len(source))
    rows = source.__getitems__(np.arange(num) * len(source) // num)
    if rows.weight is not None:
        rows = rows.take(np.flatnonzero(rows.weight > 0))
    rows = rows.replace(weight=None)
    return rows if dataset.transform is None else dataset.transform(key, rows, False)


def judged_examples(
    model: Model,
    params: Any,
    dataset: Dataset,
    rows: Batch,
    judge: Any,
    *,
    num: int,
    batch_size: int,
    key: jax.Array,
    mesh: Mesh | None = None,
) -> dict[str, Any]:
    """The scores of samples and of data under a judge, `judge_own_NAME` and `judge_data_NAME` with the names of
    `Evaluator`.

    Args:
      model: draws the samples, under the contexts of the data, if it has contexts.
      rows: the data; a sample is scored at the sites at which a row is, or up to its end.
      judge: a run, or another `model` with its `params`, of any kind; where its scores are bounds, so are these.
      key: of the samples, and of scores that are drawn.
      mesh: that of the parameters of the judge; None: one device.
    """
    keys, end, drawn = keys_of(jax.random.fold_in(key, 0), num), dataset.end, []
    for start in range(0, num, batch_size):
        numbers = np.arange(start, min(start + batch_size, num))
        context = jax.tree.map(lambda part, numbers=numbers: jnp.asarray(part[numbers % len(rows)]), dict(rows.context))
        x = np.asarray(model.draw(params, keys[numbers], context=context or None, end=end).x)
        if end is None:  # the sites of the data: windows of a text score those that the window before has not
            mask = None if rows.mask is None else np.asarray(rows.mask)[numbers % len(rows)]
        else:
            mask = up_to_end(x, end)
        drawn.append(Batch(x, jax.tree.map(np.asarray, context), mask))
    samples = jax.tree.map(lambda *parts: np.concatenate(parts), *drawn)
    as_they_are = dataclasses.replace(dataset, transform=None, answer="")  # the rows are events already
    evaluator = Evaluator(judge.model, as_they_are, Scoring(batch_size, mesh, jax.random.fold_in(key, 1)))
    scores: dict[str, Any] = {}
    for name, examples in (("own", samples), ("data", rows)):
        source = ArraySource(dataset.event, examples.replace(extra={}), dataset.context)
        nats = evaluator.rows_of(judge.params, source)
        summary = summarize(nats["nll"], nats["sites"], dataset.event, dataset.text_unit)
        scores |= {f"judge_{name}_{score}": value for score, value in summary.items()}
    return scores


def judged_texts(
    model: AutoregressiveModel,
    params: Any,
    dataset: Dataset,
    split: str,
    judge: Any,
    *,
    num: int,
    length: int,
    batch_size: int,
    key: jax.Array,
) -> tuple[dict[str, Any], AlongText]:
    """The nats of sequences of any length under a judge, site by site.

    A judge whose network goes on behind its window reads the whole sequence; any other reads it in windows that overlap
    by half, so that each site is scored given at least half a window before it. The data are pieces of one text, where
    the examples of the split are windows over it. Returns the scores as `judged_examples` names them, and the nats
    along the sequences.

    Args:
      model: draws the sequences, see `arjax.models.longer`.
      judge: a run, or another `model` with its `params`: an autoregressive one of sequences in raster order.
    """
    reader = require(judge.model, "length", "config.evaluate.length")
    keys = keys_of(key, num)
    drawn = [model.draw(params, keys[n : n + batch_size], length=length).x for n in range(0, num, batch_size)]
    texts = {"own": np.concatenate([np.asarray(x) for x in drawn]), "data": _texts(dataset, split, num, length)}
    nats = {
        name: site_nats(reader, judge.params, x, batch_size, jax.random.fold_in(key, num + i))
        for i, (name, x) in enumerate(texts.items())
    }
    scores: dict[str, Any] = {}
    for name, nats_NL in nats.items():
        if len(nats_NL):
            summary = summarize(nats_NL.sum(1), np.full(len(nats_NL), length), dataset.event, dataset.text_unit)
            scores |= {f"judge_{name}_{score}": value for score, value in summary.items()}
    return scores, _along_text(length, *nats.values())


def _along_text(length: int, *nats: np.ndarray) -> AlongText:
    """The means of at most `PARTS` parts; neighbours of a sequence depend on one another, sequences do not."""
    starts = np.arange(0, length, -(-length // PARTS))
    sizes_P = np.diff([*starts, length])
    curves: list[np.ndarray] = []
    for nats_NL in nats:
        parts_NP = np.add.reduceat(nats_NL, starts, axis=1) / sizes_P
        curves += [parts_NP.mean(0), stderr_of(parts_NP)] if len(parts_NP) else [np.zeros(0)] * 2
    return AlongText(starts + (sizes_P + 1) / 2, *curves)


def _texts(dataset: Dataset, split: str, num: int, length: int) -> np.ndarray:
    """At most `num` pieces of the text of a split, evenly spread, int32[N, length]; none where it is no text of windows
    or shorter than a piece.
    """
    source, text = dataset.splits[split], np.zeros(0, np.int32)
    if isinstance(source, RandomWindows):
        text = np.asarray(source.arrays.x)
    elif dataset.vocabulary is not None and dataset.end is None:
        rows = read_all(source)  # each element of the text is scored in one window
        text = np.asarray(rows.x)[slice(None) if rows.mask is None else np.asarray(rows.mask) > 0].ravel()
    pieces = len(text) // length
    starts = np.arange(min(num, pieces)) * pieces // max(min(num, pieces), 1) * length
    return text[starts[:, None] + np.arange(length)].astype(np.int32)


def site_nats(
    model: AutoregressiveModel, params: Any, x: np.ndarray, batch_size: int, key: jax.Array | None = None
) -> np.ndarray:
    """-log p of each site of sequences [N, L, *value] of any length given those before it, float64[N, L]; see
    `judged_texts`. `key` is that of scores that are drawn.
    """
    key = jax.random.key(0) if key is None else key
    num, length = x.shape[:2]
    if not num:
        return np.zeros((0, length))
    model = of_length(model, length)
    size = model.event.num_sites
    padded = np.pad(x, [(0, 0), (0, max(size - length, 0)), *[(0, 0)] * (x.ndim - 2)])
    nats_NL = np.zeros(padded.shape[:2])
    for first in range(0, num, batch_size):
        rows = slice(first, first + batch_size)
        of_rows = jax.random.fold_in(key, first)
        for start, skip in zip(*window_starts(padded.shape[1], size, max(size // 2, 1)), strict=True):
            window = padded[rows, start : start + size], jax.random.fold_in(of_rows, start)
            log_prob = np.asarray(_log_prob_per_site(model, params, *window), np.float64)
            nats_NL[rows, start + skip : start + size] = -log_prob[:, skip:]
    return nats_NL[:, :length]


@jax.jit
def _log_prob_per_site(model: AutoregressiveModel, params: Any, x: jax.Array, key: jax.Array) -> jax.Array:
    return model.log_prob_per_site(params, x, key=key)
