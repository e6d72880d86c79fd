"""The base of all other packages: specs, errors, names of components, arrays and files."""

from arjax.core.errors import UserError
from arjax.core.spec import NO_CONTEXT, ContextSpec, EventSpec, class_label, vector

#: The version of the package; `pyproject.toml` reads it here.
__version__ = "0.2.0"

__all__ = ["NO_CONTEXT", "ContextSpec", "EventSpec", "UserError", "__version__", "class_label", "vector"]
