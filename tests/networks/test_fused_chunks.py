"""The kernel of linear recurrences for TPUs, interpreted here: it equals the recurrences and their gradients."""

import os
import pathlib
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from families import slow
from loop_helpers import finish, run_python
from lowering import train_steps
from test_fused_attention import interpreted  # noqa: F401

from arjax.core.errors import say_once
from arjax.core.spec import EventSpec
from arjax.models import make_model
from arjax.networks.recurrent.linear import fused_chunks
from arjax.networks.recurrent.linear.mixer import MIXERS
from arjax.networks.recurrent.linear.mlstm import Exponential
from arjax.networks.recurrent.linear.states import Decayed, Delta, segment_sums, sums_by_differences

#: Examples, heads, steps, features of keys and values: no whole number of chunks.
B, N, T, H, V = 2, 2, fused_chunks.BLOCK + 12, 8, 4
TESTS = pathlib.Path(__file__).parent.parent

MESH_GRADIENTS = """
import jax
from jax.sharding import AxisType
import test_fused_chunks as tests
mesh = jax.make_mesh((2, 2, 2), ("data", "fsdp", "tensor"), axis_types=(AxisType.Auto,) * 3)
with jax.set_mesh(mesh):
    for name in tests.CASES:
        tests.assert_alike(tests.terms(name, batch=4))
    tests.fused_chunks.fits = lambda terms: True
    tests.assert_mixers_alike("mamba2", batch=4)
"""


def terms(name, dtype="float32", batch=B):
    """Terms with decays from almost 0 to 1; B and C of a state space are those of all heads."""
    rng = np.random.default_rng(0)

    def normal(*shape):
        return jnp.asarray(rng.normal(size=(batch, *shape)), jnp.float32)

    q, k, v = (normal(heads, T, size).astype(dtype) for heads, size in ((N, H), (N, H), (N, V)))
    log_a, unit = -jnp.exp(2 * normal(N, T)), k / jnp.linalg.norm(k, axis=-1, keepdims=True)
    match name:
        case "sums":
            return Decayed(q, k, v)
        case "shared":
            return Decayed(q[:, :1], k[:, :1], v, log_a, None, jnp.exp(normal(N, T)))
        case "exponential":
            return Exponential(q, k, v, log_a, 3 * normal(N, T))
    beta = 2 * jax.nn.sigmoid(normal(N, T, 1))
    return Delta(q, unit[:, :, :, None], v[:, :, :, None], beta, log_a if name == "gated delta" else None)


CASES = ("shared", "exponential", "gated delta", "sums", "delta")


def outputs_and_gradients(form, given):
    @jax.jit
    def run(given):
        out, back = jax.vjp(lambda given: form(given).astype(jnp.float32), given)
        return out, back(jnp.sin(jnp.arange(out.size, dtype=jnp.float32)).reshape(out.shape))

    return jax.tree.leaves(run(given))


def assert_alike(given, tolerance=1e-5):
    expected = outputs_and_gradients(lambda terms: terms.run(None, 64)[1], given)
    found = outputs_and_gradients(lambda terms: fused_chunks.run(terms), given)
    for one, other in zip(found, expected, strict=True):
        assert one.shape == other.shape and one.dtype == other.dtype
        one, other = np.asarray(one, np.float32), np.asarray(other, np.float32)
        np.testing.assert_allclose(one, other, rtol=0, atol=tolerance * np.abs(other).max())


@pytest.mark.parametrize("name", [slow(name) if name in ("sums", "delta") else name for name in CASES])
def test_the_kernel_is_the_recurrence(interpreted, name):  # noqa: F811
    """The outputs, and all gradients."""
    assert_alike(terms(name))


def assert_mixers_alike(name, batch=B):
    """The outputs of a mixer with and without the kernel, and the gradients of all its parameters."""
    options = {"width": 16, "dtype": "float32", "out_scale": 1.0, "num_heads": N, "chunk_size": 64}
    options |= {"state_size": H} if name == "mamba2" else {}
    mixers = [MIXERS.get(name)(fused=fused, **options) for fused in (False, True)]
    x, w = jax.random.normal(jax.random.key(0), (2, batch, T, 16))
    params = jax.jit(lambda: mixers[0].init(jax.random.key(1), x, 1))()
    params = jax.tree.map(lambda a: a + 0.1 * jax.random.normal(jax.random.key(2), a.shape), params)

    def score(mixer):
        return jax.jit(jax.value_and_grad(lambda params, x: (mixer.apply(params, x, 1) * w).sum(), (0, 1)))(params, x)

    def check(one, other):
        np.testing.assert_allclose(one, other, rtol=0, atol=3e-5 * max(np.abs(other).max(), 1))

    jax.tree.map(check, score(mixers[1]), score(mixers[0]))


@pytest.mark.parametrize("name", ["mamba2", slow("gated_delta_net"), slow("mlstm")])
def test_mixers_with_the_kernel_are_those_without(interpreted, monkeypatch, name):  # noqa: F811
    """Also the convolution in the kernel, which reads the last inputs of the chunk before."""
    monkeypatch.setattr(fused_chunks, "fits", lambda terms: True)
    assert_mixers_alike(name)


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_terms_in_bfloat16(interpreted, name):  # noqa: F811
    assert_alike(terms(name, "bfloat16"), 0.03)


@pytest.mark.slow
def test_several_groups_of_heads(interpreted, monkeypatch):  # noqa: F811
    monkeypatch.setattr(fused_chunks, "FEATURES", V)
    monkeypatch.setattr(fused_chunks, "TILE", V)
    assert_alike(terms("shared"))


@pytest.mark.slow
def test_each_device_of_a_mesh_has_its_own_examples_and_heads():
    start = "from jax.experimental.pallas import tpu; tpu.set_tpu_interpret_mode(True)\n"
    finish(run_python(start + MESH_GRADIENTS, 8, PYTHONPATH=f"{TESTS}/networks{os.pathsep}{TESTS}/training"))


def test_sums_of_segments_by_differences():
    """Those of strong decays, beside which others stay exact; below -128 a decay is 0 in any case."""
    x = -np.exp(np.random.default_rng(0).normal(size=(3, 256)) * 4).astype(np.float32)
    up_to = np.cumsum(np.maximum(x, -128).astype(np.float64), -1)
    sums = np.tril(up_to[..., :, None] - up_to[..., None, :], -1)
    found = jax.jit(sums_by_differences)(x)
    np.testing.assert_allclose(found, sums, rtol=1e-6, atol=3e-8)
    np.testing.assert_allclose(jnp.exp(found), jnp.exp(segment_sums(jnp.asarray(x))), rtol=1e-5, atol=1e-7)


def model(name, **options):
    options |= {"num_layers": 1, "hidden_size": 128, "num_heads": 2}
    return make_model(EventSpec((8,), (), "levels", 4), name, **options)


@pytest.mark.parametrize("name", ["mamba2", slow("mlstm"), slow("gated_delta_net")])
def test_programs_of_tpus_have_the_kernel(monkeypatch, name):
    monkeypatch.setattr(fused_chunks, "program_device", lambda: types.SimpleNamespace(platform="tpu"))
    options = {"state_size": 128} if name == "mamba2" else {}
    program = train_steps(model(name, fused=True, **options))
    assert str(program.function.trace(*program.arguments).jaxpr).count("pallas_call") > 1


def test_where_the_kernel_is_used(monkeypatch):
    def wide(name, factor=16):
        return jax.tree.map(lambda x: x.repeat(factor, -1) if x.ndim > 3 and x.shape[-1] > 1 else x, terms(name))

    fitting = wide("shared")
    assert not fused_chunks.fits(fitting)
    monkeypatch.setattr(fused_chunks, "program_device", lambda: types.SimpleNamespace(platform="tpu"))
    assert fused_chunks.fits(fitting) and fused_chunks.fits(wide("exponential")) and fused_chunks.fits(wide("delta"))
    assert not fused_chunks.fits(wide("shared", 8))
    assert not fused_chunks.fits(fitting._replace(sign=fitting.scale))
    assert not fused_chunks.fits(fitting._replace(log_decay=jnp.zeros((B, N, T, 128))))
    assert not fused_chunks.fits(wide("delta")._replace(beta=jnp.zeros((B, N, T, 2))))


@pytest.mark.parametrize("name", ["mlstm", slow("mamba2"), slow("gated_linear_attention")])
def test_without_the_kernel_the_plain_form_is_used_and_a_line_says_so(capsys, name):
    say_once.cache_clear()
    x, (one, other) = jnp.zeros((2, 8), jnp.int32), (model(name), model(name, fused=True))
    params = one.init(jax.random.key(0))
    np.testing.assert_array_equal(one.log_prob(params, x), other.log_prob(params, x))
    assert "network.fused has no kernel for this recurrence on this device" in capsys.readouterr().err
