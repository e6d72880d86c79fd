"""Causal attention by a kernel of the device that never stores all T^2 scores: it keeps a running maximum and sum of
the softmax (Dao et al., "FlashAttention", 2022, section 3.1), and skips the scores that the causal mask hides.
Tests compare the TPU kernel, interpreted on a CPU, with the formula. The speed of both kernels has not been measured.
"""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec

from arjax.core.errors import say_once
from arjax.core.programs import axes_of_rows, dividing, program_device
from arjax.networks.layers.attention import SelfAttention, attention
from arjax.networks.layers.blocks import FUSED
from arjax.networks.layers.dense import FromHeads, ToHeads

#: Tokens in the smallest block of the TPU kernel, to which lengths are padded, and how many of these make the largest.
TPU_BLOCK, MOST_TPU_BLOCKS = 128, 4
#: Limits of cuDNN's kernel: features of a head, and the oldest GPU.
MAX_GPU_HEAD, MIN_GPU = 128, (8, 0)


def fused_attention(q_BNTH: jax.Array, k_BGTH: jax.Array, v_BGTH: jax.Array) -> jax.Array:
    """`attention` of tokens that each see themselves and all earlier ones, [B, N, T, H]: on TPUs by the Pallas kernel
    of JAX; on GPUs by cuDNN's kernel, for bfloat16 or float16 and heads of a multiple of 8 features up to
    `MAX_GPU_HEAD`; elsewhere by the plain formula, which a line on stderr says. The device is that of the program when
    it is traced, since with a branch for each platform a gradient would keep the scores.
    """
    kernel = kernel_of(program_device(), q_BNTH)
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
    """JAX's Pallas kernel. Zeros after the last token fill the last block: no token sees them.

    JAX cannot divide a Pallas kernel over devices by itself: each device of the mesh runs it for its own examples and
    heads.
    """
    mesh, length, rows = jax.sharding.get_abstract_mesh(), q_BNTH.shape[2], axes_of_rows(len(q_BNTH))
    axes = rows, () if "tensor" in rows else dividing(mesh, ("tensor",), k_BGTH.shape[1])
    kernel = _splash
    if any(axes):
        split = PartitionSpec(*(each or None for each in axes))
        kernel = jax.shard_map(_splash, in_specs=(split,) * 3, out_specs=split, check_vma=False)
    rest = ((0, 0), (0, 0), (0, -length % TPU_BLOCK), (0, 0))
    q_BNTH = q_BNTH * q_BNTH.shape[-1] ** -0.5
    return kernel(*(jnp.pad(each, rest) for each in (q_BNTH, k_BGTH, v_BGTH)))[:, :, :length]


def _splash(q_BNTH: jax.Array, k_BGTH: jax.Array, v_BGTH: jax.Array) -> jax.Array:
    """The kernel on one device. Its gradient computes the scores again from the sums of the softmax, which it keeps."""
    from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_kernel, splash_attention_mask

    heads, length = q_BNTH.shape[1:3]
    block = TPU_BLOCK * max(n for n in range(1, MOST_TPU_BLOCKS + 1) if length // TPU_BLOCK % n == 0)
    # One kernel makes all gradients, so there are no blocks of a second one for those of the queries ("dq").
    names = [field.name for field in dataclasses.fields(splash_attention_kernel.BlockSizes)]
    blocks: dict[str, Any] = {name: block for name in names if name.startswith("block_") and not name.endswith("_dq")}
    kernel = splash_attention_kernel.make_splash_mha(
        splash_attention_mask.MultiHeadMask([splash_attention_mask.CausalMask((length, length))] * heads),
        block_sizes=splash_attention_kernel.BlockSizes(**blocks, use_fused_bwd_kernel=True),
        head_shards=1,
        q_seq_shards=1,
        residual_checkpoint_name=FUSED,
    )
    return jax.vmap(kernel)(q_BNTH, k_BGTH, v_BGTH).astype(q_BNTH.dtype)


class FusedSelfAttention(SelfAttention):
    """`SelfAttention` for steps of one token, with `fused_attention` in full passes; steps read a cache, as there."""

    def layers(self):
        return functools.partial(ToHeads, size=self.kv_shape[1]), FromHeads

    def _heads(self, y_BNTH: jax.Array) -> jax.Array:
        return y_BNTH

    def _merge(self, mixed_BNTH: jax.Array) -> jax.Array:
        return self.out(mixed_BNTH)

    def __call__(self, x_BTE: jax.Array, block_size: int) -> jax.Array:
        return self._merge(fused_attention(*self._qkv(x_BTE, jnp.arange(x_BTE.shape[1]))))
