"""The laws of every registered kind of model, on the small models that it was registered with."""

from __future__ import annotations

import dataclasses

from arjax.models import MODEL_KINDS
from arjax.testing.laws import as_test
from arjax.testing.model import laws_of_model

test_model = as_test(
    dataclasses.replace(law, name=f"{kind}-{law.name}") for kind in MODEL_KINDS.names() for law in laws_of_model(kind)
)
