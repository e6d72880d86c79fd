"""Tables: any columns given any others, with missing cells, ranges and frames."""

from arjax.tables.fitting import fit_table
from arjax.tables.table import Probability, TableModel, load_table

__all__ = ["Probability", "TableModel", "fit_table", "load_table"]
