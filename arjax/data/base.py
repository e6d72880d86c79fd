"""What a data set is: an event, a context, and one source of examples per split, all in memory."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np

from arjax.core.arrays import as_array, check_context, check_marks, check_values
from arjax.core.errors import UserError
from arjax.core.registry import Registry, did_you_mean
from arjax.core.spec import NO_CONTEXT, ContextSpec, EventSpec, check_spec

Batch = dict[str, Any]
DATASETS = Registry("dataset")


class Source(Protocol):
    """Examples of one split, read by index."""

    def __len__(self) -> int:
        """Number of examples N."""

    def __getitems__(self, indices: np.ndarray) -> dict[str, np.ndarray]:
        """The examples int[B] as a batch: `x[B, *grid, *value]` and, where there are, `context[B, ...]`, `mask`."""


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
    """

    name: str
    event: EventSpec
    context: ContextSpec
    splits: Mapping[str, Source]
    decode: Callable[[np.ndarray], str] | None = None
    transform: Callable[[Any, Batch, bool], Batch] | None = None
    scale: np.ndarray | None = None
    shift: np.ndarray | None = None

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
        x = np.asarray(rows["x"])
        counts = np.asarray(rows.get("weight", np.ones(len(x)))) > 0
        if "mask" in rows:
            counts &= np.asarray(rows["mask"]).reshape(len(x), -1).all(1)
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

    def __init__(self, event: EventSpec, **arrays: np.ndarray):
        """`x[N, *event.shape]`, and other arrays with N rows."""
        self.event = event
        self.arrays = arrays

    def __len__(self) -> int:
        return len(self.arrays["x"])

    def __getitems__(self, indices: np.ndarray) -> dict[str, np.ndarray]:
        return self.gather(self.arrays, np.asarray(indices))

    def gather(self, arrays: Batch, indices: Any) -> Batch:
        """The rows `indices` of `arrays` in the types of a batch."""
        rows = {key: array[indices] for key, array in arrays.items()}
        return {key: rows[key].astype(self._dtype(key, rows[key].dtype)) for key in rows}

    def _dtype(self, key: str, stored: np.dtype) -> np.dtype:
        if key == "context":
            return np.dtype(np.int32 if np.issubdtype(stored, np.integer) else np.float32)
        floats = np.dtype(np.float32)
        return {"x": self.event.dtype, "mask": floats, "weight": floats}.get(key, np.dtype(stored))


def array_source(event: EventSpec, context: ContextSpec, split: str, arrays: Mapping[str, np.ndarray]) -> ArraySource:
    """An `ArraySource` of checked arrays.

    Raises:
      UserError: shapes, numbers of rows or values do not fit the event and the context.
    """
    if "x" not in arrays:
        raise UserError(f"the {split} arrays lack 'x'")
    arrays = {key: np.asarray(as_array(array, _called(split, key))) for key, array in arrays.items()}
    x = arrays["x"]
    if x.shape[1:] != event.shape or not len(x):
        raise UserError(f"the {split} examples must have shape (N, {', '.join(map(str, event.shape))}), not {x.shape}")
    for key, array in arrays.items():
        if array.ndim < 1 or len(array) != len(x):
            raise UserError(f"the {split} array {key!r} has shape {array.shape}, but there are {len(x)} examples")
    check_values(event, x, f"the {split} examples of {event.kind} data")
    if "mask" in arrays and arrays["mask"].shape[1:] != event.grid_shape:
        raise UserError(
            f"the {split} masks must have the grid shape {event.grid_shape}, not {arrays['mask'].shape[1:]}"
        )
    if "weight" in arrays and arrays["weight"].ndim != 1:
        raise UserError(f"the {split} weights must be one per example, not of shape {arrays['weight'].shape}")
    for key in ("mask", "weight"):
        if key in arrays:
            check_marks(arrays[key], _called(split, key))
    _check_context(context, split, arrays)
    if "context" in arrays and np.issubdtype(arrays["context"].dtype, np.integer) != context.is_discrete:
        arrays["context"] = arrays["context"].astype(context.dtype)  # batches keep integers apart from the rest
    return ArraySource(event, **arrays)


def _called(split: str, key: str) -> str:
    """The name of an array in messages."""
    names = {"x": "examples", "mask": "masks", "context": "contexts", "weight": "weights"}
    return f"the {split} {names[key]}" if key in names else f"the {split} array {key!r}"


def _check_context(context: ContextSpec, split: str, arrays: Mapping[str, np.ndarray]) -> None:
    if ("context" in arrays) != (context.kind != "none"):
        has, wants = "have a" if "context" in arrays else "have no", context.kind
        raise UserError(f"the {split} arrays {has} 'context', but the context is of kind {wants!r}")
    if context.kind == "none":
        return
    given = arrays["context"]
    if given.shape[1:] != context.shape:
        wanted = {"label": "one number per example", "vector": f"vectors of length {context.size}"}
        shape = wanted.get(context.kind, f"of the shape {context.shape}")
        raise UserError(f"the {split} contexts must be {shape}, not of shape {given.shape[1:]}")
    check_context(context, given, f"the {split} {'labels' if context.kind == 'label' else 'contexts'}")


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
        the sites that are scored) and `weight[N]` (0 or 1: the examples that are).
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
    DATASETS.check_options(name, options)
    for key, default in DATASETS.options(name).items():
        if key in options and type(options[key]) is not type(default):
            kind = type(default).__name__
            raise UserError(f"option {key!r} of dataset {name!r} must be of type {kind}, not {options[key]!r}")
    return DATASETS.get(name)(**options)


def check_choice(option: str, value: str, choices: tuple[str, ...]) -> None:
    """Raises `UserError` unless `value` is one of the choices of a data set's option."""
    if value not in choices:
        hint = did_you_mean(value, choices)
        raise UserError(f"the data set option {option!r} cannot be {value!r}{hint}")


def label_context(context: str, num_classes: int) -> ContextSpec:
    """The context of the option `context`: "none" or "label"."""
    check_choice("context", context, ("none", "label"))
    return ContextSpec("label", num_classes) if context == "label" else NO_CONTEXT
