"""Checks of arrays from users; a wrong array is refused in one sentence, in which `name` stands for it.

Shapes and types are always known; values are unknown inside `jit`, and where another process holds some of them. NaN at
a site of real values, or of mixed columns, marks the value of the site as missing; a site with several scalars is
missing where any of them is. Batches mark the sites with a value in their `mask`, so that all counts and means are over
observed values. Only some networks, objectives and models (the trait "holes") take missing values; all others refuse
them. A NaN would make gradients NaN even where its result is not used, so all computations begin with `filled`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from arjax.core.errors import UserError, refuse
from arjax.core.spec import EventSpec

Array = jax.Array | np.ndarray
#: The most scalars that `check_precision` compares.
_MOST_COMPARED = 2**18
#: Relative differences below this are rounding errors of a computation in float64.
_ROUNDING = 1e-13


def is_traced(*trees: Any) -> bool:
    """Returns whether JAX is tracing any array of these trees; the values of such an array are unknown."""
    return any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(trees))


def as_array(values: Any, name: str) -> Array:
    """Returns an array of real numbers or truth values; masked entries of numpy arrays become missing values (NaN)."""
    given = values
    if not isinstance(values, jax.Array):
        try:
            values = _from_numpy(values)
        except ValueError as error:
            raise UserError(f"{name} must be one array of numbers, and its rows have different lengths") from error
    if not (is_real_type(values.dtype) or jnp.issubdtype(values.dtype, jnp.integer) or values.dtype == bool):
        kind = values.dtype
        if values.dtype == object:
            kind = "objects (of dtype object)" if isinstance(given, np.ndarray) else f"of type {type(given).__name__}"
        raise UserError(f"{name} must be real numbers, not {kind}")
    return _with_missing(values, name) if isinstance(values, np.ma.MaskedArray) else values


def _from_numpy(values: Any) -> np.ndarray:
    """Returns a numpy array, masked where the values are: `np.asarray` would drop the masks of rows."""
    if isinstance(values, list | tuple) and any(isinstance(row, np.ma.MaskedArray) for row in values):
        return np.ma.stack(values)
    return values if isinstance(values, np.ma.MaskedArray) else np.asarray(values)


def _with_missing(values: np.ma.MaskedArray, name: str) -> np.ndarray:
    """Returns the data of a masked array, with NaN in place of masked entries."""
    if not np.ma.is_masked(values):
        return values.data
    if not is_real_type(values.dtype):
        raise UserError(
            f"{name} has masked entries, which are missing values (NaN), and numbers of type {values.dtype} have none: "
            "give x.astype(float) for real data, else x.filled(0) and a mask that is 1 at the sites to be scored"
        )
    return np.asarray(values.filled(np.nan))


def fingerprint_of_arrays(tree: Any) -> str:
    """Returns a fingerprint, 16 characters, of the places, types and values of the arrays of a tree."""
    digest = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        array = np.ascontiguousarray(leaf)
        digest.update(f"{jax.tree_util.keystr(path)} {array.dtype} {array.shape}".encode())
        digest.update(array.reshape(-1).view(np.uint8).data)  # as bytes: bfloat16 is no type of a buffer
    return digest.hexdigest()[:16]


def as_sites(event: EventSpec, sites: Any, name: str) -> np.ndarray:
    """Returns a set of sites, bool[*grid], from marks that are 0 or 1."""
    sites = as_array(sites, name)
    shape, grid = sites.shape, event.grid_shape
    refuse(
        (not is_known(sites), f"{name} must be known outside `jit`, as it decides on the order: close over it"),
        (shape != grid, f"{name} has shape {shape}, but the grid is {grid}"),
    )
    check_marks(sites, name)
    return np.asarray(sites, bool)


def blank(values: Array, counts: np.ndarray) -> Array:
    """Returns the values where they count and 0 elsewhere; numpy arrays stay: JAX would convert them unchecked."""
    return (np if isinstance(values, np.ndarray) else jnp).where(counts, values, 0)


def is_real_type(dtype: Any) -> bool:
    """Returns whether it is a floating-point type, such as bfloat16; complex numbers are not real."""
    return jnp.issubdtype(dtype, jnp.floating)


def is_known(values: Array) -> bool:
    """Returns whether this process knows the values: they are not traced, and no other process holds some of them."""
    return not isinstance(values, jax.core.Tracer) and getattr(values, "is_fully_addressable", True)


def _has_known(values: Array) -> bool:
    return values.size > 0 and is_known(values)


def check_values(event: EventSpec, values: Array, name: str, *, holes: bool = False, remedy: str = "") -> None:
    """Refuses values that are not finite, or not integers below the event's number of levels. With `holes`, values that
    are not integers may be missing (NaN); otherwise `remedy` is the advice about a missing value.
    """
    name = f"{name} of {event.kind} data"
    if event.is_discrete:
        check_integers(values, event.num_levels, name)
        return
    check_finite(values, name, holes=holes, remedy=remedy)
    _check_columns(event, values, name)


def _check_columns(event: EventSpec, values: Array, name: str) -> None:
    """Checks that the discrete columns of mixed values [..., *grid] hold whole numbers in their range, or NaN."""
    if not event.columns or not _has_known(values):
        return
    with jax.ensure_compile_time_eval():
        flat = np.asarray(values, np.float64).reshape(-1, event.num_sites)
        levels_D = np.array([column.num_levels or np.inf for column in event.columns])
        fine = np.isinf(levels_D) | np.isnan(flat) | ((flat == np.floor(flat)) & (flat >= 0) & (flat < levels_D))
    if not fine.all():
        row, i = np.argwhere(~fine)[0]
        most = event.columns[i].num_levels - 1
        raise UserError(f"{name}: column {i} must be whole numbers from 0 to {most}, not {flat[row, i]:g}")


def check_context(part: EventSpec, context: Array, name: str) -> None:
    """Checks that the values are those of this part of a context; sequences of tokens may end early, with -1."""
    if not part.is_discrete:
        check_finite(context, name)
        _check_columns(part, context, name)
        return
    may_end = part.is_text
    check_integers(context, part.num_levels, name, lowest=-1 if may_end else 0)
    if may_end and is_known(context):
        with jax.ensure_compile_time_eval():
            if ((context[..., :-1] < 0) & (context[..., 1:] >= 0)).any():
                raise UserError(f"{name}: a sequence is filled up with -1 after its end, not before or between tokens")


def check_marks(marks: Array, name: str) -> None:
    """Checks that all values are 0 or 1."""
    if marks.dtype != bool and _has_known(marks):
        with jax.ensure_compile_time_eval():
            fine = (marks == 0) | (marks == 1)
            if not fine.all():
                raise UserError(f"{name} must be 0 or 1 everywhere, not {marks.ravel()[int(fine.argmin())]}")


def check_finite(values: Array, name: str, *, holes: bool = False, remedy: str = "") -> None:
    """Checks that all values are finite as float32, or with `holes` NaN; `remedy` is the advice about a NaN."""
    if is_real_type(values.dtype) and _has_known(values):
        with jax.ensure_compile_time_eval(), np.errstate(over="ignore"):
            xp = np if isinstance(values, np.ndarray) else jnp
            fine = xp.isfinite(values.astype(np.float32)) | (holes & xp.isnan(values))
            if not fine.all():
                wrong = values.ravel()[int(fine.argmin())]
                advice = f": {remedy}" if remedy and np.isnan(wrong) else ""
                raise UserError(f"{name} must be finite as float32, not {wrong}{advice}")


def check_precision(values: Array, name: str, remedy: str, columns: Sequence[str] = ()) -> None:
    """Refuses columns in which float32, with its 7 digits, would merge a tenth of the different values, such as times
    in seconds since 1970. Checks at most a quarter of a million scalars of the real values [N, ...]: of more, many
    merge by chance. Each place in an example is a column; `remedy` is the advice at the end of the sentence.
    """
    if np.dtype(values.dtype).itemsize < 4 or values.dtype == np.float32 or not is_known(values) or len(values) < 3:
        return
    flat = np.asarray(values).reshape(len(values), -1)
    flat = flat[:: -(-flat.size // _MOST_COMPARED)]
    sorted_ND = np.sort(flat, 0)
    low, high = sorted_ND[:-1], sorted_ND[1:]
    is_measured = is_real_type(flat.dtype) & (np.abs(high) < 2**53)  # above there are whole numbers alone
    rounding = np.where(is_measured, _ROUNDING * np.abs(high), 0)
    with np.errstate(over="ignore"):
        differ = high - low > rounding
        merged = differ & (high.astype(np.float32) == low.astype(np.float32))
    bad_D = merged.sum(0) > 0.1 * (differ.sum(0) + 1)
    if bad_D.any():
        column = int(bad_D.argmax())
        row = int(merged[:, column].argmax())
        where = f"in the column {columns[column]!r}" if columns else f"at place {column} of an example"
        raise UserError(
            f"{name} hold {low[row, column]!s} and {high[row, column]!s} {where}, which are one number in float32, as "
            f"are more than a tenth of the different values there: {remedy}"
        )


def _as_integers(values: Array, num_levels: int) -> str:
    """Returns advice on how real numbers become levels; "" where there is none."""
    if not (is_real_type(values.dtype) and _has_known(values)):
        return ""
    known = np.asarray(values)
    if (known == np.round(known)).all():
        return ": write x.astype(int)"
    if num_levels > 2 and known.min() >= 0 and known.max() <= 1:
        return f": levels are 0 to {num_levels - 1}, so write np.round({num_levels - 1} * x).astype(int)"
    return ""


def check_integers(values: Array, num_levels: int, name: str, lowest: int = 0) -> None:
    """Checks that the values are integers, from `lowest` to num_levels - 1 where they are known."""
    if not (jnp.issubdtype(values.dtype, jnp.integer) or values.dtype == bool):
        raise UserError(f"{name} must be integers, not {values.dtype}{_as_integers(values, num_levels)}")
    if _has_known(values):
        with jax.ensure_compile_time_eval():  # an array that a jitted function closes over is known, too
            low, high = int(values.min()), int(values.max())
        if low < lowest or high >= num_levels:
            raise UserError(f"{name} must be {lowest} to {num_levels - 1}, not {low}" + f" to {high}" * (low < high))


def is_present(x: Array, value_dims: int) -> Any:
    """Returns whether each site has its value, bool; the value of a site has the last `value_dims` axes of `x`."""
    xp = np if isinstance(x, np.ndarray) else jnp
    missing = xp.isnan(x) if is_real_type(x.dtype) else xp.zeros(x.shape, bool)
    return ~missing.any(axis=tuple(range(x.ndim - value_dims, x.ndim)))


def filled(x: Array, value_dims: int) -> tuple[Any, Any]:
    """Returns the values with 0 at the sites whose value is missing, and whether each site has its value."""
    present = is_present(x, value_dims)
    return blank(x, present.reshape(*present.shape, *[1] * value_dims)), present


def up_to_end(x_BT: Array, end: int | jax.Array) -> Any:
    """Returns which tokens of each sequence are up to its first `end`, including it, bool[B, T]; all without an end."""
    xp = np if isinstance(x_BT, np.ndarray) else jnp
    is_end_BT, length = x_BT == end, x_BT.shape[1]
    last_B = xp.where(is_end_BT.any(1), is_end_BT.argmax(1), length)
    return xp.arange(length) <= last_B[:, None]


def are_ended(x_BT: np.ndarray, end: int) -> bool:
    """Returns whether all sequences hold nothing but `end` behind the first one."""
    return bool((x_BT[~up_to_end(x_BT, end)] == end).all())


@jax.jit
def filled_behind_end(x_BT: jax.Array, end: int | jax.Array, observed_T: Array | None = None) -> jax.Array:
    """Returns the sequences with `end` at all sites behind the first one, except at observed sites bool[T], if any."""
    kept_BT = up_to_end(x_BT, end)
    return jnp.where(kept_BT if observed_T is None else kept_BT | observed_T, x_BT, end).astype(x_BT.dtype)
