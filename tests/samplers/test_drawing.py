"""Drawing: clamped sites, prefixes, contexts, temperature and keys, for samplers of one step at a time."""

import jax
import law_cases as cases
import numpy as np
import pytest
from compiled import of_family, of_model

from arjax.core.errors import UserError
from arjax.core.spec import ContextSpec, EventSpec
from arjax.models import make_model
from arjax.samplers.base import run_sampler

EVENT = EventSpec((2, 3), (), "tokens", 4)
KEY = jax.random.key(0)
#: Those of one step at a time, which draw the same by law 4; others have files of their own.
each_sampler = pytest.mark.parametrize("sampler", ["cached", pytest.param("naive", marks=pytest.mark.slow)])


def build(event: EventSpec = EVENT, **options):
    model = make_model(event, "made", hidden_sizes=(12,), **options)
    return model, cases.params_of(model)


@pytest.fixture(scope="module")
def raster():
    return build()


@each_sampler
def test_a_canvas_that_is_all_observed_comes_back_unchanged(raster, sampler):
    model, params = raster
    given = cases.random_x(EVENT, 5)
    samples = model.sample(params, KEY, 5, sampler=sampler, given=given, observed=np.ones((2, 3), bool))
    np.testing.assert_array_equal(samples, given)


@pytest.mark.slow
@each_sampler
def test_one_given_example_counts_for_all_or_each_has_its_own(raster, sampler):
    model, params = raster
    observed, given = np.array([[1, 1, 1], [0, 0, 0]], bool), cases.random_x(EVENT, 5)
    each = np.asarray(model.sample(params, KEY, 5, sampler=sampler, given=given, observed=observed))
    np.testing.assert_array_equal(each[:, 0], given[:, 0])
    one = np.asarray(model.sample(params, KEY, 5, sampler=sampler, given=given[0], observed=observed))
    np.testing.assert_array_equal(one[:, 0], np.broadcast_to(given[0, 0], (5, 3)))
    assert len(np.unique(one[:, 1], axis=0)) > 1


@each_sampler
def test_completing_the_prefix_of_a_sample_gives_that_sample(raster, sampler):
    """The key of a step depends on the step alone: with the drawn values clamped, the rest is drawn alike."""
    model, params = raster
    free = np.asarray(model.sample(params, KEY, 5, sampler=sampler))
    observed = np.array([[1, 1, 0], [0, 0, 0]], bool)
    completed = model.sample(params, KEY, 5, sampler=sampler, given=free, observed=observed)
    np.testing.assert_array_equal(completed, free)


@each_sampler
def test_a_block_may_be_observed_in_part(sampler):
    """Sites of one step are independent given the steps before: observed ones may stand in a step with others."""
    model, params = build(partition="rows")
    observed, given = np.array([[0, 1, 0], [0, 0, 0]], bool), cases.random_x(EVENT, 5)
    samples = np.asarray(model.sample(params, KEY, 5, sampler=sampler, given=given, observed=observed))
    np.testing.assert_array_equal(samples[:, 0, 1], given[:, 0, 1])


@each_sampler
def test_a_suffix_is_refused_with_the_reason(raster, sampler):
    model, params = raster
    observed = np.array([[0, 1, 0], [0, 0, 0]], bool)
    with pytest.raises(UserError, match=r"step 0 comes before an observed one of step 1; use an ordering that visits"):
        model.sample(params, KEY, 5, sampler=sampler, given=np.zeros((2, 3), int), observed=observed)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"given": np.zeros((2, 3), int)}, "^`given` values and the mask of `observed` sites go together"),
        ({"observed": np.ones((2, 3), bool)}, "^`given` values and the mask of `observed` sites go together"),
        (
            {"given": np.zeros((2, 3), int), "observed": np.ones(6, bool)},
            r"^`observed` has shape \(6,\), but the grid is \(2, 3\)$",
        ),
        (
            {"given": np.zeros((3, 2, 3), int), "observed": np.ones((2, 3), bool)},
            r"^`given` has shape \(3, 2, 3\), but 5 examples have shape \(5, 2, 3\)$",
        ),
        ({"sampler": "cashed"}, r"^unknown sampler 'cashed', did you mean 'cached'\?$"),
    ],
)
def test_mistakes_are_one_sentence(raster, arguments, message):
    model, params = raster
    with pytest.raises(UserError, match=message):
        model.sample(params, KEY, 5, **arguments)


@each_sampler
def test_a_low_temperature_draws_the_most_probable_value_at_each_step(raster, sampler):
    model, params = raster
    samples = np.asarray(model.sample(params, KEY, 5, sampler=sampler, temperature=1e-5))
    assert (samples == samples[0]).all()
    greedy = np.asarray(of_family(model.conditional, "mode", of_model(model, "features", params, samples)))
    np.testing.assert_array_equal(samples, greedy)


@pytest.mark.slow
@each_sampler
def test_limits_restrict_every_site(raster, sampler):
    model, params = raster
    samples = np.asarray(model.sample(params, KEY, 5, sampler=sampler, top_k=2))
    log_p = np.asarray(of_family(model.conditional, "log_table", of_model(model, "features", params, samples)))
    rank = (log_p > np.take_along_axis(log_p, samples[..., None], -1)).sum(-1)
    assert rank.max() == 1  # the second best is drawn, the third never
    free = np.asarray(model.sample(params, KEY, 5, sampler=sampler))
    np.testing.assert_array_equal(free, model.sample(params, KEY, 5, sampler=sampler, top_k=0, top_p=1.0))
    assert (free != samples).any()
    cold = model.sample(params, KEY, 5, sampler=sampler, temperature=1e-5)
    for one in ({"top_p": 1e-6}, {"min_p": 1.0}):
        np.testing.assert_array_equal(model.sample(params, KEY, 5, sampler=sampler, **one), cold)


@pytest.mark.slow
@each_sampler
def test_top_k_reaches_the_entries_of_nested_values(sampler):
    event = EventSpec((2,), (3,), "tokens", 4)
    model, params = build(event, conditional="nested(hidden_sizes=(8,), features=4)")
    greedy = model.sample(params, KEY, 50, sampler=sampler, top_k=1)
    np.testing.assert_array_equal(greedy, model.sample(params, KEY, 50, sampler=sampler, temperature=1e-5))
    assert (np.asarray(greedy) == np.asarray(greedy)[:1]).all()
    assert (np.asarray(model.sample(params, KEY, 50, sampler=sampler, top_k=2)) != np.asarray(greedy)).any()


def test_real_values_have_no_top_k():
    model, params = build(EventSpec((2,), (), "real", 0))
    with pytest.raises(UserError, match="of which 'gaussian' has no list"):
        model.sample(params, KEY, 2, top_k=3)


def test_temperature_is_data_to_the_compiled_program(raster):
    """Another temperature, key, prefix or order compiles nothing anew."""
    model, params = raster
    model.sample(params, KEY, 5, temperature=1.0)
    prompts = [{"given": np.zeros((2, 3), int), "observed": np.arange(6).reshape(2, 3) < n} for n in (1, 3)]
    model.sample(params, KEY, 5, **prompts[0])
    size = run_sampler._cache_size()
    model.sample(params, jax.random.key(5), 5, temperature=0.7)
    model.sample(params, KEY, 5, **prompts[1])
    other, _ = build(ordering="random(seed=2)")
    assert (np.asarray(other.sample(params, KEY, 5)) != np.asarray(model.sample(params, KEY, 5))).any()
    assert run_sampler._cache_size() == size


@each_sampler
@pytest.mark.parametrize(
    ("spec", "one"), [(ContextSpec("label", 3), 2), (ContextSpec("vector", 2), np.array([3.0, -1.0], np.float32))]
)
def test_one_context_counts_for_all(sampler, spec, one):
    model, params = build(context=spec)
    many = np.stack([np.asarray(one)] * 5)
    shared = model.sample(params, KEY, 5, sampler=sampler, context=one)
    np.testing.assert_array_equal(shared, model.sample(params, KEY, 5, sampler=sampler, context=many))


@pytest.mark.slow
@each_sampler
def test_a_context_steers_its_own_rows(sampler):
    """Labels that shift the logits far to one value each."""
    model, params = build(context=ContextSpec("label", 4))
    table = 60 * np.tile(np.eye(4), (1, 6)).astype(np.float32)  # outputs: six sites of four logits
    params = {**params, "out_context": {"table": {"embedding": table}}}
    labels = np.array([3, 0, 2, 2, 1])
    samples = np.asarray(model.sample(params, KEY, 5, sampler=sampler, context=labels))
    np.testing.assert_array_equal(samples.reshape(5, 6), np.repeat(labels[:, None], 6, 1))


@each_sampler
def test_sampling_inside_jit(raster, sampler):
    model, params = raster
    draw = jax.jit(lambda model, params, key: model.sample(params, key, 5, sampler=sampler))
    np.testing.assert_array_equal(draw(model, params, KEY), model.sample(params, KEY, 5, sampler=sampler))
