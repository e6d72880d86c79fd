"""Dataclasses that JAX passes to compiled functions."""

from __future__ import annotations

from typing import Any

import jax

from arjax.core.errors import UserError


def checked_pytree(value: Any, what: str) -> Any:
    """The value; raises `UserError` if its class is not registered as a pytree, which subclasses do not inherit."""
    if jax.tree_util.all_leaves([value]):
        raise UserError(
            f"{what} is no pytree: write @jax.tree_util.register_dataclass above @dataclasses.dataclass of its "
            f"class {type(value).__name__}"
        )
    return value
