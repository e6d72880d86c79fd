"""The first lines of a run: data, model, length and devices."""

from __future__ import annotations

import jax

from arjax.training.results import device_name
from arjax.training.setup import Setup


def headline(setup: Setup) -> list[str]:
    """One line about the data, one about the model, the length of the run and the devices."""
    dataset, train = setup.dataset, setup.train
    sizes = ", ".join(f"{split} {len(source):,}" for split, source in dataset.splits.items())
    given = f", given {' and '.join(name for name, _ in dataset.context.parts)}" if dataset.context else ""
    num_params = sum(leaf.size for leaf in jax.tree.leaves(setup.abstract_state.params))
    length = f"{setup.total_steps:,} step{'s' * (setup.total_steps != 1)} of {train.batch_size:,} examples"
    return [
        f"{dataset.name}: {sizes} examples of {dataset.event.in_words}{given}",
        f"{setup.about}, {num_params:,} parameters; {length} on {device_name()}{_mesh(setup)}",
    ]


def _mesh(setup: Setup) -> str:
    """The axes that split anything."""
    axes = [f"{name} {size}" for name, size in setup.mesh.shape.items() if size > 1]
    return f" (mesh: {' x '.join(axes)})" if axes else ""
