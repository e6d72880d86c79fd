"""Tables: any columns given any others, with missing cells, ranges and frames."""

from arjax.tables.fitting import fit_table
from arjax.tables.saving import load_table
from arjax.tables.table import Probability, TableModel

__all__ = ["Probability", "TableModel", "fit_table", "load_table"]
