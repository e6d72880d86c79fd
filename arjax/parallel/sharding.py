"""The placement of arrays: the mesh, the rules that shard parameters by their path, and the rows of batches.

The mesh has three axes. A batch is split over `data` and `fsdp`; parameters and optimizer state over `fsdp` (each
device holds a part and XLA gathers it when needed: Rajbhandari et al., "ZeRO", 2020) and over `tensor` (each device
computes a part of every layer: Shoeybi et al., "Megatron-LM", 2019, section 3).

The two split the same dimension of a matrix, `tensor` first: a device then gathers only its columns (or rows). Never
one dimension each: if all axes are above 1 and tensor and fsdp are equal, XLA's partitioner computes the product of
activations split as ((data, fsdp), tensor) with a matrix split as (tensor, fsdp), the gradient of a layer, wrongly
(seen with jax 0.10 to 0.12; `tests/training/test_mesh_gradients.py` holds the smallest program).
"""

from __future__ import annotations

import contextlib
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from arjax.core.errors import UserError, refuse
from arjax.core.programs import AXES, BATCH_AXES
from arjax.core.values import compile_regex

#: (path regex, axes of the trailing dimensions); "" keeps a dimension whole, a tuple splits it over several axes.
Rule = tuple[str, Sequence[str | Sequence[str]]]

COLUMNS = ("", ("tensor", "fsdp"))
ROWS = (("tensor", "fsdp"), "")

#: Layers that widen are split by columns, those that narrow again by rows, so that a pair needs one reduction only.
DEFAULT_RULES: tuple[Rule, ...] = (
    (r"(query|key|value|up|gate)/bias$", ("tensor",)),
    (r"(attention/out|down)/kernel$", ROWS),
    (r"embedding$", ROWS),
    (r"kernel$", COLUMNS),
    (r"", ()),
)


def make_mesh(data: int = -1, fsdp: int = 1, tensor: int = 1, devices: Sequence[jax.Device] | None = None) -> Mesh:
    """Returns a mesh of these (or all) devices with axes of these sizes; `data=-1` takes all devices that are left."""
    devices = available_devices() if devices is None else devices
    if fsdp < 1 or tensor < 1 or (data < 1 and data != -1):
        raise UserError(f"mesh axes must be at least 1 (data may be -1), not data={data}, fsdp={fsdp}, tensor={tensor}")
    sizes = (len(devices) // (fsdp * tensor) if data == -1 else data, fsdp, tensor)
    if math.prod(sizes) != len(devices) or min(sizes) < 1:
        axes = f"data={data}, fsdp={fsdp}, tensor={tensor}"
        raise UserError(f"a mesh of {axes} does not multiply up to the number of devices ({len(devices)})")
    # Auto: the partitioner decides about intermediate values; explicit axes break linen's embeddings and scans.
    try:
        return jax.make_mesh(sizes, AXES, axis_types=(AxisType.Auto,) * len(AXES), devices=devices)
    except NotImplementedError as error:  # a cube of TPUs
        chips = " x ".join(str(1 + max(side)) for side in zip(*(device.coords for device in devices), strict=True))
        raise UserError(
            f"a mesh of data={sizes[0]}, fsdp={fsdp}, tensor={tensor} does not fit a slice of {chips} chips: each axis "
            "must have one side of it, or the product of some sides"
        ) from error


def available_devices() -> list[jax.Device]:
    """The devices of all processes."""
    try:
        return jax.devices()
    except (RuntimeError, AssertionError) as error:  # the latter from jax 0.10, where no platform has a device
        platforms = getattr(jax.config, "jax_platforms", None)
        if not platforms:
            raise
        raise UserError(
            f"JAX_PLATFORMS={platforms} names devices that JAX does not find here (JAX_PLATFORMS=cpu takes the CPU; "
            "NVIDIA GPUs need their driver and pip install 'arjax[cuda]')"
        ) from error


def on_mesh(mesh: Mesh | None) -> contextlib.AbstractContextManager:
    """Within, programs that are traced know that they run on several devices, as kernels and `by_rows` ask."""
    is_set = mesh is None or mesh.size == 1 or jax.sharding.get_abstract_mesh() == mesh.abstract_mesh
    return contextlib.nullcontext() if is_set else jax.set_mesh(mesh)


def replicated(mesh: Mesh) -> NamedSharding:
    """A full copy on every device."""
    return NamedSharding(mesh, PartitionSpec())


def batch_sharding(mesh: Mesh, leading_dims: int = 0) -> NamedSharding:
    """Splits the batch dimension, which comes after `leading_dims` whole ones, over `data` and `fsdp`."""
    return NamedSharding(mesh, PartitionSpec(*(None,) * leading_dims, BATCH_AXES))


def check_batch_size(batch_size: int, mesh: Mesh, parts: int = 1) -> None:
    """Raises `UserError` when the batch does not divide over the mesh, and into `parts` that do."""
    num_parts = math.prod(mesh.shape[axis] for axis in BATCH_AXES) * parts
    if batch_size < 1 or batch_size % num_parts:
        times = "" if parts == 1 else f" times train.accumulate={parts}"
        raise UserError(f"train.batch_size={batch_size} must be a positive multiple of {num_parts}, data x fsdp{times}")


def path_string(path: tuple[Any, ...]) -> str:
    """The path of a leaf as `layers/attention/query/kernel`."""
    return jax.tree_util.keystr(path, simple=True, separator="/")


def forms_of(tree: Any) -> dict[str, str]:
    """Type and shape of every array by its path, such as `float32[8, 4]`."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {path_string(path): f"{leaf.dtype}{list(leaf.shape)}" for path, leaf in leaves}


def different_forms(there: Mapping[str, str], here: Mapping[str, str]) -> str:
    """Returns up to three of the arrays whose forms differ, in words; "" where all agree."""
    pairs = {name: (there.get(name, "absent"), here.get(name, "absent")) for name in sorted({**there, **here})}
    different = [f"{name} is {was} there and {now} here" for name, (was, now) in pairs.items() if was != now]
    return "; ".join(different[:3]) + "; ..." * (len(different) > 3)


def param_shardings(abstract_params: Any, mesh: Mesh, rules: Sequence[Rule] = ()) -> Any:
    """Returns the sharding of each parameter, an array or `jax.ShapeDtypeStruct`: that of the first rule (() means
    `DEFAULT_RULES`) whose regex is found in its path; a parameter that no rule matches is replicated. The axes of a
    rule stand for the trailing dimensions (layers stacked by a scan have one more in front). Of axes that together do
    not divide their dimension, the last are left out, and all of them if the remaining split is refused (see the top of
    this file); if none divides, the other dimension of a matrix is tried.
    """
    compiled = [_compile_rule(rule, mesh) for rule in rules or DEFAULT_RULES]

    def place(path: tuple[Any, ...], leaf: Any) -> NamedSharding:
        name = path_string(path)
        axes = next((axes for regex, axes in compiled if regex.search(name)), ())
        return NamedSharding(mesh, _fit(axes, leaf.shape, mesh))

    return jax.tree_util.tree_map_with_path(place, abstract_params)


def _compile_rule(rule: Any, mesh: Mesh) -> tuple[re.Pattern, list[tuple[str, ...]]]:
    """The regex of a rule, and a group of axes for each dimension."""

    def is_group(axes: Any) -> bool:
        return isinstance(axes, str | tuple | list) and all(isinstance(axis, str) for axis in axes)

    match rule:
        case [str(pattern), [*axes]] if all(map(is_group, axes)):
            groups = [((axis,) if axis else ()) if isinstance(axis, str) else tuple(axis) for axis in axes]
        case _:
            raise UserError(f"a sharding rule is a pair of a path regex and a tuple of axes, not {rule!r}")
    named = [axis for group in groups for axis in group]
    if unknown := [axis for axis in named if axis not in AXES]:
        raise UserError(f"the sharding rule {pattern!r} names the axis {unknown[0]!r} (there are: {', '.join(AXES)})")
    refuse((len(set(named)) < len(named), f"the sharding rule {pattern!r} uses an axis twice"))
    for group in groups:
        if _is_apart(group, mesh):
            together = ("tensor", *group)
            raise UserError(
                f"the sharding rule {pattern!r} splits a dimension over {', '.join(group)} without tensor: on a mesh "
                f"with data, fsdp and tensor all above 1, XLA gets gradients wrong there; split it over {together!r}"
            )
    return compile_regex(pattern, "the path of a sharding rule"), groups


def _fit(groups: Sequence[tuple[str, ...]], shape: tuple[int, ...], mesh: Mesh) -> PartitionSpec:
    """Puts groups of axes on the trailing dimensions of `shape`, as far as they divide them."""
    wanted = list(groups)[-len(shape) :] if shape else []
    spec = [_dividing(group, size, mesh) for group, size in zip(wanted, shape[len(shape) - len(wanted) :], strict=True)]
    if len(spec) == 2 and not any(spec):  # nothing divides: the same axes on the other dimension of the matrix
        rows, columns = wanted
        spec = [_dividing(columns, shape[-2], mesh), _dividing(rows, shape[-1], mesh)]
    whole = (None,) * (len(shape) - len(spec))
    return PartitionSpec(*whole, *((group if len(group) > 1 else group[0]) if group else None for group in spec))


def _dividing(group: tuple[str, ...], size: int, mesh: Mesh) -> tuple[str, ...]:
    """As many axes of a group above size 1, from its first, as divide a dimension; none where a rule may not ask so."""
    axes = tuple(axis for axis in group if mesh.shape[axis] > 1)
    while axes and size % math.prod(mesh.shape[axis] for axis in axes):
        axes = axes[:-1]
    return () if _is_apart(axes, mesh) else axes


def _is_apart(group: Sequence[str], mesh: Mesh) -> bool:
    """Whether the partitioner gets gradients wrong under this split of a dimension; see the top of this file."""
    splits_all = min(mesh.shape.values()) > 1
    return splits_all and "tensor" not in group and any(axis in BATCH_AXES for axis in group)


def local_rows(sharding: NamedSharding, batch_size: int) -> np.ndarray:
    """The rows of a global batch that the devices of this process hold, ascending; `sharding` splits the first axis."""
    places = sharding.addressable_devices_indices_map((batch_size,))
    parts = [np.arange(batch_size)[index] for index in places.values() if index is not None]
    return np.unique(np.concatenate(parts)) if parts else np.arange(0)  # of devices that are not at hand


def from_local_rows(
    rows: np.ndarray, local: np.ndarray, sharding: NamedSharding, batch_size: int, axis: int = 0
) -> jax.Array:
    """Returns a global array [..., B, ...] from the rows `local` of `axis` on this process, [..., len(local), ...]."""

    def part(index: tuple[slice, ...] | None) -> np.ndarray:
        assert index is not None
        begin, end, _ = index[axis].indices(batch_size)
        first = int(np.searchsorted(local, begin))  # the rows of one device follow one another
        return rows[(*index[:axis], slice(first, first + end - begin))]

    shape = (*rows.shape[:axis], batch_size, *rows.shape[axis + 1 :])
    return jax.make_array_from_callback(shape, sharding, part)


def to_mesh(array: np.ndarray, sharding: NamedSharding) -> jax.Array:
    """Puts an array that every process has in full onto the mesh."""
    return jax.make_array_from_callback(array.shape, sharding, lambda index: array[index])
