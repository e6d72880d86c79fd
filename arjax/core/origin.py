"""The place of a registration, and whether a second definition repeats the first one."""

from __future__ import annotations

import dataclasses
import os
from types import CodeType, FrameType
from typing import Any


@dataclasses.dataclass(frozen=True)
class Origin:
    """The line of code that registers a component: its file, its line, the code that ran and its global variables."""

    file: str
    line: int
    code: CodeType = dataclasses.field(repr=False)
    variables: dict[str, Any] = dataclasses.field(repr=False)

    @classmethod
    def of(cls, frame: FrameType) -> Origin:
        """The current line of a frame."""
        return cls(os.path.realpath(frame.f_code.co_filename), frame.f_lineno, frame.f_code, frame.f_globals)

    @property
    def module(self) -> str:
        """The name of the module that ran."""
        return self.variables.get("__name__", "")

    @property
    def is_outside(self) -> bool:
        """Whether it is code of another package than this one."""
        return self.module.partition(".")[0] != __name__.partition(".")[0]

    @property
    def _is_interactive(self) -> bool:
        """Whether it was typed: a cell of a notebook, a line at the prompt."""
        return self.module == "__main__" and "__file__" not in self.variables

    def repeats(self, earlier: Origin) -> bool:
        """Whether this repeats the earlier definition: the same line again, the same file run or reloaded again,
        or another cell of the same notebook, as an edited cell is another one.
        """
        if self._is_interactive:
            return self.variables is earlier.variables
        reloaded = self.code is not earlier.code and {self.code.co_name, earlier.code.co_name} == {"<module>"}
        again = self.line == earlier.line or self.variables is not earlier.variables or reloaded
        return self.file == earlier.file and again

    def __str__(self) -> str:
        package = self.module.partition(".")[0]
        by = f"by {package!r} in " if package.isidentifier() and package != "__main__" else ""
        return f"{by}{self.file}, line {self.line}"
