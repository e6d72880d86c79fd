"""Cascades: bounds that are held to enumerated sums, limits of values, draws given parts."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import law_cases as cases
import numpy as np
import pytest
from compiled import of_model
from refusals import each_refused, refusal
from scipy.special import logsumexp

from arjax.core.batch import Batch
from arjax.core.errors import UserError
from arjax.core.spec import ContextSpec, EventSpec
from arjax.models import AutoregressiveModel, ModelChoice, make_model
from arjax.models.cascade import limited_model, limited_params
from arjax.models.draws import added_stats, check_draws
from arjax.models.extras import model_in_words
from arjax.samplers import make_sampler
from arjax.testing.statistics import chi_square

KEY = jax.random.key(0)
LEVELS, LINE = EventSpec((2,), (), "levels", 6), EventSpec((4,), (), "levels", 3)
SMALL = {"made": {"hidden_sizes": (8,)}, "independent": {"width": 4, "num_blocks": 1}, "constant": {}}


def choice(network="made", **options):
    return ModelChoice(options=options, network=network, network_options=SMALL.get(network, {}))


@functools.cache
def build(stages, num, event=LEVELS, network="made", context=ContextSpec(), **options):  # noqa: B008  a value
    parts = {str(k): choice(network if k > 1 else "made") for k in range(1, num + 1)} or {"shared": choice(network)}
    model = make_model(event, kind="cascade", parts=parts, stages=stages, context=context, **options)
    return model, cases.random_like(model.param_shapes)


def batch_of(model, x, **more):
    return Batch(x, {name: np.zeros((len(x), *p.shape), p.dtype) for name, p in model.context_spec.parts}, **more)


def draws(model, params, keys, **options):
    return jax.tree.map(np.asarray, jax.jit(lambda keys: model.draw(params, keys, **options))(keys))


def test_the_score_is_the_sum_of_the_stages():
    model, params = build("digits(base=2)", 3, network="independent")
    x = cases.all_values(LEVELS)
    score = of_model(model, "score", params, batch_of(model, x))

    @jax.jit
    def by_hand(params, x):
        parts = model.cut.split(x)
        contexts = [model.stage_context(k, parts[:k], len(x)) for k in range(3)]
        each = zip(parts, contexts, strict=True)
        each = [(model.model_of(k), model.params_of(k, params), *both) for k, both in enumerate(each)]
        return [one.log_prob(own, part, context=context or None) for one, own, part, context in each]

    terms = by_hand(params, x)
    for k, log_prob in enumerate(terms):
        np.testing.assert_allclose(-score.terms[f"stage_{k + 1}"], log_prob, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(score.log_prob, np.sum(terms, 0), rtol=1e-5)
    assert score.kind == "exact" and model.event.num_dims == 2


def test_values_that_cannot_occur_have_no_probability():
    """6 levels are 101 at most: behind 10 and 11 digits are limited, and the rest is renormalised."""
    model, params = build("digits(base=2)", 3, network="independent")

    @jax.jit
    def found(params, x):
        parts = model.cut.split(x)
        context = model.stage_context(1, parts[:1], 1)
        limited, own, plain = model.model_of(1), model.params_of(1, params), model.parts[1]
        free = {name: value for name, value in context.items() if name in dict(plain.context_spec.parts)}
        table = limited.head(own).log_table(limited.features(own, parts[1], context=context))
        whole = plain.head(params["2"]).log_table(plain.features(params["2"], parts[1], context=free))
        impossible = limited.log_prob(own, jnp.array([[1, 0]]), context=context)
        return table[0], whole[0], impossible, limited.conditionals(own, parts[1], context=context)[1][0]

    table, whole, impossible, entropy = map(np.asarray, found(params, np.array([[5, 0]])))
    np.testing.assert_allclose(np.exp(table[0]), [1, 0], atol=1e-6)
    np.testing.assert_allclose(np.exp(table[1]), np.exp(whole[1]), rtol=1e-5)
    assert impossible[0] == -np.inf and entropy[0] == 0 and entropy[1] > 0


@pytest.mark.slow
def test_a_bound_is_below_the_sum_over_all_coarser_pictures():
    """log p(c(x)) p(x | c(x)) <= log sum_c p(c) p(x | c), whose exponentials sum to 1."""
    event = EventSpec((4,))
    model, params = build("averaged", 2, event=event)
    x = cases.all_values(event)
    bound = np.asarray(of_model(model, "score", params, batch_of(model, x)).log_prob, float)
    coarse = cases.all_values(EventSpec((2,)))
    log_p_c = np.asarray(of_model(model.parts[0], "log_prob", params["1"], coarse), float)
    contexts = [{"coarse": np.repeat(c[None], len(x), 0)} for c in coarse]
    of_c = [np.asarray(of_model(model.parts[1], "log_prob", params["2"], x, context=c), float) for c in contexts]
    whole = logsumexp(log_p_c[:, None] + np.stack(of_c), axis=0)
    assert model.score_kind == "bound" and (bound <= whole + 1e-5).all() and (bound < whole - 0.01).any()
    assert abs(np.exp(whole).sum() - 1) < 1e-4 and np.exp(bound).sum() < 1
    drawn = draws(model, params, jax.random.split(KEY, 4096)).x
    counts = np.bincount(drawn @ (8, 4, 2, 1), minlength=16)
    assert chi_square(counts, np.exp(whole) / np.exp(whole).sum()) > 1e-4


@pytest.mark.slow
def test_draws_of_limited_stages_by_every_sampler_are_the_same():
    model, params = build("haar", 2, event=LINE)
    keys = jax.random.split(jax.random.key(2), 6)
    naive = model.draw(params, keys, sampler="naive")
    for sampler in ("cached", "fixed_point"):
        np.testing.assert_array_equal(model.draw(params, keys, sampler=sampler).x, naive.x)
    assert naive.stats["steps"].tolist() == [4] * 6 and naive.x.min() >= 0 and naive.x.max() <= 2


@pytest.mark.slow
def test_temperatures_and_truncation_reach_the_parts():
    model, params = build("haar", 2, event=LINE)
    keys = jax.random.split(jax.random.key(3), 8)
    cold = model.draw(params, keys, temperature=1e-6).x
    assert (cold == cold[:1]).all()
    np.testing.assert_array_equal(model.draw(params, keys, top_k=1).x, cold)
    np.testing.assert_array_equal(model.draw(params, keys, sampler="greedy").x, cold)
    assert not (model.draw(params, keys).x == cold).all()


@pytest.mark.slow
def test_coarse_stages_may_be_given():
    model, params = build("haar", 2, event=LINE)
    coarse = jnp.array([[0, 2], [1, 1], [2, 0]])
    keys = jax.random.split(jax.random.key(4), 3)
    drawn = model.draw(params, keys, coarse=(coarse,))
    np.testing.assert_array_equal(model.cut.split(drawn.x)[0], coarse)
    assert drawn.stats["steps"].tolist() == [2] * 3
    assert "coarse holds at most 1 stages" in refusal(model.draw, params, keys, coarse=(coarse, coarse))


def test_observed_sites_are_those_of_whole_stages_and_of_the_next_one():
    model, params = build("subsampled", 2, event=LINE)
    keys, given = jax.random.split(jax.random.key(5), 2000), np.array([1, 2, 0, 1])
    observed = np.array([1, 1, 1, 0])  # the first stage, and the first site of the second
    drawn = draws(model, params, keys, given=given, observed=observed).x
    assert (drawn[:, :3] == given[:3]).all()
    x = np.stack([[1, 2, 0, v] for v in range(3)])
    p = np.exp(np.asarray(of_model(model, "score", params, batch_of(model, x)).log_prob, float))
    assert chi_square(np.bincount(drawn[:, 3], minlength=3), p / p.sum()) > 1e-4
    refused = refusal(model.draw, params, keys, given=given, observed=np.array([1, 1, 0, 0]))
    assert "draws a site of stage 1 before an observed one of stage 2" in refused
    averaged, own = build("averaged", 2, event=EventSpec((4,)))
    assert "'averaged' mix the sites" in refusal(averaged.draw, own, keys, given=np.zeros(4, int), observed=observed)


def test_an_example_that_is_observed_whole_needs_no_call():
    model, params = build("subsampled", 2, event=LINE)
    drawn = draws(model, params, jax.random.split(KEY, 2), given=np.array([1, 2, 0, 1]), observed=np.ones(4))
    np.testing.assert_array_equal(drawn.x, [[1, 2, 0, 1]] * 2)
    assert {name: value.tolist() for name, value in drawn.stats.items()} == {"network_calls": [0, 0], "steps": [0, 0]}


def test_numbers_of_members_of_mixtures_are_not_added_up():
    first, second = ({"network_calls": np.array([n]), "member": np.array([n])} for n in (1, 2))
    assert added_stats(first, second) == {"network_calls": 3}
    assert added_stats({"network_calls": np.array([1])}, second) == {"network_calls": 3, "member": 2}


@pytest.mark.slow
def test_masks_go_to_the_sites_of_each_stage():
    model, params = build("digits(base=2)", 3, network="independent")
    x, mask = np.array([[3, 4], [5, 1]]), np.array([[1, 0], [0, 1]])
    found = of_model(model, "score", params, batch_of(model, x, mask=jnp.asarray(mask))).log_prob
    whole = of_model(model, "score", params, batch_of(model, x)).log_prob
    rest = of_model(model, "score", params, batch_of(model, x, mask=jnp.asarray(1 - mask))).log_prob
    np.testing.assert_allclose(found + rest, whole, rtol=1e-5)
    haar, own = build("haar", 2, event=LINE)
    masked = batch_of(haar, np.zeros((1, 4), int), mask=jnp.ones((1, 4)))
    assert "they have no mask of single sites" in refusal(of_model, haar, "score", own, masked)


def test_some_stages_of_a_shared_part_have_the_whole_score_as_their_mean():
    model, params = build("digits(base=2)", 0, network="independent", train_stages=1)
    x = np.array([[3, 4], [5, 1], [0, 2]])
    whole = of_model(model, "score", params, batch_of(model, x))
    assert sorted(whole.terms) == ["stage_1", "stage_2", "stage_3"]

    @jax.jit
    def scores(keys):
        return jax.lax.map(lambda key: model.score(params, batch_of(model, x), key=key, train=True).log_prob, keys)

    found = np.asarray(scores(jax.random.split(jax.random.key(0), 300)), float)
    error = found.std(0) / 300**0.5
    assert (abs(found.mean(0) - np.asarray(whole.log_prob)) < 4 * error).all() and (error > 0).all()
    values = [np.round(-3 * np.asarray(whole.terms[f"stage_{k}"])[0], 4) for k in (1, 2, 3)]
    assert set(np.round(found[:, 0], 4)) == set(np.float32(values).astype(float).round(4))


@pytest.mark.slow
def test_cascades_are_members_of_mixtures_and_parts_of_others():
    cascade = ModelChoice("cascade", {"stages": "subsampled"}, parts={"1": choice(), "2": choice()})
    event = EventSpec((4,), (), "tokens", 2)
    model = make_model(event, kind="mixture", parts={"a": cascade, "b": choice()})
    params = cases.random_like(model.param_shapes)
    p = np.exp(np.asarray(of_model(model, "log_prob", params, cases.all_values(event)), float))
    assert abs(p.sum() - 1) < 1e-4 and model.score_kind == "exact"
    nested = make_model(event, kind="cascade", stages="subsampled", parts={"1": cascade, "2": choice()})
    params = cases.random_like(nested.param_shapes)
    p = np.exp(np.asarray(of_model(nested, "log_prob", params, cases.all_values(event)), float))
    assert abs(p.sum() - 1) < 1e-4


def test_parts_that_are_bounds_make_a_bound():
    chain = ModelChoice("discrete_chain", {"num_steps": 2}, "denoising_transformer", {"num_layers": 1, "width": 8})
    event = EventSpec((2,), (), "levels", 4)
    model = make_model(event, kind="cascade", stages="digits(base=2)", parts={"shared": chain})
    assert model.score_kind == "bound" and "cascade of digits(base=2)" in model_in_words(model)
    with pytest.raises(UserError, match=r"'2' of a cascade of digits.*has to be of the kind autoregressive"):
        make_model(LEVELS, kind="cascade", stages="digits(base=2)", parts={"1": choice(), "2": chain, "3": choice()})


def cascade(stages, *parts, event=LEVELS, **options):
    return make_model(event, kind="cascade", stages=stages, parts={name: choice() for name in parts}, **options)


MIXED = choice("made", conditional="mixture_of_products(components=2)")
COARSE = ContextSpec(coarse=EventSpec((), (), "tokens", 2))
HAAR = {"kind": "cascade", "stages": "haar"}
test_mistakes_are_told = each_refused(
    (lambda m, p: cascade("digits(base=2)", "1", "2"), "needs the part '3'"),
    (lambda m, p: cascade("digits(base=2)", "1", "2", "3", "4"), "not '4'"),
    (lambda m, p: cascade("digits(base=3)", "1", "2", train_stages=1), "train_stages is for one part 'shared'"),
    (lambda m, p: cascade("digits(base=3)", "shared", train_stages=3), "from 0 to 2"),
    (lambda m, p: cascade("averaged", "shared", event=EventSpec((4,))), "needs parts that are alike"),
    (lambda m, p: cascade("scales", "1"), "unknown stages 'scales'"),
    (lambda m, p: make_model(LINE, parts={"1": choice(), "2": MIXED}, **HAAR), "'2' of a cascade .*restrict a table"),
    (lambda m, p: build("haar", 2, event=LINE, context=COARSE), "adds the part 'coarse'"),
    (lambda m, p: m.draw(p, jax.random.split(KEY), end=1), "sequences of tokens have an end"),
    (lambda m, p: check_draws(m, make_sampler("speculative(draft='ngrams')")), "without a draft"),
    given=lambda: build("haar", 2, event=LINE),
)


def test_a_limited_model_refuses_nothing_that_it_has_not_to():
    part = make_model(LEVELS, "made", hidden_sizes=(8,))
    limited = limited_model(part)
    assert isinstance(limited, AutoregressiveModel) and limited.num_params == part.num_params
    params = cases.random_like(part.param_shapes)
    (name, _), x = limited.context_spec.parts[0], cases.all_values(LEVELS)
    all_of_them = np.broadcast_to(np.float32([0, 5])[:, None] + 0 * np.zeros((2, 1)), (len(x), 2, 2)).swapaxes(1, 2)
    found = of_model(limited, "log_prob", limited_params(params), x, context={name: all_of_them})
    np.testing.assert_allclose(found, of_model(part, "log_prob", params, x), rtol=1e-4, atol=1e-5)
