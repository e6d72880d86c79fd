"""The laws of every registered kind of model, on the small models that it was registered with."""

from __future__ import annotations

import dataclasses

import pytest

from arjax.models import KINDS
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
#: Kinds whose gradients and terms are those of formulas in tests/models.
KNOWN = ("discrete_chain", "flow", "gaussian_chain", "latent", "mixture")


def laws(slow: bool):
    """The laws of all kinds that are slow, as they are held elsewhere or on another small model; or the others."""
    for kind in KINDS.names():
        for law in laws_of_model(kind):
            name, _, small = law.name.partition("-")
            known = kind in KNOWN and name in ("gradients", "terms")
            if (known or small in OTHERS.get(kind, ())) == slow:
                yield dataclasses.replace(law, name=f"{kind}-{law.name}")


test_model = as_test(laws(slow=False))
test_slow_laws_of_model = pytest.mark.slow(as_test(laws(slow=True)))
