"""What the bits of a computation depend on beside its program: the model, the versions and the machine."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from typing import Any

import jax
import jaxlib
import numpy as np

from arjax.coding.entropy import coder_version
from arjax.core.errors import UserError
from arjax.core.kept_programs import processor
from arjax.models import Model, recipe_of
from arjax.parallel.devices import usable_cores

#: The entries of a header about the place, and the sentence where they differ: {0} is that of the file, {1} that here.
REFUSALS = {
    "model": "the file was compressed with another model: an order, a network or a conditional is not that of the file",
    "params": "the file was compressed with other parameters of this model",
    "jax": "the file was compressed with jax {0}, and here is jax {1}: other versions compute other bits",
    "jaxlib": "the file was compressed with jaxlib {0}, and here is jaxlib {1}: other versions compute other bits",
    "constriction": "the file was compressed with constriction {0}, and here is constriction {1}",
    "platform": "the file was compressed on the platform {0}, and here is {1}: these compute other bits",
    "device": "the file was compressed on {0!r}, and here is {1!r}: other processors may compute other bits",
    "features": "the file was compressed on a processor with other features: it may compute other bits",
    "cores": "the file was compressed by a process with {0} cores, and this one has {1}: sums are divided otherwise",
    "xla_flags": "the file was compressed with XLA_FLAGS={0!r}, and here it is {1!r}",
}


def digest(*parts: bytes) -> str:
    """16 hexadecimal digits."""
    found = hashlib.sha256()
    for part in parts:
        found.update(len(part).to_bytes(8, "little") + part)
    return found.hexdigest()[:16]


def digest_of_arrays(tree: Any) -> str:
    """The digest of a tree of arrays: their places, types, shapes and values."""
    leaves = [(jax.tree_util.keystr(path), np.asarray(leaf)) for path, leaf in jax.tree.leaves_with_path(tree)]
    parts = [(f"{path} {leaf.dtype} {leaf.shape}".encode(), leaf.tobytes()) for path, leaf in leaves]
    return digest(*(part for pair in parts for part in pair))


def describe_place(model: Model, params: Any) -> dict[str, Any]:
    """All that has to be the same where a file is decoded, as JSON."""
    recipe = recipe_of(model)
    text = json.dumps(recipe.as_json(), sort_keys=True).encode()
    device = jax.devices()[0]
    is_cpu = device.platform == "cpu"
    return {
        "model": digest(text, digest_of_arrays(recipe.arrays).encode()),
        "params": digest_of_arrays(params),
        "jax": jax.__version__,
        "jaxlib": jaxlib.__version__,
        "constriction": coder_version(),
        "platform": device.platform,
        "device": processor()[0] if is_cpu else device.device_kind,
        "features": digest(processor()[1].encode()) if is_cpu else "",
        "cores": len(usable_cores()),
        "xla_flags": os.environ.get("XLA_FLAGS", ""),
    }


def check_place(there: Mapping[str, Any], here: Mapping[str, Any]) -> None:
    """Raises `UserError` for the first entry in which the place of a file differs from this one."""
    for name, sentence in REFUSALS.items():
        if there.get(name) != here[name]:
            raise UserError(sentence.format(_shown(there.get(name)), here[name]))


def _shown(entry: Any) -> Any:
    """An entry without characters that a terminal obeys."""
    return entry if str(entry).isprintable() else ascii(entry)
