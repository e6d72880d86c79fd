"""Compute in bfloat16: parameters and features stay float32, values stay close, and the step form still agrees."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import law_cases as cases
import numpy as np
import pytest
from families import FEW, fast_for, operations, slow

from arjax.core.spec import ContextSpec, EventSpec, class_label
from arjax.factorization import make_factorization
from arjax.networks import NETWORKS
from arjax.networks.denoisers import TIME
from arjax.networks.image.pixel_rnn import lstm_cell
from arjax.networks.layers.dense import correlate
from arjax.testing.network import LOW_PRECISION, check_bfloat16

#: Networks of tables of probabilities, which are computed in float32 in any compute type, and one without parameters.
IN_FLOAT32 = ("constant", "hidden_markov", "markov")


@pytest.mark.parametrize("network", fast_for(FEW[:3:2]))
def test_features_are_float32_and_close_to_those_of_float32(network):
    change = check_bfloat16(network, {})
    assert change < 0.01
    assert change > 1e-4 or network in IN_FLOAT32  # it did compute in bfloat16


@pytest.mark.slow
@pytest.mark.parametrize("network", fast_for(("transformer", "lstm")))
def test_features_are_equal_step_by_step(network):
    """The scan over steps compiles only if the carry has one type from step to step."""
    event = cases.EVENTS["tokens"]
    model = cases.supported_model(network, event, "random(seed=1)", "sites", dtype="bfloat16")
    params = cases.params_of(model)
    x, garbage = cases.random_x(event, cases.BATCH), cases.random_x(event, cases.BATCH, seed=1)
    steps = cases.stepwise(model.network, params, x, garbage, model.factorization)
    assert steps.dtype == np.float32
    expected = np.asarray(cases.parallel(model.network, params, x, model.factorization))
    difference = np.abs(steps - expected) / np.abs(expected).max()
    assert difference.max() < LOW_PRECISION and difference.mean() < 0.01


def test_gradients_of_recurrent_kernels_are_sums_in_float32():
    """Of bfloat16 arrays: a sum that was rounded to bfloat16 would be off by a thousandth."""
    rng = np.random.default_rng(0)
    h, gates = (jnp.asarray(rng.normal(size=(40, 3, size)), jnp.bfloat16) for size in (4, 6))
    expected = np.einsum("tbu,tbg->ug", np.asarray(h, np.float64), np.asarray(gates, np.float64))
    found = correlate(h, gates, "float32")
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


#: Where the gates stand among the biases, and what holds on to the state for about 400 steps.
OPEN = {"lstm": {"forget": (0, 6.0), "input": (1, -2.0)}, "gru": {"update": (1, 6.0)}}


@pytest.mark.parametrize("network", ["gru", slow("lstm")])
def test_long_memories_survive_bfloat16(network):
    """A gate of 0.998 is 1 in bfloat16, and a sum of many small terms stops growing: gates and states are float32."""
    event, size = EventSpec((512,), kind="tokens", num_levels=5), 16
    low, high = (
        cases.small_model(network, event, dtype=d, hidden_size=size, num_layers=1) for d in ("bfloat16", "float32")
    )
    params = jax.tree.map(np.array, jax.jit(high.init)(jax.random.key(0)))
    for gate, bias in OPEN[network].values():
        params["core"]["layer_0"]["bias"][gate * size : (gate + 1) * size] = bias
    x = cases.random_x(event, 4)
    features, expected = (
        np.asarray(cases.parallel(m.network, params, x, m.factorization))[:, 256:] for m in (low, high)
    )
    assert np.abs(features - expected).mean() <= 0.05 * np.abs(expected).mean()


def test_cell_of_convolutional_lstms_decays_by_its_gate_in_bfloat16():
    z = np.array([0.0, 6.0, -20.0, 0.0], jnp.bfloat16)  # o, f, i, g: nothing comes in
    c = jax.jit(lambda z, c: jax.lax.fori_loop(0, 100, lambda _, c: lstm_cell(z, c)[0], c))(z, np.ones(1, np.float32))
    np.testing.assert_allclose(c, (1 + np.exp(-6.0)) ** -100, rtol=1e-4)


LINE, GRID = EventSpec((4,), kind="tokens", num_levels=3), EventSpec((4, 4))
#: A network of each file that says itself in which type its layers compute, by its event.
COMPUTES = {
    **dict.fromkeys(("causal_conv", "deep_nade", "gru", "rg_lru", "tcn", "transformer", "transformer_xl"), LINE),
    **dict.fromkeys(("two_stream", "masked_transformer", "wavenet", "independent", "seq2seq_lstm", "separate"), LINE),
    **dict.fromkeys(("gated_pixelcnn", "lmconv", "pixelcnn", "adaptive_mlp", "denoising_transformer", "unet"), GRID),
}
OWN = {"independent": {"hidden_sizes": (4,)}}
#: Their layers are those of the networks that are fast: attention, linear recurrences and convolutions.
LIKE_OTHERS = ("rg_lru", "masked_transformer", "transformer_xl", "two_stream", "lmconv", "wavenet", "pixelcnn")


@pytest.mark.parametrize("name", [slow(n) if n in LIKE_OTHERS else n for n in COMPUTES])
def test_every_product_is_of_numbers_of_the_compute_type(name):
    """Of layers, of attention, and of the encoder of a context; a single one in float32 costs more than it saves."""
    event, family = COMPUTES[name], NETWORKS.get(name)
    context = ContextSpec(label=class_label(4), vector=EventSpec((), (2,), "real"))
    options = NETWORKS.resolve(name, dict(family.SMALL) | OWN.get(name, {}))
    network = family(event=event, context_spec=context, num_features=3, dtype="bfloat16", **options)
    inputs = jnp.zeros((1, *event.shape), jnp.int32), make_factorization(event.grid_shape)
    given = {"label": jnp.zeros(1, jnp.int32), "vector": jnp.zeros((1, 2)), TIME: jnp.zeros(1)}
    params = jax.eval_shape(lambda key: network.init(key, *inputs, given), jax.random.key(0))
    made = operations(jax.make_jaxpr(lambda params: network.apply(params, *inputs, given))(params).jaxpr)
    products = [each for each in made if each.primitive.name in ("dot_general", "conv_general_dilated")]
    assert {variable.aval.dtype.name for product in products for variable in product.invars} == {"bfloat16"}


@pytest.mark.parametrize(
    "name",
    [
        *("gru", "row_lstm", "two_stream"),
        *map(slow, ("deep_nade", "transformer", "transformer_xl", "diagonal_bilstm", "pixelsnail", "pixelcnn_pp")),
        *map(slow, ("sparse_transformer", "image_transformer", "mamba2", "rg_lru", "pixelcnn", "gated_pixelcnn")),
    ],
)
def test_nothing_drops_out_of_a_step(name):
    """Without a key of dropout, which training alone has: flax would refuse to draw."""
    model = cases.small_model(name, COMPUTES.get(name, GRID), dropout=0.5)
    form, canvas = model.factorization, jnp.zeros((1, *model.event.shape), jnp.int32)

    def step(params):
        apply = functools.partial(model.network.apply, {"params": params})
        return apply(apply(1, form, method="start"), canvas, 1, form, method="step")[1]

    assert jax.eval_shape(step, model.param_shapes).shape == (1, 1, model.conditional.num_params)
