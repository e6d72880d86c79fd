"""Signs of waste in the text of a compiled program: work of a loop that is the same in every round, copies of what a
loop carries, products of float32 in a network of bfloat16, tiles that are mostly padding, and arrays that are put
together on every device because the compiler found no better way between two placements.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator

from arjax.evaluation.compiled import COLLECTIVES
from arjax.evaluation.hlo import Operation, computations, size_of

COLUMNS = ("gathered_again_mb", "made_again_mb", "copied_mb", "float32_part", "padded_part", "rematerialised")
#: Smaller arrays do not count, in bytes.
LEAST = 2**14
#: Operations that only look at an array, or put several into one.
VIEWS = ("get-tuple-element", "bitcast", "tuple", "parameter", "constant", "iota", "opt-barrier")
REMATERIALISED = "Involuntary full rematerialization"


def of_program(text: str, said: Iterable[str]) -> dict[str, float]:
    """The columns of a program: megabytes of a run on a device, parts of the operations of products and of the cycles,
    and how many of the lines that the compiler `said` are such warnings.
    """
    named, entry = computations(text)
    sums, flops = dict.fromkeys(COLUMNS[:3], 0.0), {True: 0.0, False: 0.0}
    for places, operation, times in runs(named, entry, 1):
        if operation.opcode == "while":
            for column, moved in of_loop(named, operation):
                sums[column] += times * trips(named, operation) * moved
        elif operation.opcode in ("convolution", "dot"):
            read = [places[name].type for name in operation.operands]
            flops[all(each.startswith("f32") for each in read)] += times * flops_of(*read, operation.type)
    return {name: round(moved / 1e6, 3) for name, moved in sums.items()} | {
        "float32_part": round(flops[True] / max(1.0, sum(flops.values())), 3),
        "padded_part": round(padded_part(named), 3),
        "rematerialised": sum(REMATERIALISED in line for line in said),
    }


def runs(
    named: dict[str, list[Operation]], name: str, times: int
) -> Iterator[tuple[dict[str, Operation], Operation, int]]:
    """The operations of a program and of all that it runs, with those beside them, and how often each runs."""
    places = {operation.name: operation for operation in named[name]}
    for operation in places.values():
        yield places, operation, times
        inside = times * trips(named, operation) if operation.opcode == "while" else times
        for inner in (each for names in operation.calls.values() for each in names):
            yield from runs(named, inner, inside)


def flops_of(left: str, right: str, result: str) -> float:
    """About the multiplications of a product of arrays of these types: right for one product of two matrices."""
    sizes = [math.prod(map(int, filter(None, re.findall(r"\[([\d,]*)\]", each)[0].split(",")))) for each in
             (left, right, result)]  # fmt: skip
    return math.sqrt(math.prod(sizes))


def trips(named: dict[str, list[Operation]], loop: Operation) -> int:
    """How often a loop runs: the one constant of its condition; once where there are several."""
    condition = named[loop.calls["condition"][0]]
    inner = [each for operation in condition for name in operation.calls.get("calls", ()) for each in named[name]]
    limits = [int(each.text[9:-1]) for each in (*condition, *inner) if re.match(r"constant\(\d+\)$", each.text)]
    return limits[0] if len(limits) == 1 else 1


def of_loop(named: dict[str, list[Operation]], loop: Operation) -> Iterator[tuple[str, int]]:
    """What a round does that the round before has done, and what it copies of the arrays that it carries, in bytes."""
    body = named[loop.calls["body"][0]]
    places = {operation.name: operation for operation in body}
    state, carried = next(each.name for each in body if each.opcode == "parameter"), body[-1].operands
    same: set[str] = set()  # in every round
    for operation in body:
        if operation.opcode == "get-tuple-element" and operation.operands == (state,):
            if carried[index_of(operation)] == operation.name:
                same.add(operation.name)
        elif operation.opcode == "constant" or (operation.operands and same.issuperset(operation.operands)):
            same.add(operation.name)
    reads = {name: size_of(places[name].type) for name in same}
    for operation in body:
        size, is_view = size_of(operation.type), operation.opcode in VIEWS
        if is_view or size < LEAST or is_prefetch(operation):
            continue
        if operation.name in same and any(reads[name] >= LEAST for name in operation.operands):
            yield COLUMNS[0] if collective_of(named, operation) else COLUMNS[1], size
        elif operation.name not in same and is_copy(named, operation):
            source = places.get(operation.operands[0])
            if source is not None and source.opcode == "get-tuple-element" and source.operands == (state,):
                yield COLUMNS[2], size


def index_of(operation: Operation) -> int:
    """Which element of a tuple is read."""
    match = re.search(r"index=(\d+)", operation.text)
    assert match is not None
    return int(match[1])


def collective_of(named: dict[str, list[Operation]], operation: Operation) -> str:
    """The kind of the collective that an operation is or holds; "" of others."""
    inner = [each for name in operation.calls.get("calls", ()) for each in named[name]]
    kinds = [each.opcode.removesuffix("-start") for each in (operation, *inner)]
    return next((kind for kind in kinds if kind in COLLECTIVES), "")


def is_prefetch(operation: Operation) -> bool:
    """Whether this only brings an array into the fast memory beside the matrix units, where each round must read it."""
    return operation.opcode in ("copy-start", "copy-done") or (operation.opcode == "copy" and "S(1)" in operation.type)


def is_copy(named: dict[str, list[Operation]], operation: Operation) -> bool:
    """Whether this is nothing but a copy."""
    inner = [each for name in operation.calls.get("calls", ()) for each in named[name]]
    return all(each.opcode in ("copy", "parameter", "bitcast") for each in (inner or [operation]))


def padded_part(named: dict[str, list[Operation]]) -> float:
    """Of the compiler's cycles, the part in operations whose largest result fills less than half of its tiles."""
    inner = {name for body in named.values() for each in body for name in each.calls.get("calls", ())}
    each = [(operation.cycles, filled(operation.type)) for name in named.keys() - inner for operation in named[name]]
    return sum(cycles for cycles, part in each if part < 0.5) / max(1, sum(cycles for cycles, _ in each))


def filled(result: str) -> float:
    """The part of the tiles of a result's largest array that it fills; 1 without tiles."""
    arrays = re.findall(r"[a-z]+\d*\[([\d,]+)\]\{([\d,]+):T\((\d+),(\d+)\)", result)
    parts = []
    for dims, order, rows, lanes in arrays:
        sizes, minor = [int(size) for size in dims.split(",")], [int(axis) for axis in order.split(",")]
        last = [sizes[axis] for axis in minor[:2]]
        tiles = [-(-size // tile) * tile for size, tile in zip(last, (int(lanes), int(rows)), strict=False)]
        parts.append((math.prod(sizes), math.prod(last) / math.prod(tiles)))
    return max(parts, default=(0, 1.0))[1]
