"""Sources of examples, one per split and read by index; and splits that must not be the same."""

from __future__ import annotations

import filecmp
import functools
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import jax
import numpy as np

from arjax.core.arrays import (
    as_array,
    check_context,
    check_marks,
    check_precision,
    check_values,
    is_present,
    is_real_type,
)
from arjax.core.batch import Batch, as_parts
from arjax.core.errors import UserError, did_you_mean, refuse, say_once
from arjax.core.spec import NO_CONTEXT, ContextSpec, EventSpec


class Source(Protocol):
    """Examples of one split, read by index."""

    def __len__(self) -> int:
        """Returns the number of examples N."""

    def __getitems__(self, indices: np.ndarray) -> Batch:
        """Returns the examples of numbers int[B] as a batch of numpy arrays."""


class ArraySource:
    """Examples that are rows of arrays, of any type that holds their values; batches have the types of the contract.
    `gather` is pure and also takes jax arrays, so a split can stay on the device in its compact form. Missing values
    are NaN in `x`; then the masks of batches are 0 there.
    """

    #: Whether values may be missing, see `arjax.core.arrays`.
    has_holes = False

    def __init__(self, event: EventSpec, arrays: Batch, context: ContextSpec = NO_CONTEXT):
        """`arrays` holds all N examples."""
        self.event, self.context, self.arrays = event, context, arrays

    def __len__(self) -> int:
        return len(self.arrays)

    def __getitems__(self, indices: np.ndarray) -> Batch:
        return self.gather(self.arrays, np.asarray(indices))

    def gather(self, arrays: Batch, indices: Any) -> Batch:
        """Returns the rows `indices` of `arrays` in the types of a batch."""
        return self.in_types(arrays.take(indices))

    def in_types(self, rows: Batch) -> Batch:
        """Returns rows as they are stored, in the types of a batch."""
        parts, mask = dict(self.context.parts), rows.mask
        if self.has_holes:
            present = is_present(rows.x, len(self.event.value_shape))
            mask = present if mask is None else present & (mask > 0)
        return Batch(
            x=rows.x.astype(self.event.dtype),
            context={name: array.astype(parts[name].dtype) for name, array in rows.context.items()},
            mask=None if mask is None else mask.astype(np.float32),
            weight=None if rows.weight is None else rows.weight.astype(np.float32),
            extra=rows.extra,
        )


class LazySource(ArraySource):
    """Examples that are made when they are read first."""

    def __init__(self, event: EventSpec, context: ContextSpec, num: int, make: Callable[[], Batch]):
        """`make()` returns all `num` examples."""
        self.event, self.context, self._num, self._make = event, context, num, make

    def __len__(self) -> int:
        return self._num

    @functools.cached_property
    def arrays(self) -> Batch:  # type: ignore[override]  # made when it is first read
        """All examples."""
        return self._make()


class ItemSource:
    """Examples that are the items of anything with a length and numbers, such as a grain `MapDataset`: each is an array
    `x`, or a dict of the arrays of one example. They are read, stacked and checked when a batch needs them.
    """

    def __init__(self, event: EventSpec, context: ContextSpec, split: str, items: Any, extra: Sequence[str] = ()):
        """Reads a hundred items from all over, as batches may be too small to tell whether float32 merges values."""
        self.event, self.context, self.items, self._split, self._extra = event, context, items, split, extra
        endless = f"the {split} examples have no end: leave out what repeats them, as training does that itself"
        refuse((not len(items), f"there are no {split} examples"), (len(items) > 2**62, endless))
        check_digits(event, context, split, self._read(np.linspace(0, len(items) - 1, min(100, len(items)))))

    def __len__(self) -> int:
        return len(self.items)

    def __getitems__(self, indices: np.ndarray) -> Batch:
        rows = self._read(indices)
        return ArraySource(self.event, rows, self.context).in_types(rows)

    def _read(self, indices: np.ndarray) -> Batch:
        """Returns checked rows in the types in which their items have them."""
        rows = [self._item(int(index)) for index in np.asarray(indices)]
        try:
            arrays = jax.tree.map(lambda *parts: np.stack(parts), *rows)
        except ValueError as error:
            differ = f"the {self._split} items {', '.join(str(int(index)) for index in indices[:3])}, ... differ"
            raise UserError(f"{differ} in the names or the shapes of their arrays") from error
        batch = with_shapes(self.event, self.context, self._split, arrays, self._extra)
        check_rows(self.event, self.context, self._split, batch, remedy="items have all values")
        return batch

    def _item(self, index: int) -> dict[str, Any]:
        item, lacks = self.items[index], "is None, as in a MapDataset that was filtered: filter what it is made of"
        what = "a pair or a list: make it an array, or a dict such as {'x': ..., 'context': ...}"
        refuse(
            (item is None, f"item {index} of the {self._split} examples {lacks}"),
            (isinstance(item, tuple | list), f"item {index} of the {self._split} examples is {what}"),
        )
        item = item if isinstance(item, Mapping) else {"x": item}
        return jax.tree.map(np.asarray, dict(item), is_leaf=lambda part: not isinstance(part, Mapping))


def source_of(event: EventSpec, context: ContextSpec, split: str, examples: Any, extra: Sequence[str] = ()) -> Source:
    """Returns the source of the examples of a split: a dict of arrays, an array, or items that are read one by one."""
    if isinstance(examples, Mapping):
        return array_source(event, context, split, examples, extra)
    is_array = hasattr(examples, "__array__") or isinstance(examples, list | tuple | str | range)
    if is_array or not (hasattr(examples, "__len__") and hasattr(examples, "__getitem__")):
        return array_source(event, context, split, {"x": examples}, extra)
    return ItemSource(event, context, split, examples, extra)


class Subset:
    """Some examples of a source."""

    def __init__(self, source: Source, places: np.ndarray):
        """`places` int[N] of the examples in the source."""
        self.source, self.places = source, places

    def __len__(self) -> int:
        return len(self.places)

    def __getitems__(self, indices: np.ndarray) -> Batch:
        return self.source.__getitems__(self.places[np.asarray(indices)])

    @property
    def has_holes(self) -> bool:
        return has_holes(self.source)


def has_holes(source: Source) -> bool:
    """Returns whether values of a source may be missing; sources without the attribute `has_holes` have all values."""
    return getattr(source, "has_holes", False)


def read_all(source: Source) -> Batch:
    """Returns all examples of a source as one batch."""
    return source.__getitems__(np.arange(len(source)))


def read_in_pieces(source: Source) -> Iterator[Batch]:
    """Yields the examples of a source, some at once, as memory may not hold all."""
    for begin in range(0, len(source), _PIECE):
        yield source.__getitems__(np.arange(begin, min(begin + _PIECE, len(source))))


SPLITS = ("train", "validation", "test")
#: Examples that are read at once where not all are in memory.
_PIECE = 4096
ARRAYS = ("x", "context", "mask", "weight")


def array_source(
    event: EventSpec, context: ContextSpec, split: str, arrays: Mapping[str, Any], extra: Sequence[str] = ()
) -> ArraySource:
    """Returns an `ArraySource` of checked arrays: `x` and perhaps `context`, `mask`, `weight` and the `extra` names."""
    checked = with_shapes(event, context, split, arrays, extra)
    check_rows(event, context, split, checked, holes=True)
    present = is_present(checked.x, len(event.value_shape))
    refuse((not present.any(), f"the {split} examples have no values: at each site one is missing (NaN)"))
    source = ArraySource(event, checked, context)
    source.has_holes = not present.all()
    return source


def with_shapes(
    event: EventSpec, context: ContextSpec, split: str, arrays: Mapping[str, Any], extra: Sequence[str] = ()
) -> Batch:
    """Returns the arrays of a split as a batch of all examples; checks names, shapes and types, not values."""
    for key in arrays:
        if key not in (*ARRAYS, *extra):  # a misspelled mask would be no mask
            raise UserError(f"nothing reads the {split} array {key!r}{did_you_mean(key, (*ARRAYS, *extra))}")
    refuse(("x" not in arrays, f"the {split} arrays lack 'x'"))
    given = {key: np.asarray(as_array(array, _called(split, key))) for key, array in arrays.items() if key != "context"}
    x, parts = given["x"], _parts(context, split, arrays)
    wanted = f"(N, {', '.join(map(str, event.shape))})"
    refuse(
        (x.shape[:1] == (0,), f"there are no {split} examples: the array is empty, of shape {x.shape}"),
        (x.shape[1:] != event.shape, f"the {split} examples must have shape {wanted}, not {x.shape}"),
    )
    for key, array in (given | parts).items():
        if array.ndim < 1 or len(array) != len(x):
            raise UserError(f"the {split} array {key!r} has shape {array.shape}, but there are {len(x)} examples")
    mask, weight, grid_shape = given.get("mask"), given.get("weight"), event.grid_shape
    if mask is not None and mask.shape[1:] != grid_shape:
        raise UserError(f"the {split} masks must have the grid shape {grid_shape}, not {mask.shape[1:]}")
    if weight is not None and weight.ndim != 1:
        raise UserError(f"the {split} weights must be one per example, not of shape {weight.shape}")
    return Batch(x, parts, mask, weight, {key: array for key, array in given.items() if key not in ARRAYS})


def check_rows(
    event: EventSpec,
    context: ContextSpec,
    split: str,
    rows: Batch,
    *,
    holes: bool = False,
    remedy: str = "with holes=True it says that a value is missing",
) -> None:
    """Refuses rows whose values do not fit the event and the context; with `holes`, values may be missing."""
    for name, part in context.parts:
        check_context(part, rows.context[name], _called(split, "context", name))
    check_values(event, rows.x, f"the {split} examples", holes=holes, remedy=remedy)
    for key in ("mask", "weight"):
        if getattr(rows, key) is not None:
            check_marks(getattr(rows, key), _called(split, key))


def check_digits(event: EventSpec, context: ContextSpec, split: str, rows: Batch, remedy_of_rows: str = "") -> None:
    """Refuses different real values that float32 would merge, of the rows (with advice) or of their context."""
    remedy = "standardise them first, as (x - x.mean(0)) / x.std(0) in float64, or leave the place out"
    if not event.num_levels:
        check_precision(rows.x, f"the {split} examples", remedy_of_rows or remedy)
    for name, part in context.parts:
        if not part.num_levels:
            check_precision(rows.context[name], _called(split, "context", name), remedy)


def _called(split: str, key: str, part: str = "") -> str:
    """Returns the name of an array, or of a part of the context, in messages."""
    context = "labels" if part == "label" else "contexts"
    names = {"x": "examples", "mask": "masks", "weight": "weights", "context": context}
    return f"the {split} {names[key]}" if key in names else f"the {split} array {key!r}"


def _parts(context: ContextSpec, split: str, arrays: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Returns the parts of the context of a split, their shapes checked."""
    if ("context" in arrays) != bool(context):
        has, wants = "have a" if "context" in arrays else "have no", [name for name, _ in context.parts]
        raise UserError(f"the {split} arrays {has} 'context', but the context is of kind {', '.join(wants) or 'none'}")
    parts = {}
    for name, array in as_parts(context, arrays.get("context")).items():
        part = dict(context.parts)[name]
        parts[name] = np.asarray(as_array(array, _called(split, "context", name)))
        if parts[name].shape[1:] != part.shape:
            wanted = f"of the shape {part.shape}" if part.shape else "one number per example"
            raise UserError(f"the {split} contexts must be {wanted}, not of shape {parts[name].shape[1:]}")
    return parts


def check_other_files(files: Mapping[str, Sequence[Path]]) -> None:
    """Refuses two splits with the same files in order: scores on the rows that chose parameters look too good."""
    for (one, first), (other, second) in itertools.combinations(files.items(), 2):
        same = (a.samefile(b) or filecmp.cmp(a, b, shallow=False) for a, b in zip(first, second, strict=False))
        if len(first) == len(second) and all(same):
            raise UserError(
                f"the {other} split has the same contents as the {one} split ({str(second[0])!r}, {str(first[0])!r}): "
                "give it rows of its own, or leave it out"
            )


def tell_same_arrays(splits: Mapping[str, Batch]) -> None:
    """Says on stderr where two splits in memory are the same arrays."""
    for (one, first), (other, second) in itertools.combinations(splits.items(), 2):
        structures: list[Any] = [jax.tree.structure(first), jax.tree.structure(second)]
        pairs = zip(jax.tree.leaves(first), jax.tree.leaves(second), strict=False)
        equal = (np.array_equal(a, b, equal_nan=is_real_type(a.dtype) and is_real_type(b.dtype)) for a, b in pairs)
        if structures[0] == structures[1] and all(equal):
            say_once(f"the {other} examples are the {one} examples: their scores say nothing about other examples")


def tell_shared_rows(rows: Mapping[str, Sequence[Sequence[str]]]) -> None:
    """Says on stderr how many rows of a split stand in the train split, too."""
    train = set(map(tuple, rows["train"]))
    for split, of_split in rows.items():
        shared = sum(tuple(row) in train for row in of_split) if split != "train" else 0
        if shared:
            say_once(f"{shared} of the {len(of_split)} {split} rows stand among the train rows, too")
