"""Image sets: the digits of scikit-learn, which need no download; binary and grey 28 x 28 digits and clothes."""

from __future__ import annotations

import functools
import importlib.util
import io
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from arjax.core.batch import Batch
from arjax.core.errors import UserError, refuse
from arjax.core.options import opt
from arjax.core.spec import ContextSpec, EventSpec
from arjax.data.base import DATASETS, Dataset, context_option, from_splits, label_context
from arjax.data.prepared import read_splits

_GRID = (28, 28)
_NUM_VALIDATION = 10000
_BINARIZE_SEED = 0
#: The least scale of a pixel, in levels: some near the border are nearly always 0, and bright in a few images.
_LEAST_SCALE = 16.0
_DIGITS_SIZES, _DIGITS_SEED = {"train": 1297, "validation": 200, "test": 300}, 0


@DATASETS.register("digits")
def digits(*, context: str = context_option()) -> Dataset:
    """1797 digits of 8 x 8 pixels with 17 levels; the set has no official split, so a fixed seed shuffles it. Source:
    the test part of "Optical Recognition of Handwritten Digits" (Alpaydin and Kaynak, UCI repository, 1998).
    """
    package = importlib.util.find_spec("sklearn")  # to import it takes more than a second
    if package is None or package.origin is None:
        raise UserError("the data set 'digits' lies in a package that is missing: pip install scikit-learn")
    file = Path(package.origin).parent / "datasets" / "data" / "digits.csv.gz"
    refuse((not file.exists(), f"the data set 'digits' is not where scikit-learn keeps it, {file}"))
    spec = label_context(context, 10)
    x, label = np.split(np.loadtxt(file, np.int64, delimiter=","), [64], axis=1)
    arrays = {"x": x.reshape(-1, 8, 8).astype(np.uint8)} | ({"context": label[:, 0]} if spec else {})
    rows = np.random.default_rng(_DIGITS_SEED).permutation(len(x))
    parts = np.split(rows, np.cumsum(list(_DIGITS_SIZES.values()))[:-1])
    splits = {split: {k: a[part] for k, a in arrays.items()} for split, part in zip(_DIGITS_SIZES, parts, strict=True)}
    return from_splits(EventSpec((8, 8), kind="levels", num_levels=17), splits, context=spec, name="digits")


@DATASETS.register("binarized_mnist")
def binarized_mnist(*, data_dir: str = "") -> Dataset:
    """MNIST digits binarized once and for all, 50000 / 10000 / 10000: the usual benchmark of the NADE literature.
    Sources: Salakhutdinov and Murray 2008 (the draw), Larochelle and Murray 2011 (the files).
    """
    arrays = {split: {"x": a["x"]} for split, a in _read("binarized_mnist", data_dir).items()}
    return from_splits(EventSpec(_GRID), arrays, name="binarized_mnist")


def binarize_option(default: str) -> Any:
    """Declares the option `binarize` of grey images."""
    return opt(default, choices=("static", "dynamic", "none"))


@DATASETS.register("mnist")
def mnist(
    *, binarize: str = binarize_option("static"), patches: int = 0, context: str = context_option(), data_dir: str = ""
) -> Dataset:
    """MNIST, 50000 / 10000 / 10000; the last 10000 of the official train split are for validation.

    No choice of `binarize` gives the data set `binarized_mnist`: likelihoods do not compare.

    Args:
      binarize: "static": every pixel is drawn once, 1 with the probability of its intensity, from a fixed seed;
        "dynamic": the train split is drawn anew in every step, the others as in "static"; "none": 256 grey levels.
      patches: 0, or the side of square patches as sites: 4 for 7 x 7 sites of 4 x 4 real numbers. The levels, with
        `binarize="none"`, are dequantised: each gets fresh uniform noise from [0, 1) in every step of training, and
        once in a score, and is standardised. On average, -log p of the levels plus noise is at least -log P of the
        levels (Theis, van den Oord & Bethge, "A Note on the Evaluation of Generative Models", 2016, equation 3), so its
        nats and bits/dim compare, as upper bounds, with those of models of 256 levels.
    """
    return _grey_images("mnist", binarize, patches, context, data_dir)


@DATASETS.register("fashion_mnist")
def fashion_mnist(
    *, binarize: str = binarize_option("none"), patches: int = 0, context: str = context_option(), data_dir: str = ""
) -> Dataset:
    """Fashion-MNIST (Xiao et al. 2017), with the options and splits of `mnist`."""
    return _grey_images("fashion_mnist", binarize, patches, context, data_dir)


def _grey_images(name: str, binarize: str, patches: int, context: str, data_dir: str) -> Dataset:
    if patches and (binarize != "none" or _GRID[0] % patches):
        sides = f"for binarize='none' and a side that divides {_GRID[0]}"
        raise UserError(f"the data set option 'patches' is {sides}, not {patches} with {binarize=}")
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
    # likelihoods of static and dynamic do not compare, so their names differ in results
    name, transform = f"{name}_{binarize}", dynamic_binarization if binarize == "dynamic" else None
    return from_splits(EventSpec(_GRID), drawn, name=name, context=spec, extra=("intensity",), transform=transform)


def _in_patches(name: str, arrays: dict[str, dict[str, np.ndarray]], side: int, spec: ContextSpec) -> Dataset:
    """Returns patches of standardised real values: the middles of levels, which the transform dequantises."""
    height, width = (length // side for length in _GRID)
    grid = (-1, height, side, width, side)
    cut = {split: np.ascontiguousarray(a["x"].reshape(grid).swapaxes(2, 3)) for split, a in arrays.items()}
    shift, variance = cut["train"].mean(0) + 0.5, cut["train"].var(0) + 1 / 12  # of the levels with uniform noise
    scale = np.maximum(np.sqrt(variance), _LEAST_SCALE)
    shift_32, scale_32 = shift.astype(np.float32), scale.astype(np.float32)
    rows = {split: a | {"x": (cut[split] + np.float32(0.5) - shift_32) / scale_32} for split, a in arrays.items()}
    event = EventSpec((height, width), (side, side), "real")
    transform = functools.partial(_dequantise, shift=shift_32, scale=scale_32)
    units = {"transform": transform, "scale": scale, "shift": shift}
    return from_splits(event, rows, name=f"{name}_patches", context=spec, **units)


def _dequantise(key: jax.Array, batch: Batch, train: bool, *, shift: np.ndarray, scale: np.ndarray) -> Batch:
    """Replaces the standardised middles of levels by the levels plus uniform noise from [0, 1), standardised."""
    levels = jnp.round(batch.x * scale + shift - 0.5)
    return batch.replace(x=(levels + jax.random.uniform(key, batch.x.shape) - shift) / scale)


def dynamic_binarization(key: jax.Array, batch: Batch, train: bool) -> Batch:
    """Replaces `x` by a fresh draw from the intensities uint8[B, H, W] of a batch that has them, in training. Rows of
    the train split also hold the static draw, so that they can be scored like all others.
    """
    if not train or "intensity" not in batch.extra:
        return batch
    # u < intensity / 255 with u in {0, ..., 254} / 255: exact, and 0 and 255 are certain
    intensity = batch.extra["intensity"]
    u = jax.random.randint(key, intensity.shape, 0, 255)
    return batch.replace(x=(u < intensity).astype(jnp.int32))


def _bernoulli(rng: np.random.Generator, intensity: np.ndarray) -> np.ndarray:
    """Returns pixels that are 1 with probability intensity / 255, uint8."""
    u = rng.integers(0, 255, size=intensity.shape, dtype=np.uint8)
    return (u < intensity).astype(np.uint8)


def _hold_out(splits: dict[str, dict[str, np.ndarray]]) -> dict[str, dict[str, np.ndarray]]:
    """Makes a validation split of the last examples of the train split."""
    train = splits["train"]
    held_out = min(_NUM_VALIDATION, len(train["x"]) // 2)  # small trial sets keep a train split
    parts = {"train": slice(-held_out), "validation": slice(-held_out, None)}
    cut = {split: {key: array[part] for key, array in train.items()} for split, part in parts.items()}
    return cut | {"test": splits["test"]}


def _read(name: str, data_dir: str) -> dict[str, dict[str, np.ndarray]]:
    """Returns `x` uint8[N, 28, 28] of each split, and `context` int32[N] of sets with labels."""
    if importlib.util.find_spec("PIL") is None:
        raise UserError(f"the images of {name!r} are png files, read by a package that is missing: pip install pillow")
    from PIL import Image

    arrays = {}
    for split, rows in read_splits(name, data_dir, features=("image",), encoded=("image",)).items():
        arrays[split] = {"x": np.empty((len(rows["image"]), *_GRID), np.uint8)}
        for n, png in enumerate(rows["image"]):
            with Image.open(io.BytesIO(png)) as image:
                arrays[split]["x"][n] = np.asarray(image)
        if "label" in rows:
            arrays[split]["context"] = np.array(rows["label"], np.int32)
    return arrays
