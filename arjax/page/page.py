"""The page of a model: one HTML file that plays it in a browser, without a server and without other files."""

from __future__ import annotations

import base64
import dataclasses
import html
import json
import os
import re
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import jax
import numpy as np

from arjax.core.errors import UserError, refuse, say_once
from arjax.core.files import user_path, write_text
from arjax.data import Dataset
from arjax.models import Model
from arjax.page.contents import contents
from arjax.page.program import TYPES

#: The scripts of a page, in their order: the numbers need no browser, the view shows them.
NUMBERS, VIEW = ("engine.js", "play.js"), ("view.js", "picture.js", "text.js", "start.js")
#: A page up to this size, in bytes, has its weights as they are; that of a larger model has them in half precision.
LARGE = 2_000_000
#: The height of a page in a cell of a notebook, in pixels.
HEIGHT = 760


@dataclasses.dataclass(frozen=True, repr=False)
class Page:
    """A page, which a notebook shows in its cell, with its parameters: rounded, if it has them in half precision."""

    html: str
    params: Any
    half: bool
    path: Path | None = None

    def __repr__(self) -> str:
        where = "" if self.path is None else f"{str(self.path)!r}; "
        return f"Page({where}{len(self.html.encode()):,} bytes{'; weights in half precision' * self.half})"

    def _repr_html_(self) -> str:
        """The page in a frame. Characters that Markdown or templates would change are written as entities."""
        text = html.escape(self.html)
        for character in "$`*_\\\n":
            text = text.replace(character, f"&#{ord(character)};")
        style = f"width: 100%; height: {HEIGHT}px; border: 1px solid #888"
        return f'<iframe title="a page of arjax" style="{style}" srcdoc="{text}"></iframe>'

    def saved(self, path: str | os.PathLike) -> Page:
        path = user_path(path)
        refuse((path.suffix.lower() not in (".html", ".htm"), f"a page is a file such as page.html, not {str(path)!r}"))
        write_text(path, self.html)
        return dataclasses.replace(self, path=path)


def make_page(
    model: Model, params: Any, dataset: Dataset, results: Mapping[str, Any] | None = None, *, precision: str = "auto"
) -> Page:
    """Returns the page of a model with its parameters. It names the data set and the scores `results`, None for none.
    The weights have the `precision` "float32", "float16", or "auto": float16 if the page would otherwise have more than
    2 MB.
    """
    if precision not in ("auto", "float32", "float16"):
        raise UserError(f"precision must be auto, float32 or float16, not {precision!r}")
    params = jax.tree.map(np.asarray, params)
    if not all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(params)):
        raise UserError("the parameters of the model are not all finite")
    described, arrays, num_weights = contents(model, params, dataset, results)
    size = sum(array.nbytes for array in arrays) * 4 / 3 + len(_json(described)) + len(_scripts(NUMBERS + VIEW))
    half = precision == "float16" or (precision == "auto" and size > LARGE)
    if half:
        params = jax.tree.map(_halved, params)
        if precision == "auto":
            say_once(f"the page has its weights in half precision: else it would have {size / 1e6:.1f} MB")
    stored = [_stored(array, half and i < num_weights) for i, array in enumerate(arrays)]
    of_weights = f"The weights of the network are {'rounded to half precision' if half else 'exact'}."
    about = [*described["about"], of_weights]
    described |= {"arrays": [form for form, _ in stored], "about": about}
    parts = {
        "title": html.escape(described["title"]),
        "style": _file("page.css"),
        "model": _json(described),
        "weights": base64.b64encode(b"".join(content for _, content in stored)).decode(),
        "numbers": _scripts(NUMBERS),
        "view": _scripts(VIEW),
    }
    return Page(re.sub(r"\{\{(\w+)\}\}", lambda match: parts[match[1]], _file("page.html")), params, half)


def _halved(array: np.ndarray) -> np.ndarray:
    if array.dtype != np.float32:
        return array
    with np.errstate(over="ignore"):
        rounded = array.astype(np.float16).astype(np.float32)
    refuse((not np.isfinite(rounded).all(), "weights above 65,504 do not fit half precision: use precision='float32'"))
    return rounded


def _stored(array: np.ndarray, half: bool) -> tuple[list[Any], bytes]:
    """The form of an array as `readArrays` of engine.js takes it, and its bytes."""
    half = half and array.dtype == np.float32
    kept = array.astype("<f2") if half else array.astype(array.dtype.newbyteorder("<"))
    return ["h" if half else TYPES[str(array.dtype)], list(array.shape)], kept.tobytes()


def _scripts(names: Sequence[str]) -> str:
    return '"use strict";\n' + "\n".join(_file(name).replace('"use strict";\n', "") for name in names)


def _file(name: str) -> str:
    return resources.files("arjax.page").joinpath("static", name).read_text(encoding="utf-8")


def _json(model: Mapping[str, Any]) -> str:
    """The description of a model; without `<`, as `</script>` in a text of the data would end the script."""
    return json.dumps(model, separators=(",", ":")).replace("<", "\\u003c")
