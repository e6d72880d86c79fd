"""Small parts of draws by themselves: keys, the sites of steps, options, ends, and samplers with arrays."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from arjax.core.batch import Batch
from arjax.core.errors import UserError
from arjax.core.spec import EventSpec
from arjax.factorization import make_factorization
from arjax.models import make_model
from arjax.samplers import Beam, Cached, Parallel, Request, Resources, Speculative, example_keys, make_sampler, parallel
from arjax.samplers.base import Steps, keys_of_steps, per_example
from arjax.samplers.loops import Ends
from arjax.samplers.request import OPTIONS
from arjax.samplers.rounds import make_sizes

KEY, EVENT = jax.random.key(5), EventSpec((5,), kind="tokens", num_levels=4)
SIX = EventSpec((6,), (), "tokens", 5)
#: Steps of two sites: 4 and 0, 3 and 1, and 2 alone.
MODEL = make_model(EVENT, "independent", ordering="list(order=(4, 0, 3, 1, 2))", partition="sizes(sizes=(2, 2, 1))")
PARAMS = MODEL.init(KEY)
X = jnp.array([[3, 1, 0, 2, 1], [0, 2, 3, 3, 2]])


def steps_of(observed=None, first=0, **options):
    observed = None if observed is None else jnp.array(observed, bool)
    return Steps(MODEL, PARAMS, example_keys(KEY, 2), Request(observed=observed, first=first, **options))


def bits(keys):
    return np.asarray(jax.random.key_data(keys))


def test_keys_of_examples_and_steps():
    keys = example_keys(KEY, 3)
    expected = [jax.random.fold_in(KEY, b) for b in range(3)]
    np.testing.assert_array_equal(bits(keys), [bits(key) for key in expected])
    np.testing.assert_array_equal(bits(example_keys(jax.random.PRNGKey(5), 3)), bits(example_keys(KEY, 3)))
    found = bits(keys_of_steps(keys, jnp.array([0, 7])))
    np.testing.assert_array_equal(found[1], [bits(jax.random.fold_in(key, 7)) for key in expected])
    np.testing.assert_array_equal(bits(steps_of(first=2).keys_SB), bits(keys_of_steps(keys[:2], jnp.arange(2, 5))))
    assert per_example(X, 3).tolist() == [3, 3] and per_example(X, jnp.array([1, 2])).tolist() == [1, 2]


@pytest.mark.slow
def test_sites_of_a_step_are_drawn_from_their_features():
    """With the key of the example and the step, and with the observed ones as they are."""
    features = jax.random.normal(KEY, (2, 2, MODEL.network.num_features))
    for observed in (None, [0, 1, 0, 0, 0]):
        steps = steps_of(observed)
        values = steps.values(X, 1, features)
        for b in range(2):
            key = jax.random.fold_in(jax.random.fold_in(KEY, b), 1)
            expected = steps.head.at(jnp.array([3, 1])).sample(key, features[b], 1.0)
            assert values[b, :, 0].tolist() == expected.tolist()
        filled = np.array(X)
        filled[:, [3, 1]] = values[..., 0]
        filled[:, 1] = X[:, 1] if observed else filled[:, 1]
        np.testing.assert_array_equal(steps.fill(X, 1, features), filled)
    window = steps.window_values(steps.keys_SB[:, 0], X[:1], 1, jnp.stack([features[0]] * 2))
    assert window[0, :, 0].tolist() == values[0, :, 0].tolist()
    cold, warm = steps.at_temperature(1e-20), steps.at_temperature(1.0)
    assert cold.values(X, 1, features)[..., 0].tolist() == features.argmax(-1).tolist()
    assert warm.values(X, 1, features).tolist() == values.tolist() and cold.temperature == 1e-20


def test_options_that_have_an_effect():
    assert Request().used() == [] and Request(temperature=1, top_k=0, top_p=1, min_p=0, length=0).used() == []
    every = Request([1], [0], 3, 0, temperature=0.5, top_k=1, top_p=0.9, min_p=0.1, length=4)
    assert every.used() == list(OPTIONS) and Request(shared=True, first=3, stop=2).used() == []
    assert Request(temperature=jnp.float32(1)).used() == ["temperature"]


@pytest.mark.parametrize("wrong", [Beam(width=0), Cached(chunk=-1), Parallel(choose="luck"), Speculative(window=1)])
def test_a_sampler_that_is_built_already_is_checked(wrong):
    with pytest.raises(UserError, match=r"of the sampler '\w+' must be"):
        make_sampler(wrong)


@pytest.mark.slow
def test_values_that_complete_an_example():
    ends = Ends(make_factorization((3,), "list(order=(1, 0, 2))"), 2)
    completes = ends.completes(4)
    x = jnp.array([0, 2, 0])
    assert np.asarray(completes(x, jnp.int32(0))).tolist() == [False] * 4  # site 0 is still unknown
    assert np.asarray(completes(x, jnp.int32(1))).tolist() == [True] * 4  # whatever it is, site 1 ends
    without = jnp.array([0, 1, 0])
    assert np.asarray(completes(without, jnp.int32(1))).tolist() == [False, False, True, False]
    assert jax.eval_shape(completes, x, 0).shape == (4,)


def test_the_best_of_a_source_is_prepared_with_it():
    model = make_model(SIX, "made", hidden_sizes=(2,))
    rows = Resources(lambda split, num: Batch(np.arange(24).reshape(4, 6) % 5), None)
    best = make_sampler("best(of=2, sampler='speculative(draft=\"counts(order=1)\")')")
    assert best.has_arrays
    prepared = best.prepare(model, None, rows)
    expected = jax.tree.leaves(best.source.prepare(model, None, rows))
    assert expected and prepared.of == 2
    for leaf, wanted in zip(jax.tree.leaves(prepared), expected, strict=True):
        np.testing.assert_array_equal(leaf, wanted)


def test_rounds_are_measured_for_the_optimal_schedule_alone(monkeypatch):
    """Losses that fall in the first two steps: more rounds are there."""
    model = make_model(SIX, "masked_transformer", orders="uniform")
    losses, asked = np.array([3.0, 1.0, 0.1, 0.1, 0.1, 0.1]), []
    monkeypatch.setattr(parallel, "measure_losses", lambda *arguments: asked.append(arguments) or losses)
    rows = Resources(lambda split, num: (split, num), None)
    sizes = {}
    for schedule in ("uniform", "cosine", "optimal"):
        sampler = make_sampler(f"parallel(steps=3, schedule={schedule!r})")
        assert sampler.has_arrays == (schedule == "optimal")
        prepared = sampler.prepare(model, "params", rows)
        assert prepared == make_sampler(f"parallel(sizes={prepared.sizes})")
        assert prepared.prepare(model, "params", None) is prepared
        sizes[schedule] = prepared.sizes
    assert asked == [(model, "params", ("validation", 256))]
    assert sizes == {"uniform": (2, 2, 2), "cosine": make_sizes("cosine", 6, 3), "optimal": (1, 1, 4)}
    assert len(make_sampler("parallel").prepare(model, None, None).sizes) == 6
