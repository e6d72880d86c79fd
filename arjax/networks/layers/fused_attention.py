"""Causal attention by a kernel of the device that never stores all T^2 scores: it keeps a running maximum and sum of
the softmax (Dao et al., "FlashAttention", 2022, section 3.1), and skips the scores that the causal mask hides.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental.custom_partitioning import custom_partitioning
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from arjax.core.errors import say_once
from arjax.networks.layers.attention import SelfAttention, attention

#: Tokens in a block of the TPU kernel; lengths are padded to whole blocks.
TPU_BLOCK = 128
#: Features of a head on TPUs: any number up to this; larger heads are padded to a multiple.
TPU_HEAD = 128
#: Limits of cuDNN's kernel: features of a head, and the oldest GPU.
MAX_GPU_HEAD, MIN_GPU = 128, (8, 0)


def fused_attention(q_BNTH: jax.Array, k_BGTH: jax.Array, v_BGTH: jax.Array) -> jax.Array:
    """`attention` of tokens that each see themselves and all earlier ones, [B, N, T, H]: on TPUs by the Pallas kernel
    of JAX; on GPUs by cuDNN's kernel, for bfloat16 or float16 and heads of a multiple of 8 features up to
    `MAX_GPU_HEAD`; elsewhere by the plain formula, which a line on stderr says. The device is the first of this process
    at the time of tracing, since with a branch for each platform a gradient would keep the scores.
    """
    kernel = kernel_of(jax.devices()[0], q_BNTH)
    if kernel is None:
        say_once("network.fused_attention has no kernel for these arrays on this device, and uses the plain formula")
    return (kernel or plain)(q_BNTH, k_BGTH, v_BGTH)


def kernel_of(device: jax.Device, q_BNTH: jax.Array) -> Callable[..., jax.Array] | None:
    """The kernel that this device has for these queries, if any."""
    if device.platform == "tpu":
        return on_tpus
    generation = getattr(device, "compute_capability", "")  # such as "9.0"; AMD's GPUs have names here
    if not re.fullmatch(r"\d+\.\d+", generation) or tuple(map(int, generation.split("."))) < MIN_GPU:
        return None
    size = q_BNTH.shape[-1]
    fits = jnp.dtype(q_BNTH.dtype).itemsize == 2 and size % 8 == 0 and size <= MAX_GPU_HEAD
    return on_gpus if fits else None


def plain(q_BNTH: jax.Array, k_BGTH: jax.Array, v_BGTH: jax.Array) -> jax.Array:
    """The formula."""
    step = jnp.arange(q_BNTH.shape[2])
    return attention(q_BNTH, k_BGTH, v_BGTH, step[:, None] >= step)


def on_gpus(q_BNTH: jax.Array, k_BGTH: jax.Array, v_BGTH: jax.Array) -> jax.Array:
    """cuDNN's kernel, which JAX splits over meshes itself."""
    q, k, v = (jnp.swapaxes(each, 1, 2) for each in (q_BNTH, k_BGTH, v_BGTH))
    mixed_BTNH = jax.nn.dot_product_attention(q, k, v, is_causal=True, implementation="cudnn")
    return jnp.swapaxes(mixed_BTNH, 1, 2)


def on_tpus(q_BNTH: jax.Array, k_BGTH: jax.Array, v_BGTH: jax.Array) -> jax.Array:
    """The Pallas kernel. Zeros after the last token fill the last block: no token sees them."""
    length, share = q_BNTH.shape[2], q_BNTH.shape[1] // k_BGTH.shape[1]
    k_BNTH, v_BNTH = (jnp.repeat(each, share, axis=1) for each in (k_BGTH, v_BGTH))
    rest = ((0, 0), (0, 0), (0, -length % TPU_BLOCK), (0, 0))
    return _tpu_kernel(*(jnp.pad(each, rest) for each in (q_BNTH, k_BNTH, v_BNTH)))[:, :, :length]


def _flash(q_BNTH: jax.Array, k_BNTH: jax.Array, v_BNTH: jax.Array) -> jax.Array:
    from jax.experimental.pallas.ops.tpu.flash_attention import flash_attention  # Pallas loads slowly

    size = q_BNTH.shape[-1]
    rest = ((0, 0), (0, 0), (0, 0), (0, -size % TPU_HEAD if size > TPU_HEAD else 0))
    qkv = (jnp.pad(each, rest) for each in (q_BNTH, k_BNTH, v_BNTH))
    return flash_attention(*qkv, causal=True, sm_scale=size**-0.5)[..., :size]


def _flash_gradients(
    q_BNTH: jax.Array, k_BNTH: jax.Array, v_BNTH: jax.Array, d_BNTH: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
    return jax.vjp(_flash, q_BNTH, k_BNTH, v_BNTH)[1](d_BNTH)


def by_parts(function: Callable[..., Any], num_arguments: int, num_results: int) -> Callable[..., Any]:
    """A function of arrays [B, N, T, H] that runs on each device of a mesh for its examples and heads, as JAX cannot
    split Pallas kernels itself. Arguments and results are split alike; an axis of `vmap` becomes further examples.
    """

    def placed(mesh: Mesh, arguments: tuple[Any, ...]) -> NamedSharding:
        return NamedSharding(mesh, PartitionSpec(*(*arguments[0].sharding.spec, None, None)[:2]))

    def results(sharding: NamedSharding) -> Any:
        return (sharding,) * num_results if num_results > 1 else sharding

    def partition(mesh: Mesh, arguments: tuple[Any, ...], result: Any) -> tuple[Any, ...]:
        sharding = placed(mesh, arguments)
        return mesh, function, results(sharding), (sharding,) * num_arguments

    split = custom_partitioning(function)
    split.def_partition(
        partition=partition,
        infer_sharding_from_operands=lambda mesh, arguments, result: results(placed(mesh, arguments)),
        sharding_rule=f"{', '.join(['b n t h'] * num_arguments)} -> {', '.join(['b n t h'] * num_results)}",
        need_replication_factors=("t", "h"),
    )

    @jax.custom_batching.custom_vmap
    def call(*arrays: jax.Array) -> Any:
        return split(*arrays)

    @call.def_vmap
    def of_members(size: int, batched: list[bool], *arrays: jax.Array) -> tuple[Any, Any]:
        whole = (a if b else jnp.broadcast_to(a, (size, *a.shape)) for a, b in zip(arrays, batched, strict=True))
        mixed = call(*(each.reshape(-1, *each.shape[2:]) for each in whole))
        mixed = jax.tree.map(lambda each: each.reshape(size, -1, *each.shape[1:]), mixed)
        return mixed, jax.tree.map(lambda _: True, mixed)

    return call


_flash_by_parts = by_parts(_flash, 3, 1)
_flash_gradients_by_parts = by_parts(_flash_gradients, 4, 3)


@jax.custom_vjp
def _tpu_kernel(q_BNTH: jax.Array, k_BNTH: jax.Array, v_BNTH: jax.Array) -> jax.Array:
    """The kernel, also on meshes and in `vmap`. Its gradient runs it once more, for the statistics of the softmax."""
    return _flash_by_parts(q_BNTH, k_BNTH, v_BNTH)


_tpu_kernel.defvjp(
    lambda *qkv: (_flash_by_parts(*qkv), qkv), lambda qkv, d_BNTH: _flash_gradients_by_parts(*qkv, d_BNTH)
)


class FusedSelfAttention(SelfAttention):
    """`SelfAttention` for steps of one token, with `fused_attention` in full passes; steps read a cache, as there."""

    def __call__(self, x_BTE: jax.Array, block_size: int) -> jax.Array:
        return self._merge(fused_attention(*self._qkv(x_BTE, jnp.arange(x_BTE.shape[1]))))
