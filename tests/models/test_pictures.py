"""Pictures of trained models, whose networks are left out here: the latents that are decoded, and their places."""

import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from latent_cases import EVENT, KEY, X, latent_model
from scipy.stats import norm

from arjax.core.batch import Batch
from arjax.core.spec import ContextSpec, EventSpec
from arjax.models import extras, latent, make_model, tokens
from arjax.models.latent import LATENT, LatentModel, expected_value
from arjax.models.pictures import CodesInUse, as_images, is_image

Z = np.arange(32, dtype=np.float32).reshape(16, 2)


@pytest.fixture
def decodes(monkeypatch):
    """The decoder returns the first latent of each example at all its sites; returns the contexts that it has read."""
    read = []

    def decode(part, params, context, key, num):
        read.append({name: np.asarray(value) for name, value in context.items()})
        assert params == f"of {type(part).__name__}" and key is KEY and len(context[LATENT]) == num
        return np.broadcast_to(np.asarray(context[LATENT])[:, :1].reshape(-1, 1, 1), (num, 2, 2))

    monkeypatch.setattr(latent, "expected_value", decode)
    return read


def pictures_of(model, monkeypatch, z=Z, batch=None):
    monkeypatch.setattr(LatentModel, "encode", lambda *args, context=None: jnp.asarray(z))
    params = {"likelihood": "of AutoregressiveModel"}
    return dict(extras.pictures(model, params, Batch(X) if batch is None else batch, KEY))


def test_latents_are_decoded_on_lines_and_on_a_plane(decodes, monkeypatch):
    pictures = pictures_of(latent_model(), monkeypatch)
    assert list(pictures) == ["reconstructions", "interpolation", "latent_plane"]
    of_examples, along, plane = (context[LATENT] for context in decodes)
    np.testing.assert_array_equal(of_examples, Z[:10])
    np.testing.assert_allclose(along, np.linspace(Z[:8], Z[8:], 12, axis=1).reshape(-1, 2), rtol=1e-6)
    quantiles = norm.ppf((np.arange(20) + 0.5) / 20)
    grid = [(across, down) for down in quantiles for across in quantiles]
    np.testing.assert_allclose(plane, grid, atol=1e-5)
    shown = pictures["reconstructions"]
    assert (shown.columns, shown.title) == (10, "Examples, and their reconstructions")
    np.testing.assert_array_equal(shown.examples[:10], X[:10])
    np.testing.assert_array_equal(shown.examples[10:, 0, 0], Z[:10, 0])
    assert (pictures["interpolation"].columns, pictures["interpolation"].title) == (12, "Between two examples")
    assert (pictures["latent_plane"].columns, pictures["latent_plane"].title) == (20, "Latents")
    assert len(pictures["interpolation"].examples) == 96 and len(pictures["latent_plane"].examples) == 400


def test_each_path_has_the_context_of_its_first_example(decodes, monkeypatch):
    labels = np.arange(16, dtype=np.int32)
    model = latent_model(context=ContextSpec("label", 16))
    pictures = pictures_of(model, monkeypatch, batch=Batch(X, {"label": labels}))
    assert list(pictures) == ["reconstructions", "interpolation"]  # a plane would need a context of its own
    first, along = (context["label"] for context in decodes)
    assert first.tolist() == labels[:10].tolist() and along.tolist() == np.repeat(labels[:8], 12).tolist()


def test_pictures_that_there_are_not(decodes, monkeypatch):
    assert list(pictures_of(latent_model((2,), "binary"), monkeypatch)) == ["reconstructions"]
    assert list(pictures_of(latent_model((3,)), monkeypatch, Z[:, [0, 1, 1]])) == ["reconstructions", "interpolation"]
    assert not pictures_of(latent_model(event=EventSpec((4,))), monkeypatch)
    few = pictures_of(latent_model(), monkeypatch, Z[:5], Batch(X[:5]))
    assert len(few["interpolation"].examples) == 2 * 12 and few["reconstructions"].columns == 5
    made = make_model(EVENT, "made", hidden_sizes=(2,))
    assert list(extras.pictures.dispatch(object)(made, None, None, KEY)) == []


def test_tokens_are_decoded_with_the_codes_of_a_few_examples(decodes, monkeypatch):
    asked = []

    def encoded(model, params, batch):
        asked.append(batch)
        return types.SimpleNamespace(z=jnp.asarray(Z[: len(batch)]))

    monkeypatch.setattr(tokens, "_encoded", encoded)
    draw = extras.pictures.dispatch(tokens.TokensModel)
    model = types.SimpleNamespace(event=EVENT, decoder=types.SimpleNamespace())
    batch = Batch(X, {"label": np.arange(16)}, weight=np.ones(16))
    found = dict(draw(model, {"decoder": "of SimpleNamespace"}, batch, KEY))
    assert list(found) == ["codes", "reconstructions"] and isinstance(found["codes"], CodesInUse)
    assert asked[0].weight is None and len(asked[0]) == 10
    assert decodes[0]["label"].tolist() == list(range(10)) and found["reconstructions"].columns == 10
    np.testing.assert_array_equal(found["reconstructions"].examples[10:, 0, 0], Z[:10, 0])
    model.event = EventSpec((4,))
    assert list(dict(draw(model, {}, batch, KEY))) == ["codes"]


@pytest.mark.parametrize("case", ["table", "mode", "dependent", "no conditionals"])
def test_expected_values_are_means_of_tables_modes_or_draws(case):
    """A table of the values 0, 1 and 2 with the probabilities .2, .3 and .5 has the mean 1.3."""
    table = jnp.log(jnp.broadcast_to(jnp.array([0.2, 0.3, 0.5]), (4, 2, 2, 3)))
    asked = []

    def features(params, x, *, context):
        asked.append((params, x.shape, x.dtype, context))
        return "features"

    def draw(params, keys, *, context):
        asked.append((params, len(keys), context))
        return types.SimpleNamespace(x="draws")

    head = types.SimpleNamespace(log_table=lambda features: table, mode=lambda features: ("mode of", features))
    depends = np.eye(4, dtype=bool) if case == "dependent" else np.zeros((4, 4), bool)
    model = types.SimpleNamespace(
        **{"event": EVENT, "factorization": None, "features": features, "head": lambda params: head, "draw": draw},
        traits=frozenset() if case == "no conditionals" else frozenset({"conditionals"}),
        network=types.SimpleNamespace(dependencies=lambda factorization: depends),
        conditional=types.SimpleNamespace(has_table=case != "mode"),
    )
    found, context = expected_value(model, "params", {"z": 1}, KEY, 4), {"z": 1}
    if case in ("dependent", "no conditionals"):
        assert found == "draws" and asked == [("params", 4, context)]
        return
    assert asked == [("params", (4, 2, 2), jnp.dtype("int32"), context)]
    if case == "mode":
        assert found == ("mode of", "features")
    else:
        np.testing.assert_allclose(found, np.full((4, 2, 2), 1.3), rtol=1e-6)


def test_which_examples_are_images():
    x = np.arange(24).reshape(2, 3, 4)
    assert as_images(x, (3, 4)) is x and as_images(x[..., None], (3, 4)).shape == (2, 3, 4)
    assert as_images(np.zeros((2, 3, 4, 3)), (3, 4)).shape == (2, 3, 4, 3)
    np.testing.assert_array_equal(as_images(x, (3,)), x.transpose(0, 2, 1)[:, ::-1])
    for event in (EventSpec((4,)), EventSpec((2, 2, 2)), EventSpec((2, 2), (2,)), EventSpec((3,), (2, 2))):
        assert not is_image(event)
    assert is_image(EVENT) and is_image(EventSpec((3,), (2,))) and jax.tree.leaves(X)
