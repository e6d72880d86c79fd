"""The laws of every registered kind of model, on the small models that it was registered with."""

from __future__ import annotations

import dataclasses

import pytest

from arjax.models import MODEL_KINDS
from arjax.testing.laws import as_test
from arjax.testing.model import laws_of_model

#: Small models of kinds that have another one.
OTHERS = {
    "block_diffusion": ("blocks",),
    "discrete_chain": ("uniform",),
    "flow": ("real",),
    "gaussian_chain": ("real",),
    "latent": ("real",),
}


def laws(others: bool):
    """The laws of all kinds, on the small models that are in `OTHERS` or on those that are not."""
    for kind in MODEL_KINDS.names():
        small = MODEL_KINDS.get(kind).small
        small = {name: case for name, case in small.items() if (name in OTHERS.get(kind, ())) == others}
        for law in laws_of_model(kind, small) if small else ():
            yield dataclasses.replace(law, name=f"{kind}-{law.name}")


test_model = as_test(laws(others=False))
test_other_model = pytest.mark.slow(as_test(laws(others=True)))
