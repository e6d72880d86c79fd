"""What a data set is: an event, a context, and one source of examples per split, all in memory."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np

from arjax.core.arrays import as_array, check_context, check_marks, check_values
from arjax.core.batch import Batch, as_parts
from arjax.core.errors import UserError
from arjax.core.registry import Registry, did_you_mean
from arjax.core.spec import NO_CONTEXT, ContextSpec, EventSpec, check_spec

DATASETS = Registry("dataset")


class Source(Protocol):
    """Examples of one split, read by index."""

    def __len__(self) -> int:
        """Number of examples N."""

    def __getitems__(self, indices: np.ndarray) -> Batch:
        """The examples int[B] as a batch of numpy arrays."""


@dataclasses.dataclass(frozen=True)
class Dataset:
    """A data set, ready to train on.

    Attributes:
      name: what it is called in results.
      event: shape and kind of one example.
      context: what examples are conditioned on.
      splits: sources of "train" and, where there are, "validation" and "test".
      decode: tokens int[T] -> text, for text.
      transform: pure function (key, batch, train) -> batch that runs inside the jitted step, such as dynamic
        binarization; None when batches are used as they are.
      scale: float32[*event.shape] for real data that was standardised, z = (x - shift) / scale. A density in data units
        follows from log p(x) = log p(z) - sum(log(scale)), and is what evaluation reports. None: nothing was scaled.
      shift: likewise.
      sound: of examples that are sound: the function that makes waveforms float[N, T] in [-1, 1] of them, and their
        rate in Hz; None for all others.
    """

    name: str
    event: EventSpec
    context: ContextSpec
    splits: Mapping[str, Source]
    decode: Callable[[np.ndarray], str] | None = None
    transform: Callable[[Any, Batch, bool], Batch] | None = None
    scale: np.ndarray | None = None
    shift: np.ndarray | None = None
    sound: tuple[Callable[[np.ndarray], np.ndarray], int] | None = None

    @property
    def log_scale_D(self) -> np.ndarray:
        """What each site adds to -log p to make it that of a density in data units, float32[D]."""
        if self.scale is None:
            return np.zeros(self.event.num_sites, np.float32)
        return np.log(self.scale, dtype=np.float64).reshape(self.event.num_sites, -1).sum(1).astype(np.float32)

    def some_examples(self, split: str, most: int = 20_000) -> np.ndarray:
        """The values of at most so many examples of a split, evenly spaced, [N, *event.shape].

        Of those that count and in which every site does, where there are weights and masks. Raises `UserError` when
        there are none.
        """
        source = self.splits[split]
        every = -(-len(source) // most)
        rows = source.__getitems__(np.arange(0, len(source), every))
        x = np.asarray(rows.x)
        counts = np.ones(len(x), bool) if rows.weight is None else np.asarray(rows.weight) > 0
        if rows.mask is not None:
            counts &= np.asarray(rows.mask).reshape(len(x), -1).all(1)
        x = x[counts]
        if not len(x):
            raise UserError(f"no order can be read off {self.name!r}: every example has sites that are not scored")
        return x

    def in_data_units(self, x: np.ndarray) -> np.ndarray:
        """Examples [N, *event.shape] as they were before they were standardised."""
        if self.scale is None or self.shift is None:
            return x
        return x * self.scale + self.shift


class ArraySource:
    """Examples that are rows of arrays.

    Arrays may be stored in any type that holds their values (a pixel takes one byte); batches have the types of
    the contract. `gather` is pure and also takes jax arrays, so a split can stay on the device in its compact form.
    """

    def __init__(self, event: EventSpec, arrays: Batch):
        """`arrays` holds all N examples."""
        self.event, self.arrays = event, arrays

    def __len__(self) -> int:
        return len(self.arrays)

    def __getitems__(self, indices: np.ndarray) -> Batch:
        return self.gather(self.arrays, np.asarray(indices))

    def gather(self, arrays: Batch, indices: Any) -> Batch:
        """The rows `indices` of `arrays` in the types of a batch."""
        rows = arrays.take(indices)
        return Batch(
            x=rows.x.astype(self.event.dtype),
            context={name: array.astype(_context_type(array.dtype)) for name, array in rows.context.items()},
            mask=None if rows.mask is None else rows.mask.astype(np.float32),
            weight=None if rows.weight is None else rows.weight.astype(np.float32),
            extra=rows.extra,
        )


def _context_type(stored: np.dtype) -> np.dtype:
    return np.dtype(np.int32 if np.issubdtype(stored, np.integer) else np.float32)


def array_source(event: EventSpec, context: ContextSpec, split: str, arrays: Mapping[str, Any]) -> ArraySource:
    """An `ArraySource` of checked arrays: `x` and, where there are, `context`, `mask`, `weight` and others.

    Raises:
      UserError: shapes, numbers of rows or values do not fit the event and the context.
    """
    if "x" not in arrays:
        raise UserError(f"the {split} arrays lack 'x'")
    given = {key: array for key, array in arrays.items() if key != "context" or not isinstance(array, Mapping)}
    given = {key: np.asarray(as_array(array, _called(split, key))) for key, array in given.items()}
    x = given["x"]
    if x.shape[1:] != event.shape or not len(x):
        raise UserError(f"the {split} examples must have shape (N, {', '.join(map(str, event.shape))}), not {x.shape}")
    parts = _parts(context, split, arrays)
    rows = {key: array for key, array in given.items() if key != "context"} | parts
    for key, array in rows.items():
        if array.ndim < 1 or len(array) != len(x):
            raise UserError(f"the {split} array {key!r} has shape {array.shape}, but there are {len(x)} examples")
    check_values(event, x, f"the {split} examples of {event.kind} data")
    if "mask" in given and given["mask"].shape[1:] != event.grid_shape:
        raise UserError(f"the {split} masks must have the grid shape {event.grid_shape}, not {given['mask'].shape[1:]}")
    if "weight" in given and given["weight"].ndim != 1:
        raise UserError(f"the {split} weights must be one per example, not of shape {given['weight'].shape}")
    for key in ("mask", "weight"):
        if key in given:
            check_marks(given[key], _called(split, key))
    extra = {key: array for key, array in given.items() if key not in ("x", "context", "mask", "weight")}
    return ArraySource(event, Batch(x, parts, given.get("mask"), given.get("weight"), extra))


def _called(split: str, key: str) -> str:
    """The name of an array in messages."""
    names = {"x": "examples", "mask": "masks", "context": "contexts", "weight": "weights"}
    return f"the {split} {names[key]}" if key in names else f"the {split} array {key!r}"


def _parts(context: ContextSpec, split: str, arrays: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """The checked parts of the context of a split."""
    if ("context" in arrays) != bool(context):
        has, wants = "have a" if "context" in arrays else "have no", [name for name, _ in context.parts]
        raise UserError(f"the {split} arrays {has} 'context', but the context is of kind {', '.join(wants) or 'none'}")
    parts = {}
    for name, array in as_parts(context, arrays.get("context")).items():
        part = dict(context.parts)[name]
        called = f"the {split} {'labels' if name == 'label' else 'contexts'}"
        given = np.asarray(as_array(array, called))
        if given.shape[1:] != part.shape:
            wanted = f"of the shape {part.shape}" if part.shape else "one number per example"
            raise UserError(f"the {split} contexts must be {wanted}, not of shape {given.shape[1:]}")
        check_context(part, given, called)
        if np.issubdtype(given.dtype, np.integer) != part.is_discrete:
            given = given.astype(part.dtype)  # batches keep integers apart from the rest
        parts[name] = given
    return parts


def from_arrays(
    event: EventSpec,
    *,
    train: np.ndarray | Mapping[str, np.ndarray],
    validation: np.ndarray | Mapping[str, np.ndarray] | None = None,
    test: np.ndarray | Mapping[str, np.ndarray] | None = None,
    context: ContextSpec = NO_CONTEXT,
    name: str = "arrays",
) -> Dataset:
    """A data set of arrays in memory, for notebooks: `from_arrays(EventSpec((8, 8)), train=x)`.

    Args:
      event: shape and kind of one example.
      train: examples [N, *event.shape], or a dict with `x` and, where there are, `context`, `mask[N, *grid]` (0 or 1:
        the sites that are scored) and `weight[N]` (0 or 1: the examples that are). A context of several parts is a
        dict of arrays.
      validation: likewise; None for no such split.
      test: likewise.
      context: what the examples are conditioned on.
      name: what it is called in results.

    Raises:
      UserError: shapes or values do not fit the event and the context.
    """
    check_spec(event, EventSpec)
    check_spec(context, ContextSpec)
    if train is None:
        raise UserError("a data set needs train examples, and train is None")
    given = {"train": train, "validation": validation, "test": test}
    arrays = {split: a if isinstance(a, Mapping) else {"x": a} for split, a in given.items() if a is not None}
    splits = {split: array_source(event, context, split, a) for split, a in arrays.items()}
    return Dataset(name, event, context, splits)


def make_dataset(name: str, **options: Any) -> Dataset:
    """The data set registered under `name`.

    Raises:
      UserError: an unknown name, option or value, or a set that is not prepared (with the command that gets it).
    """
    return DATASETS.get(name)(**DATASETS.resolve(name, options))


def check_choice(option: str, value: str, choices: tuple[str, ...]) -> None:
    """Raises `UserError` unless `value` is one of the choices of a data set's option."""
    if value not in choices:
        hint = did_you_mean(value, choices)
        raise UserError(f"the data set option {option!r} cannot be {value!r}{hint}")


def label_context(context: str, num_classes: int) -> ContextSpec:
    """The context of the option `context`: "none" or "label"."""
    check_choice("context", context, ("none", "label"))
    return ContextSpec("label", num_classes) if context == "label" else NO_CONTEXT
