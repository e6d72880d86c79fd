"""Sets of sites (queries, evidence, what is hidden) and values beside them that do not fit: one sentence."""

import jax
import numpy as np
import pytest

from arjax.core.batch import Batch
from arjax.core.errors import UserError
from arjax.core.spec import EventSpec
from arjax.data import from_arrays
from arjax.evaluation.inpainting import completions_of, score_hidden
from arjax.evaluation.splits import Scoring
from arjax.models import make_model

EVENT, KEY = EventSpec((3,), (), "levels", 4), jax.random.key(0)
MODEL = make_model(EVENT, "made", hidden_sizes=(4,), orders="uniform")
X = np.array([[0, 1, 2], [3, 2, 1]])
LAST, NONE = np.array([0, 0, 1]), np.array([0, 0, 0])
DATASET = from_arrays(EVENT, train=X, test=X)


@pytest.fixture(scope="module")
def params():
    return MODEL.init(KEY)


def queries(params, sites):
    """Every function that takes a set of sites, with the name of the set in its messages."""
    return {
        "the query": lambda: MODEL.conditional_log_prob(params, X, query=sites, evidence=NONE),
        "the evidence": lambda: MODEL.conditional_log_prob(params, X, query=LAST, evidence=sites),
        "`observed`": lambda: MODEL.sample(params, KEY, 2, given=X, observed=sites),
        "hidden": lambda: score_hidden(MODEL, params, DATASET, "test", sites, NONE, Scoring(2)),
        "visible": lambda: score_hidden(MODEL, params, DATASET, "test", LAST, sites, Scoring(2)),
    }


@pytest.mark.parametrize(
    ("sites", "message"),
    [
        ([0, 2, 1], "must be 0 or 1 everywhere, not 2"),
        ([np.nan, 0, 0], "must be 0 or 1 everywhere, not nan"),
        (np.ones((2, 3)), r"has shape \(2, 3\), but the grid is \(3,\)"),
        ("abc", "must be real numbers"),
    ],
)
def test_what_is_no_set_of_sites_is_told(params, sites, message):
    for name, call in queries(params, sites).items():
        with pytest.raises(UserError, match=f"{name} {message}"):
            call()
    with pytest.raises(UserError, match=f"hidden {message}"):
        completions_of(MODEL, params, Batch(X), sites, 2, KEY)


def test_sets_of_sites_are_no_arguments_of_jitted_functions(params):
    for name in ("the query", "the evidence", "`observed`"):
        with pytest.raises(UserError, match=f"{name} must be known outside `jit`"):
            jax.jit(lambda sites, name=name: queries(params, sites)[name]())(LAST)


def test_hidden_sites_may_be_integers(params):
    done, same = (completions_of(MODEL, params, Batch(X), sites, 2, KEY) for sites in (LAST, LAST > 0))
    np.testing.assert_array_equal(done.drawn, same.drawn)
    assert (done.drawn[:, :, :2] == X[:, None, :2]).all()


def test_a_batch_of_a_split_is_a_whole_number(params):
    with pytest.raises(UserError, match="the evaluation batch size must be a whole number, at least 1"):
        score_hidden(MODEL, params, DATASET, "test", LAST, NONE, Scoring(2.5))
