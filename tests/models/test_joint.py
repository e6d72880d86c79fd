"""Joint conditionals, nested ones among them, keep the dependence within a step: against sums over all values."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import law_cases as cases
import numpy as np
import pytest
from built import built, follow
from compiled import of_family, of_model
from refusals import refusal

from arjax.conditionals import make_conditional
from arjax.core.batch import Batch
from arjax.core.errors import UserError
from arjax.core.spec import EventSpec
from arjax.factorization import make_factorization
from arjax.models import make_model
from arjax.models.queries import evidence_first
from arjax.objectives import ObjectiveState, Step, make_objective

EVENT = EventSpec((2, 3))
VECTORS = EventSpec((4,), (2,))
ALL = cases.all_values(EVENT)
MIXTURE = "mixture_of_products(components=3)"
NESTED = "nested(hidden_sizes=(12,), features=4)"
BACKWARDS = "nested(hidden_sizes=(12,), features=4, ordering='reversed')"
CATEGORIES = "mixture_of_products(components=2, base='discretized_logistic_mixture(components=2)')"
DEEP = "nested(hidden_sizes=(12,), features=4, partition='sizes(sizes=(1, 2))', conditional='mixture_of_products')"
CALLS = (MIXTURE, NESTED, BACKWARDS)
BLOCKS, SIZES = "blocks(size=3)", "sizes(sizes=(1, 3, 2))"
PARTITIONS = ("rows", SIZES, "blocks(size=6)")
each = pytest.mark.parametrize("conditional", CALLS)


@functools.cache
def build(conditional: str, partition: str = "rows", network: str = "made", event: EventSpec = EVENT, **choice):
    """A small model and its parameters, the same objects whenever it is asked for again."""
    return built(event, network, conditional=conditional, partition=partition, **choice)


@jax.jit
def scores(model, params, x):
    """log p, log p of each site, and the entropies that `conditionals` gives, of examples x [B, *grid, *value]."""
    return model.log_prob(params, x), model.log_prob_per_site(params, x), model.conditionals(params, x)


def joint(model, params, x=ALL) -> np.ndarray:
    """p(x), float64[N]."""
    return np.exp(np.asarray(scores(model, params, x)[0], np.float64))


def marginal(p: np.ndarray, sites) -> np.ndarray:
    """The probability of each example's values at some sites, by sums over all examples."""
    flat = ALL.reshape(len(ALL), -1)[:, list(sites)]
    _, group = np.unique(flat, axis=0, return_inverse=True)
    return np.bincount(group.ravel(), p)[group.ravel()] if flat.shape[1] else np.ones(len(ALL))


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
    model, params = build(conditional, SIZES)
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


#: The first is fast.
OF_VALUES = [
    (MIXTURE, EventSpec((4,), (), "levels", 3)),
    (MIXTURE, VECTORS),
    (CATEGORIES, EventSpec((2,), (2,), "levels", 3)),
    ("nested(hidden_sizes=(12,), features=4, conditional='mixture_of_products')", VECTORS),
    ("nested(hidden_sizes=(9,), features=4, conditional='nested(hidden_sizes=(9,), features=3)')", VECTORS),
]


@pytest.mark.parametrize(
    ("conditional", "event"), [OF_VALUES[0], *(pytest.param(*case, marks=pytest.mark.slow) for case in OF_VALUES[1:])]
)
def test_blocks_of_any_values_sum_to_one(conditional, event):
    model, params = build(conditional, f"sizes(sizes=(1, {event.num_sites - 1}))", event=event)
    x = cases.all_values(event)
    p = joint(model, params, x)
    assert abs(p.sum() - 1) < 1e-5 and np.log(p).std() > 0.05
    samples = np.asarray(model.sample(params, jax.random.key(0), 8000))
    assert (np.abs(samples.mean(0) - np.tensordot(p, x, 1)) < 0.05).all()


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
    p = np.exp(log_p).reshape(2, 2, 2)
    assert p[tuple(mode)] > 1 / 8  # at least more probable than most
    if conditional == NESTED:  # greedy
        first = p.sum((1, 2)).argmax()
        second = p[first].sum(1).argmax()
        assert mode.tolist() == [first, second, p[first, second].argmax()]


def test_components_of_products_begin_apart_and_one_is_the_base():
    one, two = (
        make_conditional(f"mixture_of_products(components={num})", EventSpec((3,), kind="levels", num_levels=5), 3)
        for num in (1, 2)
    )
    assert not one._apart(3).any() and np.abs(two._apart(3)).min() > 0
    assert two._apart(3).shape == (3, 2, 5) and two._apart(3).dtype == np.float32
    # Runs that are stored were trained with these offsets.
    expected = 0.5 * np.random.default_rng(0).normal(size=(3, 2, 5))
    np.testing.assert_array_equal(two._apart(3), expected.astype(np.float32))


def test_the_mode_of_a_block_is_the_best_of_its_components():
    head = make_conditional(MIXTURE, EVENT)
    features, nothing = np.random.default_rng(1).normal(size=(50, 3, 6)).astype(np.float32), np.zeros((50, 3), int)
    valid = np.array([True, True, False])
    mode = of_family(head, "block_mode", features, valid, nothing, ~valid)
    best = np.asarray(of_family(head, "block_log_prob", features, mode, valid)).sum(-1)
    assert mode.shape == (50, 3) and (best > np.log(1 / 4) - 0.3).all()
    held = of_family(head, "block_mode", features, valid, nothing + 1, np.array([True, False, False]))
    assert (np.asarray(held)[:, 0] == 1).all()


#: Every network, partition and conditional once.
TRAINED = [("made", BLOCKS, MIXTURE), ("deep_nade", SIZES, NESTED), ("made", SIZES, BACKWARDS)]


@pytest.mark.slow
@pytest.mark.parametrize(("network", "partition", "conditional"), TRAINED)
def test_order_agnostic_training_scores_whole_steps_without_bias(network, partition, conditional):
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
    head = make_conditional("mixture_of_products(components=2, base='gaussian')", event)
    features = np.random.default_rng(0).normal(size=(3, head.num_params)).astype(np.float32)
    log_p = np.asarray(of_family(head, "block_log_prob", features, np.float32([0.5, 1e30, 0.5]), np.ones(3, bool)))
    assert log_p[1] == -np.inf and np.isfinite(log_p[[0, 2]]).all()


def test_a_nested_model_for_blocks_of_one_size_refuses_others():
    event = EventSpec((8,))
    model = make_model(event, "made", partition="blocks(size=2)", conditional="nested(features=4)", hidden_sizes=(8,))
    params, x = model.param_shapes, jax.ShapeDtypeStruct((2, 8), np.int32)
    for partition in ("blocks(size=4)", "sizes(sizes=(3, 1, 4))", "sites"):
        with pytest.raises(UserError, match="made for steps of at most 2 sites"):
            other = make_factorization((8,), "raster", partition)
            jax.eval_shape(lambda p, x, other=other: model.log_prob(p, x, factorization=other), params, x)


def test_a_graph_and_a_joint_conditional_contradict_each_other():
    joint_in_a_graph = {"graph": "window(size=1)", "conditional": "mixture_of_products", "partition": "blocks(size=2)"}
    assert "contradict each other" in refusal(make_model, EventSpec((4,)), "fvsbn", **joint_in_a_graph)


@pytest.mark.slow
@pytest.mark.parametrize("conditional", [MIXTURE, BACKWARDS])
def test_samples_are_the_same_for_all_samplers_and_follow_the_joint(conditional):
    """Law 4 draws from every network; here one of them is enough."""
    model, params = build(conditional, SIZES)
    key, num = jax.random.key(1), 8000
    x = np.asarray(model.sample(params, key, num, sampler="cached"))
    np.testing.assert_array_equal(x[:500], model.sample(params, key, num, sampler="naive")[:500])
    assert follow(x, joint(model, params))


@pytest.mark.slow
@pytest.mark.parametrize("observed", [(0, 2), (0, 1, 2, 4), (5, 0, 1, 2)])
@pytest.mark.parametrize("sampler", ["cached", "naive"])
def test_a_mixture_completes_a_step_given_any_of_its_sites(sampler, observed):
    model, params = build(MIXTURE, "rows")
    given, where = np.array([[1, 0, 1], [0, 1, 1]]), np.isin(np.arange(6), observed).reshape(2, 3)
    num = 20_000
    x = np.asarray(model.sample(params, jax.random.key(0), num, sampler=sampler, given=given, observed=where))
    assert (x[:, where] == given[where]).all()
    assert follow(x, joint(model, params) * (ALL[:, where] == given[where]).all(1))


@pytest.mark.slow
def test_a_nested_step_is_completed_where_the_given_sites_are_visited_first():
    given, num = np.array([[1, 0, 1], [0, 1, 1]]), 20_000
    for conditional, first, last in ((NESTED, 0, 2), (BACKWARDS, 2, 0)):
        model, params = build(conditional, "rows")
        where = np.zeros((2, 3), bool)
        where[0, first] = True
        x = np.asarray(model.sample(params, jax.random.key(0), num, given=given, observed=where))
        assert follow(x, joint(model, params) * (ALL[:, where] == given[where]).all(1))
        where = np.zeros((2, 3), bool)
        where[0, last] = True
        with pytest.raises(UserError, match="of step 0, whose sites depend on one another; use an ordering"):
            model.sample(params, jax.random.key(0), 2, given=given, observed=where)


@pytest.mark.slow
def test_truncated_samples_of_a_nested_step_are_greedy_in_the_end():
    model, params = build(NESTED, SIZES)
    x = np.asarray(model.sample(params, jax.random.key(0), 5, top_k=1))
    colder = np.asarray(model.sample(params, jax.random.key(1), 5, temperature=1e-5))
    np.testing.assert_array_equal(x, colder)
    with pytest.raises(UserError):
        build(MIXTURE)[0].sample(params, jax.random.key(0), 2, top_k=1)


def sites(*numbers: int) -> np.ndarray:
    return np.isin(np.arange(6), numbers).reshape(2, 3)


def answers(model, params, questions) -> list[np.ndarray]:
    """log p(query | evidence) of all examples for each (evidence, query), in one compiled program."""

    def ask(params):
        return [model.conditional_log_prob(params, ALL, query=sites(*q), evidence=sites(*e)) for e, q in questions]

    return [np.asarray(answer) for answer in jax.jit(ask)(params)]


@pytest.mark.slow
@each
def test_queries_within_a_step_are_answered_in_turn_or_given_any_sites_or_refused(conditional):
    model, params = build(conditional, "rows")
    p, first, last = joint(model, params), *((2, 0) if conditional == BACKWARDS else (0, 2))
    in_turn = [((first,), (1,)), ((first, 1), (last,)), ((0, 1, 2, 3 + first), (4,))]
    against = [((last,), (1,)), ((last, 1), (first,)), ((0, 1, 2, 3 + last), (3 + first, 4))]
    questions = in_turn + (against if model.conditional.any_given else [])
    for (evidence, query), answer in zip(questions, answers(model, params, questions), strict=True):
        expected = np.log(marginal(p, evidence + query)) - np.log(marginal(p, evidence))
        np.testing.assert_allclose(answer, expected, atol=2e-5)
    for question in [] if model.conditional.any_given else against:
        assert "whose sites depend on one another" in refusal(answers, model, params, [question])


@pytest.mark.parametrize("conditional", [pytest.param(MIXTURE, marks=pytest.mark.slow), BACKWARDS])
def test_all_orders_answer_for_sites_within_a_step(conditional):
    model, params = build(conditional, "blocks(size=3)", orders="uniform")
    answer = np.exp(answers(model, params, [((5, 1), (0, 4))])[0].astype(np.float64))
    values, index = np.unique(ALL.reshape(-1, 6)[:, [5, 1, 0, 4]], axis=0, return_index=True)
    assert len(values) == 16 and abs(answer[index].sum() - 4) < 1e-5  # one distribution per value of the evidence


@pytest.mark.slow
def test_evidence_fills_the_indices_that_are_visited_first():
    """The inner model visits a block from its end: an order that puts the evidence there exists under `uniform`."""
    conditional = "nested(features=4, ordering='reversed')"
    model, params = build(conditional, "blocks(size=4)", event=EventSpec((8,)), orders="uniform")
    evidence = np.arange(8) < 2
    x = cases.random_x(model.event, 3)
    score = jax.jit(lambda p: model.conditional_log_prob(p, x, query=~evidence, evidence=evidence))(params)
    assert np.isfinite(score).all()


class Asked(Exception):
    """Ends a call once the order of a query is looked for."""


@pytest.mark.parametrize("call", ["draw", "score"])
def test_one_query_has_one_order(monkeypatch, call):
    """What is drawn given some sites is scored in the order in which it was drawn: that of the same groups."""
    observed = np.isin(np.arange(6), (1, 2)).reshape(2, 3)

    def noted(model, *groups):
        np.testing.assert_array_equal(groups, [observed, ~observed])
        raise Asked

    monkeypatch.setattr("arjax.models.autoregressive.evidence_first", noted)
    model, params = build(MIXTURE)
    with pytest.raises(Asked):
        if call == "draw":
            model.sample(params, jax.random.key(0), 1, given=ALL[0], observed=observed)
        else:
            model.conditional_log_prob(params, ALL[:1], query=~observed, evidence=observed)


@pytest.mark.parametrize("orders", ["", "uniform", "pool(num=4)", "any_of(orderings=('reversed', 'snake'))"])
@pytest.mark.parametrize("conditional", ["bernoulli", MIXTURE, NESTED, BACKWARDS])
def test_some_sites_have_an_order_and_under_all_orders_all_have(orders, conditional):
    model = make_model(EVENT, "made", hidden_sizes=(4,), orders=orders, partition=SIZES, conditional=conditional)
    answered = 0
    for number in range(1, 63):
        observed = np.array([number >> i & 1 for i in range(6)], bool).reshape(2, 3)
        try:
            evidence_first(model, observed, ~observed)
        except UserError:
            continue
        answered += 1
    assert answered == 62 if orders == "uniform" else answered > 2


SLOW = [("", (0, 1, 2, 5)), ("", (1,)), ("uniform", (1,))]


@pytest.mark.parametrize(
    ("orders", "observed"), [("uniform", (2, 4)), *(pytest.param(*case, marks=pytest.mark.slow) for case in SLOW)]
)
def test_draws_have_the_probabilities_that_they_are_scored_with(orders, observed):
    model, params = build(MIXTURE, "rows" if not orders else "blocks(size=2)", orders=orders)
    where, num = np.isin(np.arange(6), observed).reshape(2, 3), 20_000
    x = np.asarray(model.sample(params, jax.random.key(0), num, given=ALL[21], observed=where))
    keep = (ALL[:, where] == ALL[21][where]).all(1)
    rest = tuple(np.flatnonzero(~where.ravel()))
    p = np.exp(answers(model, params, [(observed, rest)])[0].astype(np.float64)) * keep
    assert abs(p.sum() - 1) < 1e-5
    assert follow(x, p)


PAIRS = EventSpec((2,), (3,))
INNER = "nested(network='made', hidden_sizes=(12,), features=6)"


@pytest.mark.parametrize(
    ("conditional", "event"),
    [
        (INNER, PAIRS),
        pytest.param(
            "nested(network='nade', hidden_size=7, features=6, ordering='reversed')", PAIRS, marks=pytest.mark.slow
        ),
        ("nested(hidden_sizes=(9,), features=4, partition='blocks(size=2)')", EventSpec((2,), (4,))),
        ("nested(hidden_sizes=(9,), features=4)", EventSpec((2,), (2,), "levels", 3)),
    ],
)
def test_the_joint_sums_to_one_and_is_the_product_of_both_models(conditional, event):
    model, params = build(conditional, "sites", "lstm", event)
    x = cases.all_values(event)
    log_prob = np.asarray(of_model(model, "log_prob", params, x), np.float64)
    assert log_prob.std() > 0.05 and abs(np.exp(log_prob).sum() - 1) < 1e-5
    inner, features = model.conditional.model, np.asarray(of_model(model, "features", params, x))
    rows, values = features.reshape(-1, features.shape[-1]), x.reshape(-1, *event.value_shape)
    expected = of_model(inner, "log_prob", params["conditional"], values, context=rows)
    np.testing.assert_allclose(log_prob, np.asarray(expected).reshape(len(x), -1).sum(1), rtol=1e-4, atol=1e-4)


def test_samples_follow_the_joint():
    model, params = build(INNER, "sites", "lstm", PAIRS)
    x = model.sample(params, jax.random.key(0), 20_000)
    assert follow(x, np.exp(np.asarray(of_model(model, "log_prob", params, cases.all_values(PAIRS)), np.float64)))


WRONG = {
    "mixture_of_products(components=0)": "must be",
    "mixture_of_products(base=3)": "must be a text, not 3",
    "mixture_of_products(base='gaussian')": "needs real data",
    "mixture_of_products(base='mixture_of_products')": "cannot be 'mixture_of_products', which scores the sites",
    "nested(block_size=3)": "has no option 'block_size'",
    "nested": "is for values that are vectors",
    "nested(hidden=3)": "network 'made' has no option 'hidden', did you mean",
    **{f"nested({wrong})": "must be a text, not" for wrong in ("ordering=3", "conditional=5", "network=[]")},
    **{f"nested({given}=1)": "has no option" for given in ("event", "orders", "context", "dtype", "data")},
}


@pytest.mark.parametrize("call", WRONG)
def test_mistakes_are_told(call):
    assert WRONG[call] in refusal(make_conditional, call, EVENT if call == "nested" else PAIRS)
