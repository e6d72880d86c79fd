"""The numbers of a report about many examples, from the scores of each."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from arjax.core.errors import UserError
from arjax.core.spec import EventSpec
from arjax.evaluation.answers import MEASURES
from arjax.evaluation.errors import ratio_of_means, stderr_of


def summarize_orders(nll_BK: np.ndarray) -> dict[str, Any]:
    """The entries of a result about several orders, from the nats of each example under each order.

    Returns:
      `num_orders` K; `negative_elbo_nats`, the mean over the orders, which bounds the nats of their mixture from above;
      `negative_elbo_stderr`, its standard error as an estimate of the mean over many more orders, of which these are
      drawn (the mean over all orders of a model has no such error); and
      `nll_nats_by_num_orders`, the nats of the mixtures of the first 1, 2, ..., K orders.
    """
    num_orders = nll_BK.shape[1]
    log_sum_BK = np.logaddexp.accumulate(-nll_BK, axis=1) - np.log(np.arange(1, num_orders + 1))
    means_K = nll_BK.mean(0)
    return {
        "num_orders": num_orders,
        "negative_elbo_nats": float(means_K.mean()),
        "negative_elbo_stderr": float(means_K.std(ddof=1) / math.sqrt(num_orders)) if num_orders > 1 else 0.0,
        "nll_nats_by_num_orders": [float(value) for value in -log_sum_BK.mean(0)],
    }


def summarize_terms(rows: Mapping[str, np.ndarray]) -> dict[str, float]:
    """The means of the terms of a score over the examples: `NAME_nats`, which add up to those of the score (but for the
    units of standardised data), and `NAME_stderr`.
    """
    counted = rows["sites"] > 0
    found = {}
    for name in rows:
        if name.startswith("terms/"):
            term = name.removeprefix("terms/")
            values = rows[name][counted]
            found |= {f"{term}_nats": float(values.mean()), f"{term}_stderr": float(stderr_of(values))}
    return found


def summarize_answers(rows: Mapping[str, np.ndarray]) -> dict[str, float]:
    """The mean error of the answers over the examples, by the name of the measure, and its standard error."""
    found = {}
    for name in MEASURES:
        if name in rows:
            values = rows[name][rows["sites"] > 0]
            found |= {name: float(values.mean()), f"{name}_stderr": float(stderr_of(values))}
    return found


def summarize(nll: np.ndarray, sites: np.ndarray, event: EventSpec, text: str = "") -> dict[str, float]:
    """The numbers that `evaluate` returns, from the nats and the scored sites of each example.

    Rows without a scored site (a window that is all context) are not examples. `text` is the unit of a text, "char" or
    "byte".
    """
    nll, sites = nll[sites > 0], sites[sites > 0]
    if not nll.size:
        raise UserError("nothing is scored: the weights of all examples are 0, or the masks of all that count")
    per_site, per_site_stderr = ratio_of_means(nll, sites)
    bits = 1 / math.log(2)
    result = {"nll_nats": float(nll.mean()), "nll_stderr": float(stderr_of(nll))}
    result |= _with_stderr("bits_per_dim", per_site, per_site_stderr, bits / event.value_size)
    result["num_examples"] = len(nll)
    if text:
        result |= _with_stderr(f"nll_nats_per_{text}", per_site, per_site_stderr)
        result |= _with_stderr(f"bits_per_{text}", per_site, per_site_stderr, bits)
        perplexity = float(np.exp(per_site))
        result |= {"perplexity": perplexity, "perplexity_stderr": perplexity * per_site_stderr}  # to first order
    if len(event.grid_shape) == 1 and event.value_shape:
        result |= _with_stderr("nll_nats_per_frame", per_site, per_site_stderr)
    return result


def _with_stderr(name: str, value: float, stderr: float, factor: float = 1.0) -> dict[str, float]:
    return {name: factor * value, f"{name}_stderr": factor * stderr}
