"""Joint conditionals keep the dependence within a step: against sums over all values, for every partition and form."""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import law_cases as cases
import numpy as np
import pytest
from compiled import of_family
from joint_cases import (
    ALL,
    BACKWARDS,
    CALLS,
    CATEGORIES,
    DEEP,
    EVENT,
    MIXTURE,
    NESTED,
    PARTITIONS,
    VECTORS,
    build,
    each,
    joint,
    marginal,
    scores,
)

from arjax.conditionals import make_conditional
from arjax.core.batch import Batch
from arjax.core.errors import UserError
from arjax.core.spec import EventSpec
from arjax.factorization import make_factorization
from arjax.models import make_model
from arjax.objectives import ObjectiveState, Step, make_objective

BLOCKS, SIZES = "blocks(size=3)", "sizes(sizes=(1, 3, 2))"


#: Steps of different sizes are the general case.
each_partition = pytest.mark.parametrize(
    "partition", [pytest.param(name, marks=[pytest.mark.slow] * (name != SIZES)) for name in PARTITIONS]
)


@pytest.mark.parametrize("conditional", [*CALLS, DEEP])
@each_partition
def test_the_joint_sums_to_one_and_sites_of_a_step_depend_on_one_another(conditional, partition):
    if conditional == DEEP and partition != SIZES:
        pytest.skip("its inner sizes are those of three indices")
    model, params = build(
        conditional, partition, ordering="list(order=(4, 0, 5, 2, 1, 3))" if "(" in partition else "snake"
    )
    p = joint(model, params)
    assert abs(p.sum() - 1) < 1e-5 and np.log(p).std() > 0.05
    blocks = [[int(i) for i in block if i < 6] for block in np.asarray(model.factorization.blocks)]
    before, block = ([], blocks[0]) if len(blocks[0]) > 1 else blocks[:2]

    def given_before(sites):
        return marginal(p, [*before, *sites]) / marginal(p, before)

    assert np.abs(given_before(block) - np.prod([given_before([i]) for i in block], 0)).max() > 1e-3


@pytest.mark.slow
@each
@each_partition
def test_each_site_is_scored_given_the_sites_visited_before_it(conditional, partition):
    model, params = build(conditional, partition)
    p, per_site = joint(model, params), np.asarray(scores(model, params, ALL)[1], np.float64).reshape(-1, 6)
    factorization = model.factorization
    index_in_block = np.asarray(factorization.index_in_blocks) % factorization.block_size
    order = -index_in_block if conditional == BACKWARDS else index_in_block
    step = np.asarray(factorization.step)
    for site in range(6):
        before = [j for j in range(6) if (step[j], order[j]) < (step[site], order[site])]
        expected = np.log(marginal(p, [*before, site])) - np.log(marginal(p, before))
        np.testing.assert_allclose(per_site[:, site], expected, atol=2e-5)


@pytest.mark.slow
@each
def test_entropies_are_those_of_the_sites_given_the_sites_before(conditional):
    model, params = build(conditional, "sizes(sizes=(1, 3, 2))")
    _, per_site, (log_prob, entropy) = scores(model, params, ALL)
    np.testing.assert_allclose(log_prob, per_site, atol=1e-6)
    for site in range(6):
        other = ALL.reshape(-1, 6).copy()
        other[:, site] = 1 - other[:, site]
        pair = [np.asarray(scores(model, params, x.reshape(ALL.shape))[1], np.float64) for x in (ALL, other)]
        pair = np.stack([values.reshape(-1, 6)[:, site] for values in pair])
        expected = -(np.exp(pair) * pair).sum(0)
        np.testing.assert_allclose(np.asarray(entropy).reshape(-1, 6)[:, site], expected, atol=1e-5)


def test_one_component_is_the_product_of_independent_sites():
    mixture, independent = (
        make_conditional(call, EVENT) for call in ("mixture_of_products(components=1)", "bernoulli")
    )
    features = np.random.default_rng(0).normal(size=(5, 2, 3, 2)).astype(np.float32)
    x = cases.random_x(EVENT, 5)
    found = of_family(mixture, "block_log_prob", features, x, np.ones(3, bool))
    np.testing.assert_allclose(found, of_family(independent, "log_prob", features[..., 1:], x), rtol=1e-6)


@pytest.mark.parametrize(
    ("conditional", "event"),
    [
        pytest.param(MIXTURE, VECTORS, marks=pytest.mark.slow),
        (MIXTURE, EventSpec((4,), (), "levels", 3)),
        pytest.param(CATEGORIES, EventSpec((2,), (2,), "levels", 3), marks=pytest.mark.slow),
        pytest.param(
            "nested(hidden_sizes=(12,), features=4, conditional='mixture_of_products')", VECTORS, marks=pytest.mark.slow
        ),
        pytest.param(
            "nested(hidden_sizes=(9,), features=4, conditional='nested(hidden_sizes=(9,), features=3)')",
            VECTORS,
            marks=pytest.mark.slow,
        ),
    ],
)
def test_blocks_of_any_values_sum_to_one(conditional, event):
    model, params = build(
        conditional, "sizes(sizes=(1, 1))" if event.grid_shape == (2,) else "sizes(sizes=(1, 3))", event=event
    )
    x = cases.all_values(event)
    p = joint(model, params, x)
    assert abs(p.sum() - 1) < 1e-5 and np.log(p).std() > 0.05
    samples = np.asarray(model.sample(params, jax.random.key(0), 8000))
    mean, expected = samples.mean(0), np.tensordot(p, x, 1)
    assert (np.abs(mean - expected) < 0.05).all()


@pytest.mark.slow
@each
def test_entropy_and_mode_of_a_vector_value(conditional):
    event = EventSpec((2,), (3,))
    model, params = build(conditional, "sites", event=event)
    values = cases.all_values(EventSpec((3,)))
    features = np.random.default_rng(0).normal(size=(1, model.conditional.num_params)).astype(np.float32)

    @jax.jit
    def facts(params, features):
        head = model.head(params)
        many = jnp.repeat(features, 1000, 0)
        return head.log_prob(jnp.repeat(features, 8, 0), values), head.entropy(many), head.mode(features)[0]

    log_p, estimates, mode = (np.asarray(fact) for fact in facts(params, features))
    log_p = log_p.astype(np.float64)
    assert abs(estimates.mean() + (np.exp(log_p) * log_p).sum()) < 5 * estimates.std() / 1000**0.5 + 1e-4
    assert np.exp(log_p[mode @ [4, 2, 1]]) > 1 / 8  # at least more probable than most


def test_the_mode_of_a_block_is_the_best_of_its_components():
    head = make_conditional(MIXTURE, EVENT)
    features, nothing = np.random.default_rng(1).normal(size=(50, 3, 6)).astype(np.float32), np.zeros((50, 3), int)
    valid = np.array([True, True, False])
    mode = of_family(head, "block_mode", features, valid, nothing, ~valid)
    best = np.asarray(of_family(head, "block_log_prob", features, mode, valid)).sum(-1)
    assert mode.shape == (50, 3) and (best > np.log(1 / 4) - 0.3).all()
    held = of_family(head, "block_mode", features, valid, nothing + 1, np.array([True, False, False]))
    assert (np.asarray(held)[:, 0] == 1).all()


#: Every network, partition and conditional once; the rest of the product is slow.
TRAINED = [("made", BLOCKS, MIXTURE), ("deep_nade", SIZES, NESTED)]
ALL_TRAINED = itertools.product(["made", "deep_nade"], [BLOCKS, SIZES], CALLS)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("network", "partition", "conditional"),
    [pytest.param(*case, marks=() if case in TRAINED else pytest.mark.slow) for case in ALL_TRAINED],
)
def test_order_agnostic_training_scores_whole_steps_without_bias(network, partition, conditional):
    """Its loss is on average the score under the orders that it draws."""
    model, params = build(conditional, partition, network, orders="uniform")
    x, objective = np.repeat(cases.random_x(EVENT, 1), 240, 0), make_objective("order_agnostic(orders_per_batch=0)")

    @jax.jit
    def both(params, keys, more_keys):
        under = lambda key: -model.log_prob(params, x[:1], factorization=model.orders.draw(key))[0]  # noqa: E731
        loss = lambda key: objective.loss(model, params, ObjectiveState(), Batch(x), Step(key)).value * 6  # noqa: E731
        return jax.lax.map(loss, keys), jax.lax.map(under, more_keys)

    keys = jax.random.split(jax.random.key(0), 1512)
    losses, exact = (np.asarray(found) for found in both(params, keys[:12], keys[12:]))
    stderr = np.hypot(losses.std() / 12**0.5, exact.std() / len(exact) ** 0.5)
    assert abs(losses.mean() - exact.mean()) < 5 * stderr


@pytest.mark.slow
def test_components_that_start_alike_come_apart():
    """The features of a first step are biases, which begin at 0."""
    model = make_model(EventSpec((2,)), "made", partition="blocks(size=2)", conditional=MIXTURE)
    x, params = np.array([[0, 0], [1, 1]]), jax.jit(model.init)(jax.random.key(0))
    gradient = jax.grad(lambda p: model.log_prob(p, x).mean())
    climb = lambda _, p: jax.tree.map(jnp.add, p, gradient(p))  # noqa: E731
    reached = jax.jit(lambda p: model.log_prob(jax.lax.fori_loop(0, 300, climb, p), x).mean())(params)
    assert float(reached) > np.log(0.5) - 0.1  # independent sites: log 1/4


@pytest.mark.slow
def test_the_value_at_a_padded_index_does_not_matter():
    features = np.random.default_rng(0).normal(size=(4, 3, 6)).astype(np.float32)
    x, valid = cases.random_x(EventSpec((3,)), 4), np.array([True, True, False])
    other, garbage = np.where(valid, x, 1 - x), np.where(valid[:, None], features, 1e3).astype(np.float32)
    event = EventSpec((6,))
    mixture, nested = (
        make_conditional(call, event, 3)
        for call in (MIXTURE, "nested(hidden_sizes=(9,), features=6, ordering='reversed')")
    )
    own = cases.random_like(jax.eval_shape(nested.init, jax.random.key(0)))
    for head, params in ((mixture, None), (nested, own)):

        @jax.jit
        def both(features, x, head=head, params=params):
            bound = head.bind(params)
            sample = bound.block_sample(jax.random.key(0), features, valid, x, ~valid)
            return bound.block_log_prob(features, x, valid), sample[:, :2]

        jax.tree.map(np.testing.assert_array_equal, both(features, x), both(garbage, other))


def test_an_impossible_value_has_no_probability():
    event = EventSpec((6,), (), "real", 0)
    head = make_conditional("mixture_of_products(components=2, base='beta(low=0, high=1)')", event)
    features = np.random.default_rng(0).normal(size=(3, head.num_params)).astype(np.float32)
    log_p = np.asarray(of_family(head, "block_log_prob", features, np.float32([0.5, 2.0, 0.5]), np.ones(3, bool)))
    assert log_p[1] == -np.inf and np.isfinite(log_p[[0, 2]]).all()


def test_mistakes_are_told():
    for text, sentence in (
        ("mixture_of_products(components=0)", "must be"),
        ("mixture_of_products(base=3)", "must be a text, not 3"),
        ("mixture_of_products(base='gaussian')", "needs real data"),
        ("mixture_of_products(base='mixture_of_products')", "cannot be 'mixture_of_products', which scores the sites"),
        ("nested(block_size=3)", "has no option 'block_size'"),
    ):
        with pytest.raises(UserError, match=sentence):
            make_conditional(text, EVENT)


def test_a_nested_model_for_blocks_of_one_size_refuses_others():
    event = EventSpec((8,))
    model = make_model(event, "made", partition="blocks(size=2)", conditional="nested(features=4)", hidden_sizes=(8,))
    params, x = model.param_shapes, jax.ShapeDtypeStruct((2, 8), np.int32)
    for partition in ("blocks(size=4)", "sizes(sizes=(3, 1, 4))", "sites"):
        with pytest.raises(UserError, match="made for steps of at most 2 sites"):
            other = make_factorization((8,), "raster", partition)
            jax.eval_shape(lambda p, x, other=other: model.log_prob(p, x, factorization=other), params, x)


def test_a_graph_and_a_joint_conditional_contradict_each_other():
    with pytest.raises(UserError, match="contradict each other"):
        make_model(
            EventSpec((4,)),
            "fvsbn",
            partition="blocks(size=2)",
            graph="window(size=1)",
            conditional="mixture_of_products",
        )
