"""The `UserError` of a run that is too large for the memory of its devices."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import jax

from arjax.core.errors import UserError
from arjax.core.memory import bytes_of, is_out_of_memory
from arjax.training.setup import Setup


@contextlib.contextmanager
def within_memory(setup: Setup) -> Iterator[None]:
    """Raises `UserError` instead of an error of the devices' allocator; other errors pass."""
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        if not is_out_of_memory(error):
            raise
        state = setup.abstract_state
        params, whole = bytes_of(state.params), bytes_of(state)
        raise UserError(
            f"this run needs more memory than its devices have: its parameters take {params / 1e9:.2g} GB, with "
            f"averages and the state of the optimizer {whole / 1e9:.2g} GB, and a train step more than that; make the "
            "network or train.batch_size smaller"
        ) from error
