"""Draws of another length than the examples: a carry that goes on, a window that slides, and their pieces."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import law_cases as cases
import numpy as np
import pytest
from built import built
from compiled import of_model
from refusals import refusal

from arjax.core.errors import UserError, say_once
from arjax.core.spec import ContextSpec, EventSpec
from arjax.evaluation.sampling import prepare_sampler
from arjax.models import ModelChoice, make_model
from arjax.models.longer import PIECE, draw_in_pieces, join_pieces, of_length
from arjax.networks import NETWORKS
from arjax.samplers import Cached, Draw, Request, example_keys, make_sampler
from arjax.samplers.best import _candidates

SIZE, LENGTH, NUM = 12, 45, 3
LINE = EventSpec((SIZE,), (), "tokens", 5)
KEYS = example_keys(jax.random.key(2), NUM)
#: The networks that go on, with the options with which they do, beside those of `SMALL`.
UNBOUNDED = {name: {} for name in NETWORKS.names() if "unbounded" in NETWORKS.get(name).TRAITS}
UNBOUNDED |= {name: {"position": "none"} for name in UNBOUNDED if "position" in NETWORKS.options(name)}
UNBOUNDED["causal_conv"] |= {"num_layers": 2}


@functools.cache
def small(network: str, **options):
    return built(LINE, network, **UNBOUNDED.get(network, {}) | options)


@pytest.mark.parametrize(
    "network", [pytest.param(name, marks=[pytest.mark.slow] * (name != "gru")) for name in UNBOUNDED]
)
def test_a_carry_goes_on_as_the_same_network_over_a_longer_sequence(network):
    model, params = small(network)
    assert "unbounded" in model.network.traits
    longer = of_length(model, LENGTH)
    assert longer.event.grid_shape == (LENGTH,) and longer.param_shapes == model.param_shapes
    found = model.draw(params, KEYS, length=LENGTH)
    assert found.x.shape == (NUM, LENGTH) and found.stats["steps"].tolist() == [LENGTH] * NUM
    np.testing.assert_array_equal(found.x[:, :SIZE], model.draw(params, KEYS).x)
    features = of_model(longer, "features", params, found.x)

    @jax.jit
    def drawn(key, features_TF):
        steps = jax.vmap(jax.random.fold_in, (None, 0))(key, np.arange(LENGTH))
        return jax.vmap(longer.conditional.sample)(steps, features_TF)

    np.testing.assert_array_equal(found.x, [drawn(*example) for example in zip(KEYS, features, strict=True)])


def test_greedy_goes_on_to_the_most_probable_value_of_each_step(capsys):
    say_once.cache_clear()
    model, params = small("gru")
    found = model.draw(params, KEYS, length=LENGTH, sampler="greedy", temperature=0.5)
    features = of_model(of_length(model, LENGTH), "features", params, found.x)
    np.testing.assert_array_equal(found.x, np.argmax(features, -1))
    assert "the sampler 'greedy' finds the same values at any temperature" in capsys.readouterr().err


def test_subclasses_of_users_draw_in_their_own_way():
    @jax.tree_util.register_dataclass
    @dataclasses.dataclass(frozen=True)
    class Fours(Cached):
        def draw(self, model, params, steps, canvas, context):
            return Draw(jnp.full_like(canvas, 4), {"network_calls": jnp.zeros(len(canvas), jnp.int32)})

    model, params = small("gru")
    assert (model.draw(params, KEYS, length=LENGTH, sampler=Fours()).x == 4).all()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("network", "options"),
    [
        ("gru", {"position": "sinusoidal"}),
        ("linear_attention", {"position": "learned"}),
        ("local_transformer", {"window": 13}),
        ("transformer_xl", {"segment": 8, "memory": 8}),  # distances above 12 were never seen
        ("wavenet", {"num_layers": 4, "dilation_cycle": 4}),  # nor were inputs of the taps 8 back
        ("wavenet", {"context": ContextSpec("frames", 2, 3)}),
        ("transformer", {"position": "none"}),
        ("made", {}),
    ],
)
def test_options_that_were_not_trained_for_longer_sequences_keep_to_the_window(network, options):
    assert "unbounded" not in small(network, **options)[0].network.traits


def test_parameters_that_depend_on_the_length_are_found_out(monkeypatch):
    model, params = small("transformer")
    monkeypatch.setattr(type(model.network), "traits", frozenset({"unbounded"}))
    refused = refusal(draw_in_pieces, model, params, KEYS, LENGTH)
    assert "'transformer' has the trait 'unbounded', but its parameters depend" in refused


@pytest.fixture(scope="module")
def slid():
    model, params = small("transformer")
    return model, params, np.asarray(model.draw(params, KEYS, length=LENGTH).x)


def test_a_window_slides(slid):
    """Window n holds the sites from 9 n on; its first three are those read again, the others have their own noise."""
    model, params, x = slid
    np.testing.assert_array_equal(x[:, :SIZE], model.draw(params, KEYS).x)

    @jax.jit
    def drawn(features, t):
        return jax.vmap(lambda key, f: model.conditional.sample(jax.random.fold_in(key, t), f))(KEYS, features)

    for start in range(0, LENGTH - SIZE + 1, SIZE - 3):
        window = x[:, start : start + SIZE]
        features = np.asarray(of_model(model, "features", params, window))
        for t in range(3 if start else 0, SIZE):
            np.testing.assert_array_equal(window[:, t], drawn(features[:, t], start + t))


@pytest.mark.slow
def test_a_shorter_draw_is_the_beginning_of_a_longer_one(slid):
    model, params, x = slid
    np.testing.assert_array_equal(model.draw(params, KEYS, length=30).x, x[:, :30])
    model, params = small("gru")
    x = np.asarray(model.draw(params, KEYS, length=LENGTH).x)
    np.testing.assert_array_equal(model.draw(params, KEYS, length=7).x, x[:, :7])
    np.testing.assert_array_equal(model.draw(params, KEYS[1:2], length=LENGTH).x, x[1:2])


@pytest.mark.parametrize("prompt", [*[pytest.param(n, marks=pytest.mark.slow) for n in (1, 11, 12)], 26])
def test_the_beginning_of_a_draw_as_a_prompt_gives_that_draw(slid, prompt):
    """Prompts longer than the window, too: a carry reads all of it, a window the last sites."""
    model, params, x = slid
    found = model.draw(params, KEYS, length=LENGTH, given=x[:, :prompt])
    np.testing.assert_array_equal(found.x, x)
    model, params = small("gru")
    x = np.asarray(model.draw(params, KEYS, length=LENGTH).x)
    np.testing.assert_array_equal(model.draw(params, KEYS, length=LENGTH, given=x[:, :prompt]).x, x)
    same = np.asarray(model.draw(params, KEYS, length=LENGTH, given=x[0, :prompt]).x)
    assert (same[:, :prompt] == x[0, :prompt]).all() and (same[0] == x[0]).all() and (same[1] != same[0]).any()


@pytest.mark.slow
def test_pieces_come_one_after_another(slid):
    model, params, x = slid
    found = [np.asarray(piece.x) for piece in draw_in_pieces(model, params, KEYS, LENGTH, given=x[:, :3])]
    assert [piece.shape[1] for piece in found] == [12, 9, 9, 9, 6]
    np.testing.assert_array_equal(np.concatenate(found, 1), x)
    carried = draw_in_pieces(*small("gru"), KEYS, LENGTH)
    assert [piece.x.shape[1] for piece in carried] == [PIECE, LENGTH - PIECE]


def test_a_sampler_of_all_orders_is_prepared_for_the_model_that_it_draws_from():
    model, params = small("masked_transformer", orders="uniform", ordering="reversed")
    sampler = prepare_sampler("parallel(steps=4)", model, params, None, None, length=20)
    assert sampler.sizes == (3, 3, 3, 3)
    draw_in_pieces(model, params, KEYS, 20, sampler=sampler)
    with pytest.raises(UserError, match="needs a model of all orders"):
        prepare_sampler("parallel(steps=4)", *small("transformer"), None, None, length=20)


def test_nothing_is_drawn_before_a_piece_is_asked_for(monkeypatch):
    """A window, a carry that goes on, and a draw in one piece."""
    for network, sampler in (("transformer", "cached"), ("gru", "cached"), ("gru", "naive")):
        model, params = small(network)
        with monkeypatch.context() as patch:
            for name in ("models.longer.begin", "samplers.Sampler.__call__"):
                patch.setattr(f"arjax.{name}", lambda *_, **__: pytest.fail("it draws"))
            found = draw_in_pieces(model, params, KEYS, LENGTH, sampler=sampler)
            with pytest.raises(pytest.fail.Exception, match="it draws"):
                next(found)


@pytest.mark.slow
@pytest.mark.parametrize("call", ["best(of=4)", "beam(width=125)"])
def test_a_search_in_a_window_compares_what_is_asked_for(call):
    """Of a window, the sites up to the length; the last ones are neither drawn nor counted."""
    model, params = small("made")
    found = model.draw(params, KEYS, length=3, sampler=call)
    x, mask = np.pad(np.asarray(found.x), [(0, 0), (0, SIZE - 3)]), np.tile(np.arange(SIZE) < 3, (NUM, 1))
    np.testing.assert_allclose(found.stats["log_prob"], model.log_prob(params, x, mask=mask), rtol=1e-5)
    assert found.stats["steps"].tolist() == [3] * NUM
    if call.startswith("best"):
        candidates = [model.draw(params, keys, length=3).x for keys in _candidates(KEYS, 4).T]
        scores = [model.log_prob(params, np.pad(row, [(0, 0), (0, SIZE - 3)]), mask=mask) for row in candidates]
        np.testing.assert_allclose(found.stats["log_prob"], np.max(scores, 0), rtol=1e-5)


def test_an_example_with_the_end_in_its_prompt_has_ended():
    model, params = small("gru")
    prompt = np.array([[1, 3, 0], [1, 2, 0], [3, 3, 3]])
    x = np.asarray(model.draw(params, KEYS, length=9, given=prompt, end=3).x)
    np.testing.assert_array_equal(x[:, :3], prompt)
    assert (x[[0, 2], 3:] == 3).all() and x[1, 3] != 3


@pytest.mark.slow
def test_another_sampler_draws_the_same(slid):
    """In a window, and where a carry goes on."""
    model, params, x = slid
    np.testing.assert_array_equal(model.draw(params, KEYS, length=20, sampler="naive").x, x[:, :20])
    model, params = small("gru")
    found = model.draw(params, KEYS, length=20, sampler=make_sampler("naive"), temperature=0.5, top_k=3)
    np.testing.assert_array_equal(found.x, model.draw(params, KEYS, length=20, temperature=0.5, top_k=3).x)
    assert (np.asarray(found.x) != np.asarray(model.draw(params, KEYS, length=20).x)).any()
    begun = model.draw(params, KEYS, length=20, given=found.x[:, :5], sampler="naive", temperature=0.5, top_k=3)
    np.testing.assert_array_equal(begun.x, found.x)


@pytest.mark.parametrize("network", ["gru", pytest.param("transformer", marks=pytest.mark.slow)])
def test_a_context_is_kept(network):
    model, params = small(network, context=ContextSpec("label", 3))
    each = np.asarray(model.draw(params, KEYS, length=30, context=[2, 0, 2]).x)
    both = [np.asarray(model.draw(params, KEYS, length=30, context=label).x) for label in (0, 2)]
    np.testing.assert_array_equal(each, np.stack([both[1][0], both[0][1], both[1][2]]))
    assert (both[0][:, SIZE:] != both[1][:, SIZE:]).any()


@pytest.mark.slow
def test_sequences_of_vectors():
    model = make_model(EventSpec((6,), (2,), "real", 0), "gru", hidden_size=4)
    params = cases.gentle_params_of(model)
    x = np.asarray(model.draw(params, KEYS, length=20).x)
    assert x.shape == (NUM, 20, 2)
    found = model.draw(params, KEYS, length=20, given=x[0, :9])
    np.testing.assert_allclose(found.x[0], x[0], rtol=1e-4, atol=1e-5)


TEXT = ContextSpec("sequence", 3, 4)
MISTAKES = [
    ("gru", {}, {"length": 0}, "the length of a draw must be a whole number, at least 1, not 0"),
    ("gru", {}, {"length": 2.5}, "the length of a draw must be a whole number"),
    ("gru", {"ordering": "reversed"}, {}, "needs a model of model.ordering=raster and"),
    ("gru", {"partition": "blocks(size=3)", "position": "learned"}, {}, "needs a model of"),
    ("gru", {}, {"given": [[0, 1]]}, "first sites of 3 sequences of length 30 have shape ('P',)"),
    ("gru", {}, {"given": [0] * 30}, "with 0 < P < 30"),
    ("gru", {}, {"given": [5]}, "given of tokens data must be 0 to 4"),
    ("gru", {}, {"end": 5}, "the end of an example is a token from 0 to 4, not 5"),
    ("transformer", {}, {"end": 4}, "examples with an end begin at their beginning: draw at most 12"),
    ("transformer", {"context": TEXT}, {"context": [0, 1, 2, -1]}, "lose its place in the context (sequence): draw at"),
]


@pytest.mark.parametrize(("network", "options", "request_", "sentence"), MISTAKES)
def test_mistakes_are_one_sentence(network, options, request_, sentence):
    assert sentence in refusal(draw_in_pieces, *small(network, **options), KEYS, **{"length": 30} | request_)


def test_what_has_no_length_is_told():
    image = make_model(EventSpec((4, 3)), "gru", hidden_size=4)
    assert "a draw has a length where examples are sequences; those of this model are 4" in refusal(
        of_length, image, 30
    )
    parts = {"a": ModelChoice(network="gru"), "b": ModelChoice(network="made")}
    mixture = make_model(EventSpec((4,)), kind="mixture", parts=parts)
    for call in (lambda: of_length(mixture, 30), lambda: prepare_sampler("cached", mixture, *[None] * 3, length=30)):
        assert "with a length needs a model of the kind autoregressive, not MixtureModel" in refusal(call)


def test_pieces_are_joined_and_filled_up():
    pieces = [Draw(jnp.full((2, n), n), {"steps": jnp.full(2, n), "calls": jnp.full(2, 10 * n)}) for n in (3, 2)]
    for request, behind in ((Request(length=5), []), (Request(length=8, end=9), [9, 9, 9])):
        whole = jax.tree.map(np.asarray, join_pieces(pieces, request))
        assert whole.x.tolist() == [[3, 3, 3, 2, 2, *behind]] * 2
        assert whole.stats["steps"].tolist() == [5, 5] and whole.stats["calls"].tolist() == [50, 50]
