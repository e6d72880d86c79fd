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
from arjax.networks.image import gated_resnet, pixelsnail, shifted_streams
from arjax.networks.image.gated_resnet import GatedStack, dropout_masks
from arjax.networks.image.pixelcnn_pp import DOWN
from arjax.networks.image.shifted_streams import DOWN_RIGHT, ImageView
from arjax.parallel.accelerators import accelerator_of, slice_devices
from arjax.parallel.sharding import make_mesh


@pytest.mark.parametrize("network", ["pixelcnn_pp", "pixelsnail"])
def test_the_form_for_accelerators_computes_the_same_numbers(monkeypatch, network):
    """The score with dropout and its gradient: layers with weights apart, whose products alone are kept."""
    small = dict(NETWORKS.get(network).SMALL) | {"dropout": 0.5, "num_resnets": 2}
    model = make_model(EventSpec((4, 4), (), "levels", 4), network, **small)
    params = model.init(jax.random.key(0))
    batch = Batch(jax.random.randint(jax.random.key(1), (2, 4, 4), 0, 4))

    def score(params):
        return model.score(params, batch, key=jax.random.key(2), train=True).log_prob.sum()

    expected = jax.jit(jax.value_and_grad(score))(params)
    for module in (gated_resnet, shifted_streams, pixelsnail):
        monkeypatch.setattr(module, "is_for_cpu", lambda: False)
    program = jax.jit(lambda params: jax.value_and_grad(score)(params))
    assert "only_products" in str(jax.make_jaxpr(program)(params))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), program(params), expected)


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
@pytest.mark.parametrize(("filters", "taps", "aux", "part"), [(256, DOWN_RIGHT, 0, 1 / 3), (160, DOWN, 160, 0.9)])
def test_gated_layers_of_images_fill_a_chip(filters, taps, aux, part):
    """Five layers, with dropout and all gradients: no shifted copies of feature maps, no copies of weights. Filters
    that are no multiple of 128 leave a part of the units without work.
    """
    side, batch, layers = 32, 8, 5
    stack, view = GatedStack(layers, filters, taps, aux, 0, 0.5, "bfloat16"), ImageView((side, side))

    def loss(params, x, skips, key):
        shape = layers, *x.shape[:-1], 2 * filters
        masks = dropout_masks(stack.bind({}, rngs={"dropout": key}), 0.5, True, shape)
        bound = stack.bind({"params": params})
        y = view.run_layers(bound.layer(), bound.weights(), (masks, 0), x, skips, None, upwards=False)[-1]
        return y.astype(jnp.float32).mean()

    params = jax.eval_shape(lambda: stack.init(jax.random.key(0), method="weights")["params"])
    x = jax.ShapeDtypeStruct((batch, side, side, filters), jnp.bfloat16)
    skips = jax.ShapeDtypeStruct((layers, *x.shape[:-1], aux), jnp.bfloat16) if aux else None
    key = jax.eval_shape(lambda: jax.random.key(0))
    cost = estimate_of(jax.value_and_grad(loss, (0, 1, 2)), params, x, skips, key)
    kernels = (2 * filters * filters + 2 * filters * 2 * filters) * len(taps) + 2 * aux * filters
    flops = 3 * layers * batch * side**2 * 2 * kernels
    utilisation = flops / cost.seconds / accelerator_of("v5e").flops_16
    shown = "".join(f"\n{1e3 * p.seconds:8.3f} {p.module} {p.what} {p.phase}" for p in cost.parts[:40])
    assert utilisation > part, f"{utilisation:.3f} {1e3 * cost.seconds:.3f} ms{shown}"
