"""Small parts of draws by themselves: keys, the sites of steps, windows, and options."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from arjax.core.spec import EventSpec
from arjax.models import make_model
from arjax.samplers import Request, example_keys
from arjax.samplers.base import Steps, keys_of_steps, per_example
from arjax.samplers.request import OPTIONS
from arjax.samplers.speculative import tell_window

KEY, EVENT = jax.random.key(5), EventSpec((5,), kind="tokens", num_levels=4)
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
def test_observed_sites_and_prompts():
    plain = steps_of()
    assert plain.prompt() == 0 and plain.to_draw().tolist() == [True] * 3
    assert not plain.observed(jnp.array([[4, 0], [2, 5]])).any()
    for observed, to_draw, prompt in (
        ([1, 0, 0, 0, 1], [False, True, True], 1),
        ([1, 1, 0, 1, 1], [False, False, True], 2),
        ([1, 1, 1, 1, 1], [False, False, False], 3),
        ([1, 1, 1, 1, 0], [True, False, False], 0),
        ([0, 0, 1, 0, 0], [True, True, False], 0),
    ):
        steps = steps_of(observed)
        assert steps.to_draw().tolist() == to_draw and int(steps.prompt()) == prompt
        sites = jnp.array([4, 0, 3, 1, 2, 5])
        assert steps.observed(sites).tolist() == [bool(observed[i]) for i in (4, 0, 3, 1, 2)] + [False]


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


def test_windows_that_are_too_long_are_said(capsys):
    for window, usual, said in ((8, 8, False), (6, 8, False), (7, 8, True)):
        tell_window("the sampler 'mine'", window, usual, 6)
        assert ("the window of the sampler 'mine', 7, is longer than the 6 steps" in capsys.readouterr().err) == said


def test_options_that_have_an_effect():
    assert Request().used() == [] and Request(temperature=1, top_k=0, top_p=1, min_p=0, length=0).used() == []
    every = Request([1], [0], 3, 0, temperature=0.5, top_k=1, top_p=0.9, min_p=0.1, length=4)
    assert every.used() == list(OPTIONS) and Request(shared=True, first=3, stop=2).used() == []
    assert Request(temperature=jnp.float32(1)).used() == ["temperature"]
