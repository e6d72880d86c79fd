"""Arrays in files, read row by row: sets that are larger than memory."""

from __future__ import annotations

import mmap
from pathlib import Path
from typing import Any

import jax
import numpy as np

from arjax.core.batch import Batch
from arjax.core.errors import UserError, did_you_mean, nearest, refuse, say_once
from arjax.core.files import read_array, user_path
from arjax.core.options import opt
from arjax.core.spec import KINDS, NO_CONTEXT, ContextSpec, EventSpec
from arjax.data.base import DATASETS, USUAL_LEVELS, Dataset, levels_of
from arjax.data.sources import ARRAYS, ArraySource, check_digits, check_other_files, check_rows, with_shapes

CONTEXTS = ("none", "label", "vector", "sequence", "frames", "image")
#: Bytes of files that stay in the memory of the process.
MOST_MAPPED = 2**28
#: Bytes that the system maps around a row, at most.
_AROUND = 2**16
#: Among fewer rows, two values may be one number in float32 by chance.
LEAST_COMPARED = 100


@DATASETS.register("array_files")
def array_files(
    *,
    train: str = "",
    validation: str = "",
    test: str = "",
    kind: str = opt("tokens", choices=KINDS[:-1]),
    num_levels: int = USUAL_LEVELS,
    value_dims: int = 0,
    context: str = opt("none", choices=CONTEXTS),
    num_classes: int = 0,
    local: bool = False,
    holes: bool = False,
) -> Dataset:
    """Arrays in `.npy` files, mapped into memory: opening a file reads only its header. Values may be stored in any
    type that holds them (a byte for up to 256 levels). Rows are checked as they are read.

    Args:
      train: a file of examples [N, *grid, *value], or a folder with `x.npy` and optionally `context.npy`, `mask.npy`
        [N, *grid] and `weight.npy` [N] (0 or 1: the sites and the examples that are scored).
      validation, test: likewise; "" for no such split.
      num_levels: number of values, of levels and tokens.
      value_dims: the number of last dimensions that belong to the value of a site.
      context: kind of `context.npy`: "label" int[N], "vector" float[N, E], "sequence" int[N, L] (-1 after the end of
        short ones), "frames" float[N, L, E], "image" [N, *grid], of levels or real values; "none" does not read it.
      num_classes: number of labels, of tokens in a sequence, or of levels of an image (0: real values) to condition on.
      local: whether each site reads the places of the context's grid that belong to the site (see `ContextSpec`).
      holes: whether NaN in real values marks a missing value (see `arjax.core.arrays`); otherwise it is refused.
    """
    refuse((not train, "the data set 'array_files' needs train examples: give config.dataset.train=x.npy, or a folder"))
    paths = {"train": train, "validation": validation, "test": test}
    files = {split: _open_split(path, context != "none") for split, path in paths.items() if path}
    check_other_files({split: [Path(str(a.filename)) for a in arrays.values()] for split, arrays in files.items()})
    shape = files["train"]["x"].shape[1:]
    if value_dims >= max(len(shape), 1):
        raise UserError(f"value_dims of {train!r} must be 0 to {max(len(shape) - 1, 0)}, not {value_dims!r}")
    cut = len(shape) - value_dims
    event = EventSpec(shape[:cut], shape[cut:], kind, levels_of(kind, num_levels))
    if num_classes and context not in ("label", "sequence", "image"):
        say_once(f"num_classes={num_classes} has no effect: it is of a context of the kind label, sequence or image")
    without_grid, whole_numbers = context not in ("sequence", "frames", "image"), not event.may_lack_values
    of_grid, of_reals = "a context that is a sequence, frames or image", "real values, in which NaN marks a missing one"
    refuse(
        (local and without_grid, f"config.dataset.local=True needs {of_grid}, not {context}"),
        (holes and whole_numbers, f"config.dataset.holes=True needs {of_reals}, not {kind}"),
    )
    spec = _context_spec(context, num_classes, files["train"].get("context"))
    if local:
        spec = ContextSpec(local=tuple(name for name, _ in spec.parts), **dict[str, Any](spec.parts))
    splits = {split: FileSource(event, spec, split, arrays, holes) for split, arrays in files.items()}
    return Dataset(f"array_files/{Path(train).stem}", event, spec, splits)


def _context_spec(context: str, num_classes: int, array: np.memmap | None) -> ContextSpec:
    """Returns the spec of a context of this kind, with the sizes of the array."""
    if array is None:
        return NO_CONTEXT
    if context == "image":
        refuse((array.ndim < 2, f"an image context must have the shape [N, *grid], not {array.shape}"))
        levels = ("levels", num_classes) if num_classes else ("real", 0)
        return ContextSpec(image=EventSpec(array.shape[1:], (), *levels))
    dims = {"label": 1, "vector": 2, "sequence": 2, "frames": 3}[context]
    refuse((array.ndim != dims, f"a {context} context must have {dims} dimensions, not the shape {array.shape}"))
    if context in ("label", "sequence"):
        refuse((num_classes < 1, f"a {context} context needs config.dataset.num_classes, the number of its values"))
        return ContextSpec(context, num_classes, *array.shape[1:])
    return ContextSpec(context, array.shape[-1], *array.shape[1:-1])


def _open_split(path: str, with_context: bool) -> dict[str, np.memmap]:
    """Returns the arrays of a split, by name."""
    place = user_path(path)
    if not place.is_dir():
        refuse((with_context, f"a split with a context is a folder with x.npy and context.npy, not {path!r}"))
        return {"x": _open(place)}
    for file in sorted(place.glob("*.npy")):  # other arrays may lie beside those of the split
        if file.stem not in ARRAYS and nearest(file.stem.lower(), ARRAYS):
            raise UserError(f"nothing reads {str(file)!r}{did_you_mean(file.stem.lower(), ARRAYS)}")
    if not with_context and (place / "context.npy").exists():
        say_once(f"{place / 'context.npy'} is not read, as the option context of the data set is none")
    names = ["x", "context"] if with_context else ["x"]
    names += [name for name in ("mask", "weight") if (place / f"{name}.npy").exists()]
    return {name: _open(place / f"{name}.npy") for name in names}


def _open(path: Path) -> np.memmap:
    """Returns the array in a file, mapped into memory."""
    array = read_array(path, mmap_mode="r")
    order = "has the byte order of other machines: write it again in that of this one"
    refuse(
        (not array.ndim, f"{str(path)!r} holds a single number, and the first dimension of an array are the examples"),
        (not array.dtype.isnative, f"{str(path)!r} {order}"),
    )
    _advise(array, "MADV_RANDOM")  # else each read fetches the neighbours of a row, too: megabytes on some disks
    return array


class FileSource(ArraySource):
    """Examples that are rows of mapped files: copied and checked when they are read, and then released."""

    def __init__(
        self, event: EventSpec, context: ContextSpec, split: str, arrays: dict[str, np.memmap], holes: bool = False
    ):
        """Compares rows from all over the files, as batches may be too small to tell whether float32 merges values."""
        super().__init__(event, with_shapes(event, context, split, arrays), context)
        self.has_holes = holes
        self._split, self._files, self._touched = split, tuple(arrays.values()), 0
        self._bytes_per_row = sum(array.nbytes // len(array) + _AROUND for array in self._files)
        self._check(self.arrays.take(slice(0)))  # types
        num = min(LEAST_COMPARED, len(self))
        if num <= self._piece and any(array.dtype.itemsize >= 4 and array.dtype != np.float32 for array in self._files):
            spread = self.arrays.take(np.linspace(0, len(self) - 1, num).astype(np.int64))
            check_digits(event, context, split, spread)

    def __getitems__(self, indices: np.ndarray) -> Batch:
        indices = np.asarray(indices)
        begins = range(0, max(len(indices), 1), self._piece)
        pieces = [self._read(indices[begin : begin + self._piece]) for begin in begins]
        whole = pieces[0] if len(pieces) == 1 else jax.tree.map(lambda *parts: np.concatenate(parts), *pieces)
        return self.in_types(whole)

    def check_all(self) -> None:
        """Refuses rows that do not fit; reads the files once, piece by piece."""
        for begin in range(0, len(self), self._piece):
            self._read(np.arange(begin, min(begin + self._piece, len(self))))

    @property
    def _piece(self) -> int:
        """The number of rows that are read at once."""
        return max(1, MOST_MAPPED // self._bytes_per_row)

    def _read(self, indices: np.ndarray) -> Batch:
        """Returns checked copies of some rows as they are stored."""
        for array in self._files:  # reading beyond the end of a file would kill the process
            if array._mmap.size() < array.offset + array.nbytes:  # type: ignore[attr-defined]
                raise UserError(f"the file {str(array.filename)!r} was made shorter while it was read")
        self._touched += len(indices) * self._bytes_per_row
        if self._touched > MOST_MAPPED:  # the memory of this process; the system may still cache the pages
            for array in self._files:
                _advise(array, "MADV_DONTNEED")
            self._touched = len(indices) * self._bytes_per_row
        if len(indices) > 1 and (np.diff(indices) == 1).all():
            for array in self._files:
                row = array.nbytes // len(array)
                begin, end = (array.offset + int(place) * row for place in (indices[0], indices[-1] + 1))
                begin = begin // mmap.PAGESIZE * mmap.PAGESIZE
                _advise(array, "MADV_WILLNEED", begin, end - begin)
        rows = self.arrays.take(indices)
        try:
            self._check(rows)
        except UserError:
            for k, index in enumerate(indices):  # the first row that does not fit
                try:
                    self._check(rows.take(slice(k, k + 1)))
                except UserError as error:
                    raise UserError(f"row {index} of {str(self._files[0].filename)!r}: {error}") from error
            raise
        return rows

    def _check(self, rows: Batch) -> None:
        check_rows(self.event, self.context, self._split, rows, holes=self.has_holes)
        if len(rows) >= min(LEAST_COMPARED, len(self)):
            check_digits(self.event, self.context, self._split, rows)


def _advise(array: np.memmap, advice: str, *part: int) -> None:
    """Advises the system how a mapped file, or its bytes `part`, will be read, if it takes such advice."""
    if hasattr(mmap, advice):
        array._mmap.madvise(getattr(mmap, advice), *part)  # type: ignore[attr-defined]
