"""Kernels of accelerators compute the formula of attention: interpreted here, and lowered for devices that are not."""

import os
import pathlib
import re
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from families import slow
from loop_helpers import finish, run_python
from lowering import score, train_steps

from arjax.core.spec import EventSpec
from arjax.models import make_model
from arjax.networks.layers import fused_attention as fused

#: Examples, heads of queries, heads of keys and values, tokens, features of a head: no whole number of blocks.
B, N, G, T, H = 2, 4, 2, fused.TPU_BLOCK + 22, 8
TESTS = pathlib.Path(__file__).parent.parent

MESH_GRADIENTS = """
import jax, numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec as P
import test_fused_attention as tests
mesh = jax.make_mesh((2, 2, 2), ("data", "fsdp", "tensor"), axis_types=(AxisType.Auto,) * 3)
for axes in (P(("data", "fsdp"), "tensor"), P("data", None, "tensor"), P(None, "fsdp", None, "tensor")):
    arrays = [jax.device_put(each, NamedSharding(mesh, axes)) for each in tests.arrays(batch=4, num_kv_heads=4)]
    with jax.set_mesh(mesh):
        tests.assert_alike(*arrays)
program = jax.jit(tests.gradients_of(tests.fused.on_tpus))
arrays = [jax.device_put(each, NamedSharding(mesh, P(("data", "fsdp"), "tensor"))) for each in arrays]
with jax.set_mesh(mesh):
    assert "all-gather" not in program.lower(*arrays).compile().as_text()
"""


@pytest.fixture
def interpreted():
    """Pallas kernels run as plain operations, in every thread."""
    from jax.experimental.pallas import tpu

    tpu.set_tpu_interpret_mode(True)
    yield
    tpu.set_tpu_interpret_mode(False)


def arrays(batch=B, num_kv_heads=G, size=H):
    """Queries, keys and values, and the derivatives of a loss by the result."""
    rng = np.random.default_rng(0)
    heads = (N, num_kv_heads, num_kv_heads, N)
    return [jnp.asarray(rng.normal(size=(batch, n, T, size)), jnp.float32) for n in heads]


def gradients_of(form):
    """The result, and the gradients by queries, keys and values."""

    def run(q, k, v, d):
        mixed, back = jax.vjp(form, q, k, v)
        return mixed, *back(d)

    return run


def assert_alike(*qkvd):
    expected = jax.jit(gradients_of(fused.plain))(*qkvd)
    for one, other in zip(jax.jit(gradients_of(fused.on_tpus))(*qkvd), expected, strict=True):
        np.testing.assert_allclose(one, other, atol=2e-5)


def model(width, dtype="float32", **options):
    """JAX keeps the programs of equal models, so each test has a width of its own."""
    options |= {"num_layers": 1, "num_heads": 2}
    return make_model(EventSpec((8,), (), "levels", 4), "transformer", width=width, dtype=dtype, **options)


def text_of(program, platform):
    return program.function.trace(*program.arguments).lower(lowering_platforms=(platform,)).as_text()


def test_kernel_of_tpus_is_the_formula(interpreted):
    """With heads that share keys, and with the gradients."""
    assert_alike(*arrays())


@pytest.mark.slow
def test_large_heads_on_tpus(interpreted):
    """The kernel takes heads above 128 features in multiples of 128 only."""
    assert_alike(*arrays(batch=1, size=130))


@pytest.mark.slow
def test_kernel_of_tpus_under_vmap(interpreted):
    q, k, v, _ = arrays()
    found = jax.jit(jax.vmap(fused.on_tpus, (0, None, 0)))(jnp.stack([q, -q]), k, jnp.stack([v, v]))
    for one, sign in zip(found, (1, -1), strict=True):
        np.testing.assert_allclose(one, fused.plain(sign * q, k, v), atol=2e-5)


@pytest.mark.slow
def test_kernel_of_tpus_on_a_mesh():
    """Each device has its own examples and heads, however the arrays are split."""
    start = "from jax.experimental.pallas import tpu; tpu.set_tpu_interpret_mode(True)\n"
    finish(run_python(start + MESH_GRADIENTS, 8, PYTHONPATH=f"{TESTS}/networks{os.pathsep}{TESTS}/training"))


@pytest.mark.parametrize("dtype", ["float32", slow("bfloat16")])
def test_programs_of_tpus_have_the_kernel(monkeypatch, dtype):
    monkeypatch.setattr(fused, "kernel_of", lambda device, q: fused.on_tpus)
    for make in (score, train_steps):
        assert "tpu_custom_call" in text_of(make(model(32, dtype, fused_attention=True)), "tpu")


@pytest.mark.slow
def test_programs_of_gpus_have_the_kernel_of_cudnn(monkeypatch):
    """JAX asks for the version of cuDNN when it traces; here there is none."""
    from jax._src.cudnn import fused_attention_stablehlo

    monkeypatch.setattr(fused_attention_stablehlo, "check_cudnn_version", lambda: 91300)
    monkeypatch.setattr(fused, "kernel_of", lambda device, q: fused.on_gpus)
    text = text_of(train_steps(model(48, "bfloat16", fused_attention=True)), "cuda")
    assert "__cudnn$fmhaSoftmax(" in text and "__cudnn$fmhaSoftmaxBackward(" in text


def test_devices_and_their_kernels():
    def kernel(platform, generation, dtype="bfloat16", size=64):
        device = types.SimpleNamespace(platform=platform, compute_capability=generation)
        return fused.kernel_of(device, jax.ShapeDtypeStruct((1, 1, 8, size), dtype))

    assert kernel("tpu", "") is kernel("tpu", "", "float32", 20) is fused.on_tpus
    assert kernel("gpu", "9.0") is kernel("gpu", "8.0", size=128) is kernel("gpu", "12.0") is fused.on_gpus
    for platform, generation in (("gpu", "7.5"), ("gpu", "gfx942"), ("cpu", "")):
        assert kernel(platform, generation) is None
    for different in ({"dtype": "float32"}, {"size": 20}, {"size": 256}):
        assert kernel("gpu", "9.0", **different) is None


@pytest.mark.slow
def test_without_a_kernel_the_formula_is_used_and_a_line_says_so(capsys):
    x = jnp.zeros((2, 8), jnp.int32)
    one, other = model(16), model(16, fused_attention=True)
    params = one.init(jax.random.key(0))
    np.testing.assert_array_equal(one.log_prob(params, x), other.log_prob(params, x))
    assert re.search("network.fused_attention has no kernel .* on this device", capsys.readouterr().err)
