"""The model: sums of conditionals, masks, contexts, other orders; and as an argument of jitted functions."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import law_cases as cases
import numpy as np
import pytest
from built import built
from compiled import of_family, of_model

from arjax.core.errors import UserError
from arjax.core.spec import ContextSpec, EventSpec
from arjax.factorization import make_factorization
from arjax.models import make_model

EVENT = EventSpec((2, 3), (2,), "levels", 3)
X = cases.random_x(EVENT, 5)


@pytest.fixture(scope="module")
def made():
    return built(EVENT, hidden_sizes=(16,), ordering="random(seed=1)")


def test_each_site_is_scored_by_its_own_features(made):
    """log p is the sum; `conditionals` gives both parts, and the entropies."""
    model, params = made
    features, per_site = (of_model(model, name, params, X) for name in ("features", "log_prob_per_site"))
    np.testing.assert_allclose(per_site, of_family(model.conditional, "log_prob", features, X), rtol=1e-6)
    total = of_model(model, "log_prob", params, X)
    assert (per_site.shape, per_site.dtype, total.dtype) == ((5, 2, 3), jnp.float32, jnp.float32)
    np.testing.assert_allclose(total, np.asarray(per_site).sum((1, 2)), rtol=1e-6)
    assert total.std() > 0.1
    log_prob, entropy = of_model(model, "conditionals", params, X)
    np.testing.assert_allclose(log_prob, per_site, rtol=1e-6)
    np.testing.assert_allclose(entropy, of_family(model.conditional, "entropy", features), rtol=1e-6)
    assert entropy.shape == (5, 2, 3) and (entropy >= 0).all() and (entropy <= 2 * np.log(3) + 1e-5).all()


def test_mask_counts_only_what_it_marks(made):
    model, params = made
    mask = np.random.default_rng(0).integers(0, 2, (5, 2, 3)).astype(np.float32)
    expected = np.asarray(of_model(model, "log_prob_per_site", params, X)) * mask
    np.testing.assert_allclose(of_model(model, "log_prob_per_site", params, X, mask=mask), expected, rtol=1e-6)
    np.testing.assert_allclose(of_model(model, "log_prob", params, X, mask=mask), expected.sum((1, 2)), rtol=1e-6)
    np.testing.assert_array_equal(of_model(model, "log_prob", params, X, mask=0 * mask), np.zeros(5))


def test_masked_sites_pass_no_gradient_even_when_their_score_is_not_finite(made):
    """`where`, not a product: 0 * nan is nan."""
    model, params = made
    mask = np.ones((5, 2, 3))
    mask[:, 1] = 0
    params = params | {"out_bias": np.where(np.arange(36) < 18, params["out_bias"], np.nan)}  # at the last, masked site
    value, gradient = jax.jit(jax.value_and_grad(lambda p: model.log_prob(p, X, mask=mask).sum()))(params)
    assert np.isfinite(value) and np.isfinite(gradient["out_bias"][:18]).all()


def test_mean_log_probability_is_minus_the_entropy():
    """Over all examples: -sum_x p(x) log p(x) = E_x sum_t H(x_t | x_<t), the chain rule of entropy."""
    event = EventSpec((5,))
    model, params = built(event, hidden_sizes=(12,))
    everything = cases.all_values(event)
    log_p = np.asarray(of_model(model, "log_prob", params, everything), float)
    _, entropy = of_model(model, "conditionals", params, everything)
    np.testing.assert_allclose(-log_p @ np.exp(log_p), np.exp(log_p) @ np.asarray(entropy).sum(-1), rtol=1e-5)


def test_another_factorization_gives_the_likelihood_of_that_order(made):
    model, params = made
    other = make_model(EVENT, "made", hidden_sizes=(16,), ordering="random(seed=7)")
    found = of_model(model, "log_prob", params, X, factorization=other.factorization)
    np.testing.assert_allclose(found, of_model(other, "log_prob", params, X), rtol=1e-5)
    assert np.abs(found - of_model(model, "log_prob", params, X)).max() > 1e-3


@pytest.mark.parametrize(
    ("other", "message"),
    [(("spiral", "sites"), "pixelcnn needs a raster-like order "), (("raster", "rows"), "pixelcnn generates one site")],
)
def test_a_factorization_that_the_network_does_not_serve_is_refused(other, message):
    model, params = built(EVENT, "pixelcnn", hidden_size=8, num_layers=1, out_size=8)
    with pytest.raises(UserError, match=rf"^{message}"):
        model.log_prob(params, X, factorization=make_factorization((2, 3), *other))
    reverse = make_factorization((2, 3), "reversed")
    assert jax.eval_shape(lambda p: model.log_prob(p, X, factorization=reverse), params).shape == (5,)


@pytest.mark.parametrize(
    ("spec", "context", "other"),
    [
        (ContextSpec("label", 3), np.array([0, 1, 2, 0, 1]), np.array([0, 2, 2, 0, 1])),
        (ContextSpec("vector", 2), np.eye(5, 2, dtype=np.float32), np.eye(5, 2, 1, dtype=np.float32)),
    ],
)
def test_context_changes_the_rows_that_it_belongs_to(spec, context, other):
    model, params = built(EVENT, hidden_sizes=(16,), context=spec)
    before, after = (np.asarray(of_model(model, "log_prob", params, X, context=c)) for c in (context, other))
    changed = (context != other).reshape(5, -1).any(1)
    assert (np.abs(before - after)[changed] > 1e-3).all()
    np.testing.assert_array_equal(before[~changed], after[~changed])


def test_parameters_are_a_plain_dict_of_float32_and_a_function_of_the_key():
    model = make_model(EVENT, "made", hidden_sizes=(16,))
    init = jax.jit(model.init)
    params, again, other = (init(jax.random.key(k)) for k in (0, 0, 1))
    assert type(params) is dict
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {np.dtype(np.float32)}
    jax.tree.map(np.testing.assert_array_equal, params, again)
    assert np.abs(params["out_kernel"] - other["out_kernel"]).max() > 0


def test_its_repr_says_what_it_is(made):
    model, _ = made
    num = f"{model.num_params:,} parameters"
    assert repr(model).startswith(f"AutoregressiveModel(made; {num}; 2 x 3 sites of 2 scalars, 3")
    assert repr(model).endswith(" order; categorical)")
    context = ContextSpec("label", 3)
    several = make_model(EventSpec((3,)), "made", context=context, orders="uniform", hidden_sizes=(4,))
    assert "3 sites, binary; given label; raster order and others; bernoulli)" in repr(several)
    seen = []
    jax.jit(lambda model: seen.append(repr(model)))(model)
    assert "a traced order" in seen[0]


def counted(function):
    """The jitted function, and how often it was traced."""
    traces = []

    def traced(*args):
        traces.append(1)
        return function(*args)

    return jax.jit(traced), traces


@pytest.mark.parametrize(
    "network", ["made", *(pytest.param(n, marks=pytest.mark.slow) for n in ("lstm", "gated_pixelcnn"))]
)
def test_one_program_serves_equal_models_and_all_orders(network):
    score, traces = counted(lambda model, params, x: model.log_prob(params, x))
    orders = ("raster", "raster", "symmetry(flip=(0,))", "symmetry(flip=(0, 1))")
    models, (params, *_) = zip(*(built(EVENT, network, ordering=order) for order in orders), strict=True)
    scores = [np.asarray(score(model, params, X)) for model in models]
    assert len(traces) == 1
    np.testing.assert_array_equal(scores[0], scores[1])
    assert not np.allclose(scores[0], scores[2]) and not np.allclose(scores[2], scores[3])
    np.testing.assert_allclose(scores[3], jax.jit(models[3].log_prob)(params, X), rtol=1e-5)


@pytest.mark.slow
def test_equal_nested_conditionals_share_a_program():
    event = EventSpec((3,), (4,))
    options = {"conditional": "nested(network='made', hidden_sizes=(8,), ordering='random(seed=1)')"}
    score, traces = counted(lambda model, params, x: model.log_prob(params, x))
    models, (params, _) = zip(*(built(event, "rnn", **options) for _ in range(2)), strict=True)
    assert models[0].conditional == models[1].conditional
    assert hash(models[0].conditional) == hash(models[1].conditional)
    other = options["conditional"].replace("seed=1", "seed=2")
    assert models[0].conditional != built(event, "rnn", conditional=other)[0].conditional
    for model in models:
        score(model, params, np.zeros((2, 3, 4), np.int32))
    assert len(traces) == 1


@pytest.mark.parametrize("objective_orders", ["pool(num=3)", "uniform"])
def test_a_distribution_over_orders_is_part_of_the_pytree(objective_orders):
    model, _ = built(EVENT, orders=objective_orders)
    draw, traces = counted(lambda model, key: model.orders.draw(key).order)
    order = draw(model, jax.random.key(1))
    assert sorted(np.asarray(order)) == list(range(6)) and len(traces) == 1
    assert jax.tree.structure(model) == jax.tree.structure(built(EVENT, orders=objective_orders)[0])


def test_queries_say_that_they_need_the_orders_outside_of_jit():
    top = np.arange(6).reshape(2, 3) < 2
    queries = {
        "sample": lambda model, params: model.sample(params, jax.random.key(0), 1, given=X[0], observed=top),
        "score": lambda model, params: model.conditional_log_prob(params, X, query=~top, evidence=top),
    }
    for network, options in (("independent", {}), ("made", {"orders": "uniform"})):
        model, params = built(EVENT, network, **options)
        for query in queries.values():
            with pytest.raises(UserError, match=r"must be known outside `jit`.*close over the model"):
                jax.eval_shape(query, model, params)
            jax.eval_shape(lambda params, query=query, model=model: query(model, params), params)
