"""The text of a compiled program, XLA's HLO: its operations, and the bytes of memory that each reads and writes.

An array of an accelerator counts with the tiles that fill it up; one in the fast memory of a chip, `S(1)`, for nothing.
Of an array that an operation only slices or gathers from, what it takes counts; of one that is updated in place, the
update. A fusion counts by the arrays that enter and leave it.
"""

from __future__ import annotations

import math
import re
from typing import NamedTuple

#: Bytes of a number of each type; of a type that is not here, such as a token, none.
_BYTES = {"pred": 1, "s8": 1, "u8": 1, "s16": 2, "u16": 2, "bf16": 2, "f16": 2, "s32": 4, "u32": 4, "f32": 4, "s64": 8}
#: Operations that do no work of their own.
FREE = ("parameter", "constant", "get-tuple-element", "tuple", "bitcast", "partition-id", "after-all", "iota")
_LINE = re.compile(r"\s*(?:ROOT )?%([\w.-]+) = ")
_CALLS = re.compile(r"\b(calls|to_apply|body|condition|branch_computations|\w+_computation)=(\{[^}]*\}|%[\w.-]+)")
_NAME = re.compile(r"%([\w.-]+)")
_ARRAY = re.compile(r"\b([a-z]+\d*)\[([\d,]*)\](\{[^}]*\})?")
#: Operations that update their first operand in place, and the number of the operand that holds the update.
_IN_PLACE = {"dynamic-update-slice": 1, "scatter": 2}
#: Operations of a fusion that read as much of their operand as is read of them.
_VIEWS = ("bitcast", "convert", "copy", "reshape", "transpose")


class Operation(NamedTuple):
    """One line of a program.

    Attributes:
      name, opcode: such as `fusion.3` and `fusion`.
      type: of its result, such as `bf16[8,128]{1,0}`.
      operands: names of the operations that it reads.
      calls: names of the computations that it runs, by the attribute that names them.
      cycles: of the compiler; 0 where it says none.
      path: of the JAX program, `jit(step)/jvp(Transformer)/layers/attention/...`.
      is_root: whether it is the result of its computation.
    """

    name: str
    opcode: str
    type: str
    operands: tuple[str, ...]
    calls: dict[str, list[str]]
    cycles: int
    path: str
    is_root: bool
    text: str


#: The operations of a computation by their names.
Places = dict[str, Operation]


def computations(text: str) -> tuple[dict[str, list[Operation]], str]:
    """The operations of each computation of a compiled program in the order in which they run, and the first one."""
    named: dict[str, list[str]] = {}
    entry, current = "", []
    for line in text.splitlines():
        if line.startswith(("%", "ENTRY")) and line.endswith("{"):
            name = _NAME.findall(line)[0]
            current = named[name] = []
            entry = name if line.startswith("ENTRY") else entry
        elif _LINE.match(line):
            current.append(line)
        elif current and line != "}":
            current[-1] += line  # the metadata of a kernel has several lines
    return {name: [_operation(line) for line in lines] for name, lines in named.items()}, entry


def _operation(line: str) -> Operation:
    match = _LINE.match(line)
    assert match is not None
    name, rest = match[1], line[match.end() :]
    end = _closing(rest, 0) if rest.startswith("(") else rest.index(" ")
    result, rest = rest[:end], rest[end:].lstrip()
    opcode, begin = rest[: rest.index("(")], rest.index("(")
    inner = rest[begin : _closing(rest, begin)]
    cycles, path = (re.search(pattern, rest) for pattern in (r'"estimated_cycles":"(\d+)"', r'op_name="([^"]*)"'))
    calls = {key: _NAME.findall(names) for key, names in _CALLS.findall(rest)}
    numbers = int(cycles[1]) if cycles else 0, path[1] if path else ""
    operands, is_root = tuple(_NAME.findall(inner)), line.lstrip().startswith("ROOT")
    return Operation(name, opcode, result, operands, calls, *numbers, is_root, rest)


def _closing(text: str, begin: int) -> int:
    """The place after the bracket that closes the one at `begin`."""
    depth = 0
    for i in range(begin, len(text)):
        depth += (text[i] == "(") - (text[i] == ")")
        if depth == 0:
            return i + 1
    raise ValueError(f"an open bracket in a compiled program: {text[begin : begin + 80]}")


def size_of(result: str) -> int:
    """The bytes of a type, or of all in a tuple, without tiles."""
    return sum(_with_tiles(kind, dims, "") for kind, dims, _ in _ARRAY.findall(result))


def memory_of(result: str) -> int:
    """The bytes that a type takes in memory, with its tiles."""
    return sum(_with_tiles(*each) for each in _ARRAY.findall(result) if "S(" not in each[2])


def _with_tiles(kind: str, dims: str, layout: str) -> int:
    """The bytes of an array whose last axes, as it lies in memory, are filled up to whole tiles."""
    sizes = [int(size) for size in dims.split(",") if size]
    order, tile = re.match(r"\{?([\d,]*)", layout), re.search(r"T\(([\d,]+)\)", layout)
    if order is not None and tile is not None:
        minor_first = [int(axis) for axis in order[1].split(",") if axis]
        for axis, size in zip(minor_first, reversed([int(size) for size in tile[1].split(",")]), strict=False):
            sizes[axis] = -(-sizes[axis] // size) * size
    return _BYTES.get(kind, 0) * math.prod(sizes)


def traffic(operation: Operation, places: Places, named: dict[str, list[Operation]]) -> tuple[float, float]:
    """The bytes of memory that one run of an operation reads and writes; `places` are the operations beside it."""
    if operation.opcode in FREE or operation.opcode.endswith("-done") or "ConcatBitcast" in operation.text:
        return 0.0, 0.0
    sizes = [memory_of(places[name].type) if name in places else 0.0 for name in operation.operands]
    taken = [_taken(operation, number, size, named) for number, size in enumerate(sizes)]
    read = sum(size if part is None else part for part, size in zip(taken, sizes, strict=True))
    if operation.opcode.endswith("-start"):  # its result holds its operands, too
        return read, memory_of(operation.type) - sum(sizes)
    return read, _put(operation, places, named)


def _taken(operation: Operation, number: int, size: float, named: dict[str, list[Operation]]) -> float | None:
    """The bytes that an operation takes of the operand with this number, of so many bytes; None: it is a view of it."""
    if operation.opcode in _VIEWS:
        return None
    if number == 0 and operation.opcode.removesuffix("-start") in ("dynamic-slice", "slice", "gather"):
        is_start = operation.opcode.endswith("-start")  # then the part is the last but one of its results
        kind, dims, layout = _ARRAY.findall(operation.type)[-2 if is_start else 0]
        return min(size, _with_tiles(kind, dims, layout))
    if number == 0 and operation.opcode in _IN_PLACE:
        return 0.0
    if "calls" not in operation.calls:
        return size
    inner, total = named[operation.calls["calls"][0]], 0.0
    views = {each.name for each in inner if each.text.startswith(f"parameter({number})")}
    for each in inner:  # those that read it come behind it
        for i in [i for i, name in enumerate(each.operands) if name in views]:
            part = _taken(each, i, size, named)
            if part is None:
                views.add(each.name)
            total += part or 0.0
    return None if any(each.is_root and each.name in views for each in inner) else min(total, size)


def _put(operation: Operation, places: Places, named: dict[str, list[Operation]]) -> float:
    """The bytes that an operation writes."""
    written = memory_of(operation.type)
    if operation.opcode in _IN_PLACE:
        update = operation.operands[_IN_PLACE[operation.opcode]]
        return min(written, float(size_of(places[update].type)))
    if "calls" in operation.calls:
        inner = {each.name: each for each in named[operation.calls["calls"][0]]}
        return min(written, _put(next(each for each in inner.values() if each.is_root), inner, named))
    if operation.opcode in ("bitcast", "tuple"):
        return sum(_put(places[name], places, named) for name in operation.operands)
    return written
