"""Samplers from call strings, checked before anything compiles; and small parts of draws by themselves."""

import dataclasses

import jax
import jax.numpy as jnp
import law_cases as cases
import numpy as np
import pytest
from refusals import refusal

from arjax.config import base_config, dataset_config, network_config
from arjax.config.validate import validate
from arjax.core import programs
from arjax.core.batch import Batch
from arjax.core.errors import UserError
from arjax.core.options import opt
from arjax.core.spec import EventSpec
from arjax.factorization import make_factorization
from arjax.models import KINDS, Model, make_model
from arjax.models.draws import check_draws
from arjax.samplers import SAMPLERS, Cached, Draw, Request, Resources, Sampler, example_keys, make_sampler, parallel
from arjax.samplers.base import Steps, keys_of_steps, per_example
from arjax.samplers.drafts.base import Draft
from arjax.samplers.loops import Ends
from arjax.samplers.request import OPTIONS
from arjax.samplers.rounds import make_sizes
from arjax.testing.examples import random_like


def test_a_sampler_and_a_kind_that_are_no_pytrees_are_one_sentence(scope):
    """A subclass does not inherit the registration of its base."""
    of_class = {"__doc__": "No pytree.", "__module__": __name__, "make": classmethod(lambda cls, recipe: cls())}
    for registry, base in ((SAMPLERS, Cached), (KINDS, Model)):
        scope(registry)
        registry.register("leaf")(type("Leaf", (base,), of_class))
    for call in (lambda: make_sampler("leaf"), lambda: make_model(EventSpec((2,)), kind="leaf")):
        with pytest.raises(UserError, match=r"'leaf' is no pytree: write @jax.tree_util.register_dataclass .* Leaf$"):
            call()


def test_mistakes_are_one_sentence_in_a_config_and_in_a_call():
    config = base_config()
    config.dataset, config.network = dataset_config("digits"), network_config("made")
    config.train.steps = 1
    validate(config)
    config.sample.sampler = text = "cashed"
    model = cases.small_model("made", EventSpec((2,)))
    draw = lambda: model.sample(cases.params_of(model), jax.random.key(0), 2, sampler=text)  # noqa: E731
    for call in (lambda: make_sampler(text), lambda: validate(config), draw):
        assert "unknown sampler 'cashed', did you mean 'cached'" in refusal(call)


@pytest.mark.parametrize("name", SAMPLERS.names())
def test_a_sampler_is_a_value_and_a_pytree_without_leaves(name):
    sampler = make_sampler(name)
    assert sampler == make_sampler(name + "()") and hash(sampler) == hash(make_sampler(name))
    assert not jax.tree.leaves(sampler)


def test_a_program_of_one_class_never_serves_another():
    """Their fields are equal; without a field for the class, jaxlib 0.10 confuses a few of these."""

    def of_class(base, number):
        value = {"__annotations__": {"size": int}, "size": opt(1), "number": number, "__abstractmethods__": frozenset()}
        made = dataclasses.dataclass(frozen=True)(type("Mine", (base,), value))
        made.__abstractmethods__ = frozenset()
        return jax.tree_util.register_dataclass(made)

    number_of = jax.jit(lambda value, x: x + value.number)
    for base in (Sampler, Draft, Model):
        values = [of_class(base, number)() for number in range(40)]
        assert [int(number_of(value, np.int32(0))) for value in values] == list(range(40))
    assert len(set(map(jax.tree.structure, (make_sampler(name) for name in SAMPLERS)))) == len(SAMPLERS.names())
    assert jax.tree.structure(make_sampler("cached")) != jax.tree.structure(make_sampler("greedy"))
    assert repr(make_sampler("cached")) == "Cached(chunk=0)" and make_sampler("cached") != make_sampler("greedy")


def test_the_memory_of_a_program_is_looked_at_for_other_options_of_a_sampler(monkeypatch):
    compiled = []
    note = lambda what, program, beam, x, times: compiled.append(beam.width)  # noqa: E731
    monkeypatch.setattr(programs, "compile_if_it_fits", note)
    program = jax.jit(lambda beam, x: x * beam.width)
    for width in (2, 3, 2):
        assert programs.call_if_it_fits("the arrays", program, make_sampler(f"beam(width={width})"), 5) == 5 * width
    assert compiled == [2, 3]


def test_a_sampler_of_ones_own_has_options_and_may_hold_arrays(scope):
    """One that draws the values of another array: arrays are arguments of its program, and compile nothing anew."""
    scope(SAMPLERS)

    @SAMPLERS.register("constant")
    @jax.tree_util.register_dataclass
    @dataclasses.dataclass(frozen=True)
    class Constant(Sampler):
        value: int = opt(1)
        added: jax.Array | float = 0

        def draw(self, model, params, steps, canvas, context):
            return Draw(canvas * 0 + self.value + self.added, {})

    model = cases.small_model("made", EventSpec((2,), (), "levels", 9))
    params, keys = cases.params_of(model), jax.random.split(jax.random.key(0), 3)
    assert model.sample(params, jax.random.key(0), 3, sampler="constant(value=4)").tolist() == [[4, 4]] * 3
    canvas = np.zeros((3, 2), np.int32)
    sampler = dataclasses.replace(make_sampler("constant"), added=np.int32(2))
    x, stats = sampler(model, params, keys, Request(canvas))
    assert x.tolist() == [[3, 3]] * 3 and stats["steps"].tolist() == [2] * 3


def test_the_first_values_of_sequences_are_observed_at_the_first_sites():
    model = cases.small_model("made", EventSpec((4,), (), "tokens", 5))
    params, keys = cases.params_of(model), jax.random.split(jax.random.key(0), 3)
    given, observed = np.array([2, 1, 0, 0]), np.array([True, True, False, False])
    x = np.asarray(model.draw(params, keys, given=given, observed=observed).x)
    np.testing.assert_array_equal(model.draw(params, keys, given=[2, 1]).x, x)
    np.testing.assert_array_equal(model.draw(params, keys, given=x[:, :2]).x, x)
    assert (x[:, :2] == [2, 1]).all() and (x[0] != x[1]).any()
    for wrong in (given, [[2, 1]], 2, []):
        refused = refusal(model.draw, params, keys, given=wrong)
        assert "the first sites of 3 sequences of length 4 have shape ('P',) or" in refused
    image = cases.small_model("made", EventSpec((2, 2), (), "tokens", 5))
    assert "go together: pass both or neither" in refusal(image.draw, cases.params_of(image), keys, given=[2, 1])


@pytest.mark.parametrize("kind", ["mixture", "discrete_chain", "flow"])
def test_kinds_refuse_the_options_that_they_cannot_take(kind):
    case = next(iter(KINDS.get(kind).EXAMPLES.values()))
    model = make_model(case.event, case.choice, context=case.context)
    params, keys = random_like(model.param_shapes), jax.random.split(jax.random.key(0), 3)
    for options in ({"top_k": 2}, {"given": 0, "observed": 0}, {"min_p": 0.1}):
        sentence = f"cannot draw with {min(options)}"
        assert sentence in refusal(model.draw, params, keys, **options)
        assert sentence in refusal(check_draws, model, make_sampler("cached"), Request(**options))
    assert "draw takes no 'temprature', did you mean 'temperature'" in refusal(model.draw, params, keys, temprature=0.5)


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


@pytest.mark.parametrize("call", [Cached(chunk=-1), "cached(chunk=-1)"])
def test_a_sampler_that_is_built_already_is_checked_too(call):
    assert "the option 'chunk' of the sampler 'cached' must be at least 0, not -1" in refusal(make_sampler, call)


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
    monkeypatch.setattr(parallel.rounds, "measure_losses", lambda *arguments: asked.append(arguments) or losses)
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
