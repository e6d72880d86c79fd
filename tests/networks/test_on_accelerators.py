"""Layers in their form for accelerators: the same numbers, and by the compiler of TPUs a good part of the peak."""

import importlib.util

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from arjax.core.batch import Batch
from arjax.core.spec import EventSpec
from arjax.evaluation.compiled import estimate
from arjax.models import make_model
from arjax.networks import NETWORKS
from arjax.networks.dense import nade
from arjax.networks.image import gated_resnet, pixelsnail, shifted_streams
from arjax.networks.image.gated_resnet import GatedStack, dropout_masks
from arjax.networks.image.pixelcnn_pp import DOWN
from arjax.networks.image.shifted_streams import DOWN_RIGHT, ImageView
from arjax.networks.recurrent.linear.mixer import MIXERS
from arjax.parallel.accelerators import accelerator_of, slice_devices
from arjax.parallel.sharding import make_mesh


def gated_stack(filters, taps, aux, side, batch, layers, dtype):
    """Stacked gated layers with dropout: the mean of the last one's features by (params, x, skips, key), and these."""
    stack, view = GatedStack(layers, filters, taps, aux, 0, 0.5, dtype), ImageView((side, side))

    def mean(params, x, skips, key):
        shape = layers, *x.shape[:-1], 2 * filters
        masks = dropout_masks(stack.bind({}, rngs={"dropout": key}), 0.5, True, shape)
        bound = stack.bind({"params": params})
        y = view.run_layers(bound.layer(), bound.weights(), (masks, 0), x, skips, None, upwards=False)[-1]
        return y.astype(jnp.float32).mean()

    def inputs():
        x, skips = jnp.ones((batch, side, side, filters), dtype), jnp.ones((layers, batch, side, side, aux), dtype)
        return stack.init(jax.random.key(0), method="weights")["params"], x, skips if aux else None, jax.random.key(1)

    return mean, inputs


def test_the_form_for_accelerators_computes_the_same_numbers(monkeypatch):
    """With weights apart, and products alone kept for the gradient."""
    mean, inputs = gated_stack(8, DOWN, 8, 4, 2, 2, "float32")
    values = inputs()
    gradients = jax.value_and_grad(mean, (0, 1, 2))
    expected = jax.jit(gradients)(*values)
    for module in (gated_resnet, shifted_streams):
        monkeypatch.setattr(module, "is_for_cpu", lambda: False)
    program = jax.jit(lambda *values: gradients(*values))
    assert "only_products" in str(jax.make_jaxpr(program)(*values))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), program(*values), expected)


def test_nade_takes_the_kernels_of_all_chunks_before_the_loop(monkeypatch):
    """Also where the last chunk is not full."""
    model = make_model(
        EventSpec((3, 3), (), "binary"), "nade", ordering="random(seed=1)", hidden_size=4, steps_per_chunk=4
    )
    params, batch = model.init(jax.random.key(0)), Batch(np.arange(18).reshape(2, 3, 3) % 2)

    def nats(params):
        return -model.score(params, batch).log_prob.sum()

    expected = jax.jit(jax.value_and_grad(nats))(params)
    monkeypatch.setattr(nade, "is_for_cpu", lambda: False)
    jax.clear_caches()
    found = jax.jit(jax.value_and_grad(lambda params: nats(params)))(params)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), found, expected)


def test_blocks_of_attention_keep_products_and_masks(monkeypatch):
    """No random bits are drawn again for the gradient: as many as in the score."""
    monkeypatch.setattr(pixelsnail, "is_for_cpu", lambda: False)
    small = dict(NETWORKS.get("pixelsnail").SMALL) | {"dropout": 0.5}
    model = make_model(EventSpec((2, 2), (), "levels", 4), "pixelsnail", **small)
    params, batch = jax.eval_shape(model.init, jax.random.key(0)), Batch(np.zeros((2, 2, 2), np.int32))

    def score(params):
        return model.score(params, batch, key=jax.random.key(2), train=True).log_prob.sum()

    drawn = [str(jax.make_jaxpr(f)(params)).count("random_bits") for f in (score, jax.grad(score))]
    assert drawn[0] == drawn[1] > 0


def estimate_of(function, *inputs):
    """The compiler's estimate of a function of inputs with these shapes, on one chip."""
    mesh = make_mesh(devices=slice_devices("v5e:1x1"))
    inputs = jax.tree.map(
        lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=NamedSharding(mesh, PartitionSpec())), inputs
    )
    with jax.set_mesh(mesh):
        text = jax.jit(function).lower(*inputs).compile().as_text()
    return estimate(text, accelerator_of("v5e"))


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("libtpu") is None, reason="needs arjax[tpu]")
def test_gated_layers_of_images_use_a_third_of_the_peak():
    """With all gradients: no shifted copies of feature maps, no copies of weights."""
    filters, side, batch, layers = 256, 32, 8, 5
    mean, inputs = gated_stack(filters, DOWN_RIGHT, 0, side, batch, layers, "bfloat16")
    cost = estimate_of(jax.value_and_grad(mean, (0, 1)), *jax.eval_shape(inputs))
    kernels = (2 * filters * filters + 2 * filters * 2 * filters) * len(DOWN_RIGHT)
    utilisation = 3 * layers * batch * side**2 * 2 * kernels / cost.seconds / accelerator_of("v5e").flops_16
    assert utilisation > 1 / 3, cost.parts[:20]


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("libtpu") is None, reason="needs arjax[tpu]")
@pytest.mark.parametrize("name", ["mamba2", "gated_delta_net", "mlstm"])
def test_the_kernel_of_linear_recurrences_compiles(name):
    """With heads that fill half a tile and whole ones, and all gradients."""
    options = {"state_size": 128, "num_heads": 8} if name == "mamba2" else {"num_heads": 2}
    mixer = MIXERS.get(name)(width=256, out_scale=1.0, dtype="bfloat16", fused=True, **options)
    x = jax.ShapeDtypeStruct((1, 512, 256), jnp.bfloat16)
    params = jax.eval_shape(lambda x: mixer.init(jax.random.key(0), x, 1), x)
    score = jax.value_and_grad(lambda params, x: mixer.apply(params, x, 1).astype(jnp.float32).mean(), (0, 1))
    parts = estimate_of(score, params, x).parts
    assert {part.phase for part in parts if part.what == "pallas_call"} == {"forward", "backward"}
