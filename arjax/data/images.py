"""Image sets of tensorflow-datasets: binary and grey 28 x 28 digits and clothes."""

from __future__ import annotations

import dataclasses
import functools
import importlib.util
import io
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from arjax.core.batch import Batch
from arjax.core.errors import UserError
from arjax.core.spec import ContextSpec, EventSpec
from arjax.data.base import DATASETS, Dataset, check_choice, from_splits, label_context
from arjax.data.prepared import import_tfds, read_splits

_GRID = (28, 28)
_NUM_VALIDATION = 10000
_BINARIZE_SEED = 0
#: Of the standardised pixels, in levels: some near the border are nearly always 0, and bright in a few images.
_LEAST_SCALE = 16.0
BINARIZE = ("static", "dynamic", "none")


@DATASETS.register("binarized_mnist")
def binarized_mnist(*, data_dir: str = "") -> Dataset:
    """MNIST digits binarized once and for all, 50000 / 10000 / 10000: the usual benchmark of the NADE literature.

    Source: Salakhutdinov and Murray 2008 (the draw), Larochelle and Murray 2011 (the files).

    Args:
      data_dir: folder of prepared sets that is searched first.
    """
    arrays = {split: {"x": a["x"]} for split, a in _read("binarized_mnist", data_dir).items()}
    return from_splits(EventSpec(_GRID), arrays, name="binarized_mnist")


@DATASETS.register("mnist")
def mnist(*, binarize: str = "static", patches: int = 0, context: str = "none", data_dir: str = "") -> Dataset:
    """MNIST, 50000 / 10000 / 10000; the last 10000 of the official train split are for validation.

    No choice of `binarize` gives the data set `binarized_mnist`: likelihoods do not compare.

    Args:
      binarize: "static": every pixel is drawn once, 1 with the probability of its intensity, from a fixed seed;
        "dynamic": the train split is drawn anew in every step, the others as in "static"; "none": 256 grey levels.
      patches: 0, or the side of square patches, which are the sites then: 4 for 7 x 7 sites of 4 x 4 real numbers. The
        levels, with `binarize="none"`, are dequantised: each gets fresh uniform noise from [0, 1) in every step of
        training, and once in a score, and is standardised. A density in units of levels bounds the probabilities of
        256 levels: on average, -log p of the levels plus noise is at least -log P of the levels (Theis, van den Oord &
        Bethge, "A Note on the Evaluation of Generative Models", 2016, equation 3). So its nats and bits/dim stand
        beside those of models of the levels, as upper bounds.
      context: "label" to condition on the class.
      data_dir: folder of prepared sets that is searched first.
    """
    return _grey_images("mnist", binarize, patches, context, data_dir)


@DATASETS.register("fashion_mnist")
def fashion_mnist(*, binarize: str = "none", patches: int = 0, context: str = "none", data_dir: str = "") -> Dataset:
    """Fashion-MNIST (Xiao et al. 2017), with the options and splits of `mnist`."""
    return _grey_images("fashion_mnist", binarize, patches, context, data_dir)


def _grey_images(name: str, binarize: str, patches: int, context: str, data_dir: str) -> Dataset:
    check_choice("binarize", binarize, BINARIZE)
    if patches and (binarize != "none" or patches < 1 or _GRID[0] % patches):
        raise UserError(
            f"the data set option 'patches' is for grey levels, binarize='none', and a side that divides {_GRID[0]}, "
            f"not {patches} with binarize={binarize!r}"
        )
    spec = label_context(context, 10)
    arrays = _hold_out(_read(name, data_dir))
    if not spec:
        arrays = {split: {"x": a["x"]} for split, a in arrays.items()}
    if patches:
        return _in_patches(name, arrays, patches, spec)
    if binarize == "none":
        return from_splits(EventSpec(_GRID, kind="levels", num_levels=256), arrays, name=name, context=spec)
    rng = np.random.default_rng(_BINARIZE_SEED)
    drawn = {split: a | {"x": _bernoulli(rng, a["x"])} for split, a in arrays.items()}
    if binarize == "dynamic":
        drawn["train"]["intensity"] = arrays["train"]["x"]
    # static and dynamic are two data sets with incomparable likelihoods: they have different names in results
    dataset = from_splits(EventSpec(_GRID), drawn, name=f"{name}_{binarize}", context=spec, extra=("intensity",))
    return dataclasses.replace(dataset, transform=dynamic_binarization) if binarize == "dynamic" else dataset


def to_patches(images: np.ndarray, side: int) -> np.ndarray:
    """[N, H, W] -> [N, H / side, W / side, side, side]."""
    num, height, width = images.shape
    cut = images.reshape(num, height // side, side, width // side, side)
    return np.ascontiguousarray(cut.transpose(0, 1, 3, 2, 4))


def from_patches(patches: np.ndarray) -> np.ndarray:
    """The inverse of `to_patches`."""
    num, rows, columns, side, _ = patches.shape
    return patches.transpose(0, 1, 3, 2, 4).reshape(num, rows * side, columns * side)


def _in_patches(name: str, arrays: dict[str, dict[str, np.ndarray]], side: int, spec: ContextSpec) -> Dataset:
    """Patches of levels as real vectors; the transform adds the noise and standardises."""
    cut = {split: a | {"x": to_patches(a["x"], side)} for split, a in arrays.items()}
    levels = cut["train"]["x"]
    shift, variance = levels.mean(0) + 0.5, levels.var(0) + 1 / 12  # of the levels with uniform noise
    event = EventSpec(levels.shape[1:3], levels.shape[3:], "real")
    dataset = from_splits(event, cut, name=f"{name}_patches", context=spec)
    scale = np.maximum(np.sqrt(variance), _LEAST_SCALE)
    transform = functools.partial(_dequantise, shift=shift.astype(np.float32), scale=scale.astype(np.float32))
    return dataclasses.replace(dataset, transform=transform, scale=scale, shift=shift)


def _dequantise(key: jax.Array, batch: Batch, train: bool, *, shift: np.ndarray, scale: np.ndarray) -> Batch:
    """Levels with uniform noise from [0, 1), standardised."""
    noisy = batch.x + jax.random.uniform(key, batch.x.shape)
    return batch.replace(x=(noisy - shift) / scale)


def dynamic_binarization(key: jax.Array, batch: Batch, train: bool) -> Batch:
    """Replaces `x` by a fresh draw from the intensities uint8[B, H, W] of a batch that has them, when training.

    Rows of the train split also hold the static draw, so that they can be scored like all others.
    """
    if not train or "intensity" not in batch.extra:
        return batch
    # u < intensity / 255 with u in {0, ..., 254} / 255: exact, and 0 and 255 are certain
    intensity = batch.extra["intensity"]
    u = jax.random.randint(key, intensity.shape, 0, 255)
    return batch.replace(x=(u < intensity).astype(jnp.int32))


def _bernoulli(rng: np.random.Generator, intensity: np.ndarray) -> np.ndarray:
    """Pixels that are 1 with probability intensity / 255, uint8."""
    u = rng.integers(0, 255, size=intensity.shape, dtype=np.uint8)
    return (u < intensity).astype(np.uint8)


def _hold_out(splits: dict[str, dict[str, np.ndarray]]) -> dict[str, dict[str, np.ndarray]]:
    """Makes a validation split of the last examples of the train split."""
    train, test = splits["train"], splits["test"]
    held_out = min(_NUM_VALIDATION, len(train["x"]) // 2)  # small trial sets keep a train split
    return {
        "train": {key: array[:-held_out] for key, array in train.items()},
        "validation": {key: array[-held_out:] for key, array in train.items()},
        "test": test,
    }


def _read(name: str, data_dir: str) -> dict[str, dict[str, np.ndarray]]:
    """`x` uint8[N, 28, 28] and, where there are, `context` int32[N] of each split."""
    if importlib.util.find_spec("PIL") is None:
        raise UserError(f"the images of {name!r} are png files, read by a package that is missing: pip install pillow")
    skip = import_tfds().decode.SkipDecoding()
    rows_of = read_splits(name, name, data_dir, decoders={"image": skip}, features=("image",))
    return {split: _stack(rows) for split, rows in rows_of.items()}


def _stack(rows: list[dict[str, Any]]) -> dict[str, np.ndarray]:
    from PIL import Image

    x = np.empty((len(rows), *_GRID), np.uint8)
    for n, row in enumerate(rows):
        with Image.open(io.BytesIO(row["image"])) as image:
            x[n] = np.asarray(image)
    labels = {"context": np.array([row["label"] for row in rows], np.int32)} if "label" in rows[0] else {}
    return {"x": x} | labels
