"""The sentence for a run that is too large for the memory of its devices."""

from __future__ import annotations

from arjax.core.memory import bytes_of
from arjax.training.setup import Setup


def needs_of(setup: Setup) -> str:
    """The memory that a run needs, and the way out."""
    state = setup.abstract_state
    params, whole = bytes_of(state.params), bytes_of(state)
    return (
        f"this run needs more memory than its devices have: its parameters take {params / 1e9:.2g} GB, with "
        f"averages and the state of the optimizer {whole / 1e9:.2g} GB, and a train step more than that; make the "
        "network or train.batch_size smaller"
    )
