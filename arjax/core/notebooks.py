"""Views of objects in notebooks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class InNotebook:
    """An object that a notebook shows as a tree, which opens and closes, drawn by treescope: a dataclass by its fields,
    any other object by what `in_notebook` names. treescope shows these objects inside of others in the same way.
    """

    def in_notebook(self) -> Mapping[str, Any]:
        """Returns attributes by their names; none: the fields of a dataclass."""
        return {}

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        # Not `_repr_html_`, which treescope would show a second time, below its own view.
        import treescope

        return {"text/html": treescope.render_to_html(self), "text/plain": repr(self)}

    def __treescope_repr__(self, path: str | None, subtree: Any) -> Any:
        from treescope import repr_lib

        attributes = self.in_notebook()
        if not attributes:
            return NotImplemented
        return repr_lib.render_object_constructor(type(self), attributes, path, subtree)
