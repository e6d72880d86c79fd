"""Rows of tables by the names and units of their columns: to the arrays of a model, and back."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import numpy as np

from arjax.core.errors import UserError, did_you_mean
from arjax.core.spec import EventSpec
from arjax.data.column_form import ColumnForm
from arjax.data.rows import RowsRead, check_unknown
from arjax.data.table_files import index_of, read_tables


@dataclasses.dataclass(frozen=True, eq=False)
class TableRows:
    """The columns of a table that a data set was made of; see `arjax.data.rows.Rows`.

    Attributes:
      columns: in the order of the sites.
      event: of an example.
      shift, scale: of the standardised columns, as those of the data set; None where nothing was scaled.
      missing, delimiter, header: how the files of the table are written, see the data set `table`.
    """

    columns: tuple[ColumnForm, ...]
    event: EventSpec
    shift: np.ndarray | None
    scale: np.ndarray | None
    missing: tuple[str, ...]
    delimiter: str
    header: bool

    @property
    def names(self) -> list[str]:
        """The names of the columns."""
        return [column.name for column in self.columns]

    def to_cells(self, x_ND: np.ndarray) -> list[list[str]]:
        """Rows of cells of examples in data units, the names of the columns first."""
        texts = [column.text(values) for column, values in zip(self.columns, np.asarray(x_ND).T, strict=True)]
        return [self.names, *map(list, zip(*texts, strict=True))]

    def read(
        self, rows: Any, *, unknown: str = "refuse", holes: bool = False, needed: Collection[str] | None = None
    ) -> RowsRead:
        """`x` [N, D] of a frame of pandas, polars or pyarrow, the path of a csv file, a dict of columns, or a list of
        dicts. Columns are found by their names, in any order; others are left out. Those that are not `needed` are 0.
        """
        check_unknown(unknown, holes)
        found, numbers, place = self._named(rows)
        num, remedy = len(numbers), " (with unknown='missing' it counts as a missing value)" if holes else ""
        values_ND = np.zeros((num, len(self.columns)))
        for i, column in enumerate(self.columns):
            if needed is not None and column.name not in needed:
                continue
            if column.name in found:
                values_ND[:, i] = column.read(found[column.name], place, unknown, remedy)
            elif unknown == "missing":
                values_ND[:, i] = np.nan
            else:
                others = [name for name in found if name not in self.names]
                hint = did_you_mean(column.name, others, f"; it has: {', '.join(found)}")
                raise UserError(f"the table lacks the column {column.name!r}{hint}{remedy}")
        self._check_no_holes(values_ND, holes, place)
        x_ND = values_ND if self.scale is None or self.shift is None else (values_ND - self.shift) / self.scale
        return RowsRead({"x": x_ND.astype(self.event.dtype)}, np.array(numbers))

    def decode(self, x: np.ndarray) -> dict[str, list[Any]]:
        """The columns by their names: words, numbers in the units of the file, and None for a missing value."""
        x_ND = np.asarray(x, np.float64).reshape(-1, len(self.columns))
        x_ND = x_ND if self.scale is None or self.shift is None else x_ND * self.scale + self.shift
        return {column.name: column.cells(values) for column, values in zip(self.columns, x_ND.T, strict=True)}

    def given(self, values: Mapping[str, Any]) -> tuple[np.ndarray, np.ndarray]:
        """One row with these values by the names of their columns, as the model sees it, and where they are, bool[D].

        Raises `UserError` for an unknown column or value, or a value that is none, such as a range.
        """
        for name, value in values.items():
            is_nan = isinstance(value, float | np.floating) and np.isnan(value)
            if isinstance(value, set | Mapping) or np.ndim(value) or value is None or is_nan:
                raise UserError(
                    f"given[{name!r}] must be one value, not {value!r}: lists and ranges are for models of "
                    "arjax.fit_table"
                )
        observed_D = self.sites(list(values), "given")
        row = self.read([dict(values)], needed=values.keys()).arrays["x"][0] if values else np.zeros(len(self.columns))
        return row, observed_D

    def sites(self, names: Sequence[str], called: str) -> np.ndarray:
        """The sites of columns by their names, bool[D]; raises `UserError` for an unknown one."""
        found_D = np.zeros(len(self.columns), bool)
        for name in names:
            if not isinstance(name, str):
                raise UserError(f"{called} has the names of columns, not {name!r}")
            found_D[index_of(name, self.names)] = True
        return found_D

    def _named(self, rows: Any) -> tuple[Mapping[str, Sequence[Any]], Sequence[int], Callable[[int], str]]:
        """The cells of each column, None without a value, and the number of each row and its place in words."""
        if isinstance(rows, str | os.PathLike):
            cells = read_tables([os.fspath(rows)], self.delimiter, self.header, least=1)
            gaps = frozenset(self.missing)
            columns = {name: cells.column(i) for i, name in enumerate(cells.names)}
            found = {name: [None if cell in gaps else cell for cell in column] for name, column in columns.items()}
            return found, cells.numbers, cells.places.__getitem__
        from arjax.data.frames import read_frame  # narwhals is for frames alone

        frame = read_frame(rows, self.missing)
        lists = {name: [None if value != value else value for value in v.tolist()] for name, v in frame.columns.items()}
        return lists, range(len(frame)), lambda n: f"row {n} of the table"

    def _check_no_holes(self, values_ND: np.ndarray, holes: bool, place: Callable[[int], str]) -> None:
        missing_ND = np.isnan(values_ND)
        if missing_ND.any() and not holes:
            n, i = np.argwhere(missing_ND)[0].tolist()
            raise UserError(
                f"{place(n)} has no value in the column {self.names[i]!r}, and this model takes no missing values: "
                "fill it in, or train with missing='hole'"
            )
