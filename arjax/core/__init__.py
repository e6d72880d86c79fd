"""The base of all other packages: specs, errors, names of components, arrays and files."""

from arjax.core.errors import UserError
from arjax.core.spec import NO_CONTEXT, ContextSpec, EventSpec, class_label, vector

__all__ = ["NO_CONTEXT", "ContextSpec", "EventSpec", "UserError", "class_label", "vector"]
