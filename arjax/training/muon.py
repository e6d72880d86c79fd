"""Muon: which parameters are matrices, and the transformation of their gradients.

1. A parameter is a kernel if its path ends in `kernel` and it has two axes or more. All others (embeddings, tables of
   positions, norms, biases) go to Adam, as do the kernels of readouts, the layers that return the features of sites,
   and those with `adam_pattern` in their path: by default layers that embed the values of single sites (`linear` of
   embeddings, `in_kernel` of NADE), and depthwise convolutions. A first layer that mixes sites, as in MADE and in the
   convolutions of images, is a matrix like those after it.
2. The last two axes of a kernel are a matrix, inputs x outputs: E x NH for the queries of N heads; convolutions of
   arjax have the K^2 taps among the inputs. Axes in front (layers of a scan, heads of a block-diagonal matrix,
   directions, sites) hold matrices that are orthogonalised one by one.
3. The kernels with `taps_pattern` in their path have axes for taps, [K, K, I, O], and are the matrix K K I x O.
   Kernels of Flax's own attention have an axis for the heads, [E, N, H]: name them in `adam_pattern`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

import jax
import optax
from optax.contrib import MuonDimensionNumbers, scale_by_muon

from arjax.models.base import Model
from arjax.networks.readout import readout_paths
from arjax.parallel.sharding import path_string

#: Layers that embed values, and depthwise convolutions.
ADAM = r"(^|/)(in|linear|intensity)/kernel$|(^|/)(in|conv)_kernel$"
#: Convolutions whose taps are axes: those that stretch an image here, and those of Flax, by its own names.
TAPS = r"(^|/)(stretch|Conv|ConvTranspose)_\d+/kernel$"


def readout_of(model: Model) -> frozenset[str]:
    """Returns the paths of the parameters of a model that return the features of its networks."""
    parts = model.named_parts
    if not parts:
        return readout_paths(model.init)
    return frozenset(f"{name}/{path}" for name, part in parts.items() for path in readout_of(part))


def matrix_axes(
    path: Any, leaf: Any, readout: frozenset[str], adam: re.Pattern, taps: re.Pattern
) -> MuonDimensionNumbers | None:
    """Returns the axes of the matrices in a parameter; None for one that goes to Adam."""
    name = path_string(path)
    if leaf.ndim < 2 or not name.endswith("kernel") or name in readout or adam.search(name):
        return None
    return MuonDimensionNumbers(tuple(range(leaf.ndim - 1)) if taps.search(name) else -2, -1)


def muon_of_matrices(
    adam: optax.GradientTransformation,
    axes_of: Callable[[Any, Any], MuonDimensionNumbers | None],
    momentum: float,
    ns_steps: int,
    consistent_rms: float,
    eps: float,
) -> optax.GradientTransformation:
    """Muon for the parameters that are matrices by `axes_of(path, leaf)`, `adam` for all others; updates of rate 1.

    The momentum, with its look-ahead, is made nearly orthogonal by `ns_steps` steps of Newton and Schulz (Jordan et
    al., "Muon: An optimizer for hidden layers in neural networks", 2024). It is optax's: an average without the bias of
    its start, where the code of Jordan et al. has a plain average, so parameters differ by about .01 after 20 steps. A
    matrix of I inputs and O outputs is then
    scaled by `consistent_rms` sqrt(max(I, O)), the root mean square of its elements for any shape (Liu et al., "Muon is
    Scalable for LLM Training", 2025; that of AdamW is .2 to .4), or for 0 by sqrt(max(1, O / I)), as by Jordan et al.
    """

    def axes(updates: Any) -> Any:
        return jax.tree_util.tree_map_with_path(axes_of, updates)

    def labels(params: Any) -> Any:
        return jax.tree_util.tree_map_with_path(lambda *leaf: "muon" if axes_of(*leaf) else "adam", params)

    def scaled(update: jax.Array, of: MuonDimensionNumbers) -> jax.Array:
        inputs = (of.reduction_axis,) if isinstance(of.reduction_axis, int) else of.reduction_axis
        fan_in, fan_out = math.prod(update.shape[axis] for axis in inputs), update.shape[-1]
        if consistent_rms:
            return consistent_rms * math.sqrt(max(fan_in, fan_out)) * update
        return math.sqrt(max(1, fan_out / fan_in)) * update

    by_shape = optax.stateless(lambda updates, params: jax.tree.map(scaled, updates, axes(updates)))
    orthogonal = scale_by_muon(ns_steps=ns_steps, beta=momentum, eps=eps, nesterov=True, weight_dimension_numbers=axes)
    return optax.partition({"muon": optax.chain(orthogonal, by_shape), "adam": adam}, labels)
