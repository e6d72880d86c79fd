"""Scores beside those of the distribution of the data."""

import jax
import numpy as np

from arjax.data import make_dataset
from arjax.evaluation.exposure import open_truth
from arjax.evaluation.report import Measures, report
from arjax.models import make_model
from arjax.testing.examples import random_like


def test_the_excess_is_the_mean_difference_of_the_examples_and_that_of_the_truth_is_none():
    dataset = make_dataset("markov_chain", levels=3, length=6, num_examples=80)
    model = make_model(dataset.event, "markov")
    params, truth = random_like(model.param_shapes), open_truth(dataset)
    rest = {"mesh": None, "seed": 0, "open_run": None}
    found = report(model, params, dataset, "train", Measures(32), **rest).scores
    x = dataset.splits["train"].__getitems__(np.arange(80)).x
    own, best = (
        -np.asarray(jax.jit(m.log_prob)(p, x), np.float64) for m, p in ((model, params), (truth.model, truth.params))
    )
    np.testing.assert_allclose(found["truth_nll_nats"], best.mean(), rtol=1e-5)
    np.testing.assert_allclose(found["excess_nats"], (own - best).mean(), rtol=1e-4)
    np.testing.assert_allclose(found["excess_stderr"], (own - best).std(ddof=1) / 80**0.5, rtol=1e-4)
    same = report(truth.model, truth.params, dataset, "train", Measures(32), **rest).scores
    assert same["excess_nats"] == same["excess_stderr"] == 0
