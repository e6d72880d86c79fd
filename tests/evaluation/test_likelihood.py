import dataclasses

import jax
import numpy as np
import pytest
from compiled import of_model

from arjax.core.errors import UserError
from arjax.core.spec import EventSpec
from arjax.data import from_arrays
from arjax.evaluation.likelihood import Evaluator
from arjax.evaluation.splits import Scoring
from arjax.models import make_model
from arjax.parallel.sharding import make_mesh

EVENT = EventSpec((5,))


@pytest.fixture(scope="module")
def model():
    return make_model(EVENT, "made", hidden_sizes=(8,))


@pytest.fixture(scope="module")
def params(model):
    return jax.jit(model.init)(jax.random.key(0))


@pytest.fixture(scope="module")
def arrays():
    rng = np.random.default_rng(0)
    mask = rng.integers(0, 2, (23, 5))
    mask[:, 2] = 1
    mask[4] = 0
    return {"x": rng.integers(0, 2, (23, 5)), "mask": mask}


@pytest.mark.parametrize("batch_size", [7, *(pytest.param(n, marks=pytest.mark.slow) for n in (1, 23, 50))])
@pytest.mark.parametrize("masked", [False, True])
def test_equals_the_definition_for_every_batch_size(model, params, arrays, batch_size, masked):
    arrays = arrays if masked else {"x": arrays["x"]}
    mask = arrays["mask"] if masked else np.ones((23, 5), int)
    dataset = from_arrays(EVENT, train=arrays, test=arrays)
    scores = Evaluator(model, dataset, Scoring(batch_size, make_mesh()))(params, "test")

    per_site = np.asarray(of_model(model, "log_prob_per_site", params, arrays["x"]), np.float64)
    nll = -(per_site * mask).sum(1)[mask.sum(1) > 0]
    assert scores["num_examples"] == len(nll) == (22 if masked else 23)
    np.testing.assert_allclose(scores["nll_nats"], nll.mean(), rtol=1e-6)
    np.testing.assert_allclose(scores["nll_stderr"], nll.std(ddof=1) / len(nll) ** 0.5, rtol=1e-5)
    np.testing.assert_allclose(scores["bits_per_dim"], nll.sum() / mask.sum() / np.log(2), rtol=1e-6)
    ratio, sites = nll.sum() / mask.sum(), mask.sum(1)[mask.sum(1) > 0]
    stderr = np.std(nll - ratio * sites, ddof=1) / sites.mean() / len(nll) ** 0.5 / np.log(2)
    np.testing.assert_allclose(scores["bits_per_dim_stderr"], stderr, rtol=1e-5)
    assert scores.keys() == {"nll_nats", "nll_stderr", "bits_per_dim", "bits_per_dim_stderr", "num_examples"}


@pytest.mark.slow
def test_compiles_once_for_all_parameters_and_splits(model, params, arrays):
    dataset = from_arrays(EVENT, train=arrays, validation={k: a[:9] for k, a in arrays.items()}, test=arrays)
    evaluator = Evaluator(model, dataset, Scoring(8, make_mesh()))
    first = evaluator(params, "test")
    size = evaluator.scorer.program._cache_size()
    changed = evaluator(jax.tree.map(lambda p: p + 0.5, params), "test")
    evaluator(params, "validation")
    assert first != changed and evaluator(params, "test") == first
    assert evaluator.scorer.program._cache_size() == size
    assert Evaluator(model, dataset, Scoring(8, make_mesh())).scorer.program is evaluator.scorer.program, (
        "the same model, the same program"
    )


@pytest.mark.slow
def test_transform_gets_a_key_that_does_not_change_between_calls(model, params, arrays):

    def redraw(key, batch, train):
        assert not train
        return batch.replace(x=jax.random.bernoulli(key, 0.5, batch.x.shape).astype(int))

    dataset = dataclasses.replace(from_arrays(EVENT, train=arrays, test=arrays), transform=redraw)
    evaluator = Evaluator(model, dataset, Scoring(8, make_mesh()))
    assert evaluator(params, "test") == evaluator(params, "test")


def test_mistakes(model, params, arrays):
    dataset = from_arrays(EVENT, train=arrays, test={"x": arrays["x"], "mask": np.zeros((23, 5), int)})
    with pytest.raises(UserError, match="has no validation split"):
        Evaluator(model, dataset, Scoring(8, make_mesh()))(params, "validation")
    with pytest.raises(UserError, match=r"nothing is scored.*masks of all that count"):
        Evaluator(model, dataset, Scoring(8, make_mesh()))(params, "test")
    dataset = from_arrays(EVENT, train=arrays, test={"x": arrays["x"], "weight": np.zeros(23, int)})
    with pytest.raises(UserError, match="nothing is scored: the weights of all examples are 0"):
        Evaluator(model, dataset, Scoring(8, make_mesh()))(params, "test")


def scored_in_orders(arrays, orders):
    """A model, its scores as a mixture of three orders, and log p of each scored example under each of them."""
    model = make_model(EVENT, "made", hidden_sizes=(8,), orders=orders)
    params = jax.jit(model.init)(jax.random.key(0))
    dataset = from_arrays(EVENT, train=arrays, test=arrays)
    scores = Evaluator(model, dataset, Scoring(8, make_mesh(), num_orders=3))(params, "test")
    keep = arrays["mask"].sum(1) > 0
    score = jax.jit(lambda p, f: model.log_prob(p, arrays["x"], mask=arrays["mask"], factorization=f))
    per_order = np.stack([np.asarray(score(params, f), np.float64)[keep] for f in model.orders.members(3)])
    return model, dataset, scores, per_order


def test_a_mixture_of_weighted_orders_has_their_weights(arrays):
    model, _, scores, per_order = scored_in_orders(arrays, "weighted(of=('raster', 'uniform'), weights=(0.6, 0.4))")
    assert np.asarray(model.orders.members(3)[0].order).tolist() == list(range(5))
    raster = 0.6 + 0.4 / 120
    weights = np.array([raster, (1 - raster) / 2, (1 - raster) / 2])
    np.testing.assert_allclose(scores["nll_nats"], -np.log(weights @ np.exp(per_order)).mean(), rtol=1e-5)
    np.testing.assert_allclose(scores["negative_elbo_nats"], -(weights @ per_order).mean(), rtol=1e-5)
    by_number = [-per_order[0].mean(), scores["nll_nats"]]
    np.testing.assert_allclose(scores["nll_nats_by_num_orders"][::2], by_number, rtol=1e-5)


def test_a_mixture_of_orders_averages_whole_examples(arrays):
    model, dataset, scores, per_order = scored_in_orders(arrays, "pool(num=5)")
    mixtures = [-np.log(np.exp(per_order[:k]).mean(0)).mean() for k in (1, 2, 3)]
    assert scores["num_orders"] == 3
    np.testing.assert_allclose(scores["nll_nats"], mixtures[2], rtol=1e-6)
    np.testing.assert_allclose(scores["nll_nats_by_num_orders"], mixtures, rtol=1e-6)
    np.testing.assert_allclose(scores["negative_elbo_nats"], -per_order.mean(), rtol=1e-6)
    stderr = per_order.mean(1).std(ddof=1) / 3**0.5 * (1 - 3 / 5) ** 0.5  # three of five, without replacement
    np.testing.assert_allclose(scores["negative_elbo_stderr"], stderr, rtol=1e-5)
    assert scores["nll_nats"] < scores["negative_elbo_nats"]
    with pytest.raises(UserError, match="there are 5 orders to score, not 6"):
        Evaluator(model, dataset, Scoring(8, make_mesh(), num_orders=6))
