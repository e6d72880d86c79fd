"""Tables: any columns given any others, with missing cells, ranges and frames."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from arjax.tables.fitting import fit_table
    from arjax.tables.table import Answer, TableModel, load_table

__all__ = ["Answer", "TableModel", "fit_table", "load_table"]


def __getattr__(name: str) -> Any:
    """Imports a public name when it is first used: `arjax-table --help` does not wait for JAX."""
    if name not in __all__:
        raise AttributeError(f"module 'arjax.tables' has no attribute {name!r}")
    return getattr(importlib.import_module(f"arjax.tables.{'fitting' if name == 'fit_table' else 'table'}"), name)
