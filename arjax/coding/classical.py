"""Sizes of the same data in the formats of others: gzip, bz2, xz, and for images PNG and WebP."""

from __future__ import annotations

import bz2
import gzip
import importlib
import io
import lzma
from collections.abc import Callable

import numpy as np

from arjax.core.spec import EventSpec

COMPRESSORS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": lambda content: gzip.compress(content, 9, mtime=0),
    "bz2": lambda content: bz2.compress(content, 9),
    "xz": lambda content: lzma.compress(content, preset=9 | lzma.PRESET_EXTREME),
}


def packed(x: np.ndarray, num_levels: int) -> bytes:
    """Examples as bytes for compressors: 8 binary values in a byte, a byte for up to 256 levels, else two or four."""
    if num_levels == 2:
        return np.packbits(x.astype(bool)).tobytes()
    size = np.uint8 if num_levels <= 2**8 else np.uint16 if num_levels <= 2**16 else np.uint32
    return x.astype(size).tobytes()


def sizes(content: bytes, known: bytes = b"") -> dict[str, int]:
    """Returns bytes by the name of the compressor; with `known` data that both sides have, such as that of the
    training, the bytes that the data add to it, at least 0.
    """
    of_known = {name: len(compress(known)) if known else 0 for name, compress in COMPRESSORS.items()}
    return {name: max(0, len(compress(known + content)) - of_known[name]) for name, compress in COMPRESSORS.items()}


def image_sizes(x: np.ndarray, event: EventSpec) -> dict[str, int]:
    """Bytes of all images as PNG and as WebP files; {} for other data, or where pillow is not installed."""
    is_image = len(event.grid_shape) > 1 and event.shape[2:] in ((), (3,))
    if not is_image or not 2 <= event.num_levels <= 256:
        return {}
    try:
        image = importlib.import_module("PIL.Image")
    except ImportError:
        return {}
    png, webp = io.BytesIO(), io.BytesIO()  # one file behind another
    for each in x:
        picture = image.fromarray(np.asarray(each, bool if event.num_levels == 2 else np.uint8))
        picture.save(png, "PNG", optimize=True)
        picture.convert("RGB").save(webp, "WebP", lossless=True, quality=100, method=6)
    return {"PNG": png.tell(), "WebP": webp.tell()}
