"""What the bits of a computation depend on beside its program: the model, the versions and the machine."""

from __future__ import annotations

import hashlib
import json
import os
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jaxlib
import numpy as np

from arjax.coding.entropy import coder_version
from arjax.core.errors import UserError
from arjax.interop.description import describe
from arjax.models import Model
from arjax.parallel.devices import usable_cores

#: The entries of a header about the place, in words.
IN_WORDS = {
    "model": "the model {}",
    "params": "the parameters {}",
    "jax": "jax {}",
    "jaxlib": "jaxlib {}",
    "numpy": "numpy {}",
    "constriction": "constriction {}",
    "platform": "the platform {}",
    "device": "the device {}",
    "features": "the processor features {}",
    "cores": "{} cores for a process",
    "xla_flags": "XLA_FLAGS {}",
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
    description, arrays = describe(model)
    text = json.dumps(description, sort_keys=True).encode()
    device = jax.devices()[0]
    is_cpu = device.platform == "cpu"
    return {
        "model": digest(text, digest_of_arrays(arrays).encode()),
        "params": digest_of_arrays(params),
        "jax": jax.__version__,
        "jaxlib": jaxlib.__version__,
        "numpy": np.__version__,
        "constriction": coder_version(),
        "platform": device.platform,
        "device": _processor()[0] if is_cpu else device.device_kind,
        "features": digest(_processor()[1].encode()) if is_cpu else "",
        "cores": len(usable_cores()),
        "xla_flags": os.environ.get("XLA_FLAGS", ""),
    }


def _processor() -> tuple[str, str]:
    """The name of the processor, and its features as the system lists them."""
    path = Path("/proc/cpuinfo")
    if not path.exists():
        return platform.processor() or platform.machine(), platform.machine()
    lines = [line.partition(":") for line in path.read_text(encoding="utf-8", errors="replace").splitlines()]
    found = {name.strip(): value.strip() for name, _, value in reversed(lines)}
    features = sorted((found.get("flags") or found.get("Features") or "").split())
    return found.get("model name", platform.machine()), " ".join(features)


def check_place(there: Mapping[str, Any], here: Mapping[str, Any]) -> None:
    """Raises `UserError` for the first entry in which the place of a file differs from this one."""
    for name, words in IN_WORDS.items():
        if there.get(name) != here[name]:
            file, own = (words.format(repr(place.get(name))) for place in (there, here))
            raise UserError(
                f"the file needs {file}, and here is {own}: it is decoded only where the same program computes the "
                "same bits"
            )
