"""Drawing: clamped sites, prefixes, contexts, temperature and keys, of `cached`, as which others draw by law 4."""

import jax
import law_cases as cases
import numpy as np
import pytest
from built import built
from compiled import of_family, of_model
from refusals import refusal

from arjax.core.spec import ContextSpec, EventSpec
from arjax.samplers import Draw, example_keys
from arjax.samplers.base import run_sampler

EVENT = EventSpec((2, 3), (), "tokens", 4)
KEY, GIVEN = jax.random.key(0), cases.random_x(EVENT, 5)
TOP, SECOND = np.array([[1, 1, 1], [0, 0, 0]], bool), np.array([[0, 1, 0], [0, 0, 0]], bool)


def build(event: EventSpec = EVENT, **options):
    return built(event, hidden_sizes=(12,), **options)


@pytest.fixture(scope="module")
def raster():
    return build()


def test_completing_the_prefix_of_a_sample_gives_that_sample(raster):
    """The key of a step depends on the step alone: with the drawn values clamped, the rest is drawn alike."""
    model, params = raster
    free = np.asarray(model.sample(params, KEY, 5))
    for num in (2, 6):
        completed = model.sample(params, KEY, 5, given=free, observed=np.arange(6).reshape(2, 3) < num)
        np.testing.assert_array_equal(completed, free)
    whole = model.sample(params, KEY, 5, given=GIVEN, observed=np.ones((2, 3), bool))
    np.testing.assert_array_equal(whole, GIVEN)


@pytest.mark.slow
def test_one_given_example_counts_for_all_or_each_has_its_own(raster):
    model, params = raster
    each = np.asarray(model.sample(params, KEY, 5, given=GIVEN, observed=TOP))
    np.testing.assert_array_equal(each[:, 0], GIVEN[:, 0])
    one = np.asarray(model.sample(params, KEY, 5, given=GIVEN[0], observed=TOP))
    np.testing.assert_array_equal(one[:, 0], np.broadcast_to(GIVEN[0, 0], (5, 3)))
    assert len(np.unique(one[:, 1], axis=0)) > 1


def test_a_block_may_be_observed_in_part():
    """Sites of one step are independent given the steps before: observed ones may stand in a step with others."""
    (model, params), keys = build(partition="rows"), example_keys(KEY, 5)
    for observed, steps in ((SECOND, 2), (TOP, 1)):
        drawn = model.draw(params, keys, given=GIVEN, observed=observed)
        np.testing.assert_array_equal(np.asarray(drawn.x)[:, observed], GIVEN[:, observed])
        assert isinstance(drawn, Draw) and drawn.stats.keys() == {"network_calls", "steps"}
        assert drawn.stats["network_calls"].tolist() == [2] * 5 and drawn.stats["steps"].tolist() == [steps] * 5


MISTAKES = [
    ({"given": GIVEN[0]}, "`given` values and the mask of `observed` sites go together"),
    ({"observed": TOP}, "`given` values and the mask of `observed` sites go together"),
    ({"given": GIVEN[0], "observed": np.ones(6)}, "`observed` has shape (6,), but the grid is (2, 3)"),
    ({"given": GIVEN[:3], "observed": TOP}, "`given` has shape (3, 2, 3), but 5 examples have shape (5, 2, 3"),
    ({"given": GIVEN[0], "observed": SECOND}, "step 0 comes before an observed one of step 1; use an ord"),
]


@pytest.mark.parametrize(("arguments", "sentence"), MISTAKES)
def test_mistakes_are_one_sentence(raster, arguments, sentence):
    model, params = raster
    assert sentence in refusal(model.sample, params, KEY, 5, **arguments)


def test_a_low_temperature_draws_the_most_probable_value_at_each_step(raster):
    model, params = raster
    samples = np.asarray(model.sample(params, KEY, 5, temperature=1e-5))
    assert (samples == samples[0]).all()
    greedy = np.asarray(of_family(model.conditional, "mode", of_model(model, "features", params, samples)))
    np.testing.assert_array_equal(samples, greedy)


@pytest.mark.slow
def test_limits_restrict_every_site(raster):
    model, params = raster
    samples = np.asarray(model.sample(params, KEY, 5, top_k=2))
    log_p = np.asarray(of_family(model.conditional, "log_table", of_model(model, "features", params, samples)))
    rank = (log_p > np.take_along_axis(log_p, samples[..., None], -1)).sum(-1)
    assert rank.max() == 1  # the second best is drawn, the third never
    free = np.asarray(model.sample(params, KEY, 5))
    np.testing.assert_array_equal(free, model.sample(params, KEY, 5, top_k=0, top_p=1.0))
    assert (free != samples).any()
    cold = model.sample(params, KEY, 5, temperature=1e-5)
    for one in ({"top_p": 1e-6}, {"min_p": 1.0}):
        np.testing.assert_array_equal(model.sample(params, KEY, 5, **one), cold)


@pytest.mark.slow
def test_top_k_reaches_the_entries_of_nested_values():
    model, params = build(EventSpec((2,), (3,), "tokens", 4), conditional="nested(hidden_sizes=(8,), features=4)")
    greedy = np.asarray(model.sample(params, KEY, 50, top_k=1))
    np.testing.assert_array_equal(greedy, model.sample(params, KEY, 50, temperature=1e-5))
    assert (greedy == greedy[:1]).all()
    assert (np.asarray(model.sample(params, KEY, 50, top_k=2)) != greedy).any()


def test_temperature_is_data_to_the_compiled_program(raster):
    """Another temperature, key, prefix or order compiles nothing anew."""
    model, params = raster
    model.sample(params, KEY, 5, temperature=1.0)
    prompts = [{"given": GIVEN[0], "observed": np.arange(6).reshape(2, 3) < n} for n in (1, 3)]
    model.sample(params, KEY, 5, **prompts[0])
    size = run_sampler._cache_size()
    model.sample(params, jax.random.key(5), 5, temperature=0.7)
    model.sample(params, KEY, 5, **prompts[1])
    other, _ = build(ordering="random(seed=2)")
    assert (np.asarray(other.sample(params, KEY, 5)) != np.asarray(model.sample(params, KEY, 5))).any()
    assert run_sampler._cache_size() == size


@pytest.mark.parametrize(
    ("spec", "one"), [(ContextSpec("label", 3), 2), (ContextSpec("vector", 2), np.array([3.0, -1.0], np.float32))]
)
def test_one_context_counts_for_all(spec, one):
    model, params = build(context=spec)
    many = np.stack([np.asarray(one)] * 5)
    np.testing.assert_array_equal(*(model.sample(params, KEY, 5, context=context) for context in (one, many)))


@pytest.mark.slow
def test_a_context_steers_its_own_rows():
    model, params = build(context=ContextSpec("label", 4))
    table = 60 * np.tile(np.eye(4), (1, 6)).astype(np.float32)  # outputs: six sites of four logits
    params = {**params, "out_context": {"table": {"embedding": table}}}
    labels = np.array([3, 0, 2, 2, 1])
    samples = np.asarray(model.sample(params, KEY, 5, context=labels))
    np.testing.assert_array_equal(samples.reshape(5, 6), np.repeat(labels[:, None], 6, 1))


def test_draws_inside_jit(raster):
    model, params = raster
    draw = jax.jit(lambda model, params, key, t: model.sample(params, key, 5, temperature=t))
    for t in (1.0, 0.5):
        np.testing.assert_array_equal(draw(model, params, KEY, t), model.sample(params, KEY, 5, temperature=t))


REAL, VECTORS = EventSpec((2, 3), (), "real", 0), EventSpec((3,), (4,))
#: Network, event, and what else a model is made of.
MODELS = {
    "blocks": ("made", EVENT, {"partition": "sizes(sizes=(1, 3, 2))", "ordering": "random(seed=1)"}),
    "pixels": ("gated_pixelcnn", EVENT, {}),
    "real": ("nade", REAL, {"conditional": "student_t_mixture(components=2)"}),
    "products": ("made", VECTORS, {"conditional": "mixture_of_products(components=3)"}),
    "nested": ("rnn", VECTORS, {"conditional": "nested(network='nade', hidden_size=6, features=4)"}),
    "nested_block": ("made", EVENT, {"partition": "rows", "conditional": "nested(hidden_sizes=(6,), features=4)"}),
}


def model_of(name: str):
    network, event, choice = MODELS[name]
    model = cases.small_model(network, event, **choice)
    return model, cases.gentle_params_of(model) if event is REAL else cases.params_of(model)


@pytest.mark.parametrize("name", [pytest.param(name, marks=[pytest.mark.slow] * (name != "blocks")) for name in MODELS])
def test_an_example_depends_on_its_own_key_whatever_is_drawn_with_it(name):
    model, params = model_of(name)
    keys = example_keys(KEY, 12)
    rows = np.arange(7), np.array([5, 8, 0, 3, 9, 10, 11])
    many, others = (np.asarray(model.draw(params, keys[some]).x) for some in rows)
    tolerance = {} if model.event.is_discrete else {"rtol": 1e-4, "atol": 1e-5}  # shapes round differently
    np.testing.assert_allclose(others[[0, 2, 3]], many[[5, 0, 3]], **{"rtol": 0} | tolerance)
    assert len(np.unique(many.reshape(7, -1), axis=0)) > 3


def test_keys_that_are_none_and_limits_of_real_values_are_refused(raster):
    model, params = raster
    for keys in (KEY, np.zeros((3, 2), np.uint32), example_keys(KEY, 4).reshape(2, 2), None):
        assert "the keys of a draw are as from" in refusal(model.draw, params, keys)
    model, params = build(REAL)
    assert "of which 'gaussian' has no list" in refusal(model.sample, params, KEY, 2, top_k=3)
