"""The laws of every registered kind of model, on the small models that it was registered with."""

from __future__ import annotations

import pytest

from arjax.models import MODEL_KINDS
from arjax.testing.laws import NotSupported
from arjax.testing.model import _laws

CASES = [pytest.param(law, id=f"{kind}-{law.name}") for kind in MODEL_KINDS.names() for law in _laws(kind, None)]


@pytest.mark.parametrize("law", CASES)
def test_model(law):
    try:
        law.check()
    except NotSupported as refusal:
        pytest.skip(str(refusal))
