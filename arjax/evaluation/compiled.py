"""The seconds of a compiled program, as XLA's compiler for TPUs estimates them, without a TPU; and its collectives.

The compiler writes the cycles that it expects into the text of a program, behind each operation. A loop counts as often
as it runs, a branch as its dearest. What has no cycles is counted here: a collective by its bytes and the links between
devices, a kernel of one's own (custom call) and other operations by the bytes of memory that they read and write.
"""

from __future__ import annotations

import collections
import dataclasses
import functools
import math
import re
from typing import NamedTuple

from arjax.evaluation.flops import module_of
from arjax.parallel.accelerators import Accelerator

#: Bytes of a number of each type; of a type that is not here, such as a token, none.
_BYTES = {"pred": 1, "s8": 1, "u8": 1, "s16": 2, "u16": 2, "bf16": 2, "f16": 2, "s32": 4, "u32": 4, "f32": 4, "s64": 8}
#: Passes of its bytes over a link in a ring of devices: a reduction goes round twice, others once.
COLLECTIVES = {"all-gather": 1, "all-reduce": 2, "reduce-scatter": 1, "collective-permute": 1, "all-to-all": 1}
#: Operations that do no work of their own.
_FREE = ("parameter", "constant", "get-tuple-element", "tuple", "bitcast", "partition-id", "after-all", "iota")
#: Bytes of numbers that take part in no work but that of counting.
_SCALAR = 8
#: The part of the bandwidth or of the peak that a kernel is expected to reach where nobody has said its cycles.
KERNEL = 0.6


class Operation(NamedTuple):
    """One line of a program.

    Attributes:
      name, opcode: such as `fusion.3` and `fusion`.
      type: of its result, such as `bf16[8,128]{1,0}`.
      operands: names of the operations that it reads.
      calls: names of the computations that it runs, by the attribute that names them.
      cycles: of the compiler; 0 where it says none.
      path: of the JAX program, `jit(step)/jvp(Transformer)/layers/attention/...`.
    """

    name: str
    opcode: str
    type: str
    operands: tuple[str, ...]
    calls: dict[str, list[str]]
    cycles: int
    path: str
    text: str


class Part(NamedTuple):
    """The seconds of a step that one kind of operation takes in one module.

    Attributes:
      module: its path in the network, as in the mode `plan`; "other" outside of it.
      what: the operation of JAX, `dot_general`, or the kind of a collective.
      phase: "forward", "backward", or "again" for what is recomputed for a gradient.
    """

    module: str
    what: str
    phase: str
    seconds: float


class Collective(NamedTuple):
    """Collectives of one kind in a step: how many runs, the bytes of their results on a device, seconds on the links,
    the seconds of these that no other work covers, and whether they stand in a loop.
    """

    kind: str
    in_loop: bool
    runs: int
    bytes: float
    seconds: float
    uncovered: float


@dataclasses.dataclass(frozen=True)
class Estimate:
    """The compiler's estimate of a program on one device of a slice.

    Attributes:
      seconds: of a step.
      parts: of these, the slowest first.
      collectives: by kind and place, the slowest first.
      unknown_loops: loops whose length is not in the program; each counts as one round.
    """

    seconds: float
    parts: list[Part]
    collectives: list[Collective]
    unknown_loops: int


#: The mark of a kernel that was written for the device, among the compiler's own custom calls.
_KERNEL = "tpu_custom_call"
#: Products of JAX's kernels of attention, forward and backward, each of 2 H FLOPs for half of the pairs of tokens.
_ATTENTION = {"splash_mha_fwd": 2, "splash_mha_dkv": 5}
_LINE = re.compile(r"\s*(?:ROOT )?%([\w.-]+) = ")
_CALLS = re.compile(r"\b(calls|to_apply|body|condition|branch_computations|\w+_computation)=(\{[^}]*\}|%[\w.-]+)")
#: Steps of the path of an operation that are no modules: control flow, and functions that are compiled by themselves.
_CONTROL = r"(while|body|cond|branch_\d+_fun|eval_jaxpr|checkpoint|closed_call|custom_vjp_call|jit\(\w+\))/"
_NAME = re.compile(r"%([\w.-]+)")


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
    return Operation(name, opcode, result, tuple(_NAME.findall(inner)), calls, *numbers, rest)


def _closing(text: str, begin: int) -> int:
    """The place after the bracket that closes the one at `begin`."""
    depth = 0
    for i in range(begin, len(text)):
        depth += (text[i] == "(") - (text[i] == ")")
        if depth == 0:
            return i + 1
    raise ValueError(f"an open bracket in a compiled program: {text[begin : begin + 80]}")


def size_of(result: str) -> int:
    """The bytes of a type, or of all in a tuple."""
    arrays = re.findall(r"\b([a-z]+\d*)\[([\d,]*)\]", result)
    return sum(_BYTES.get(kind, 0) * math.prod(map(int, filter(None, dims.split(",")))) for kind, dims in arrays)


def estimate(text: str, accelerator: Accelerator) -> Estimate:
    """The seconds of a compiled program, given as its text, on one device. The compiler for GPUs estimates no cycles:
    there, these are the seconds of the collectives alone.
    """
    named, entry = computations(text)
    program = _Program(named, accelerator)
    seconds = program.run(entry, 1, False)
    parts = [Part(*place, seconds) for place, seconds in program.parts.items()]
    collectives = [Collective(*place, int(runs), *sums) for place, (runs, *sums) in program.collectives.items()]
    slowest = functools.partial(sorted, key=lambda each: -each.seconds)
    return Estimate(seconds, slowest(parts), slowest(collectives), program.unknown_loops)


def _place(operation: Operation, collective: str) -> tuple[str, str, str]:
    """Module, operation and phase."""
    path = operation.path.partition("/")[2]  # without the function that was compiled
    phase = "again" if "rematted_computation" in path else "backward" if "transpose(" in path else "forward"
    scope, _, primitive = re.sub(_CONTROL, "", path).rpartition("/")
    return module_of(scope), collective or primitive or operation.opcode, phase


def _flops(kernel: Operation) -> float:
    """FLOPs of a kernel of causal attention, of queries [B, N, T, H]; 0 of others."""
    products = sum(num for name, num in _ATTENTION.items() if kernel.name.startswith(name))
    sizes = [tuple(map(int, dims.split(","))) for dims in re.findall(r"bf16\[(\d+,\d+,\d+,\d+)\]", kernel.type)]
    return products * max((math.prod(size) * size[2] for size in sizes), default=0)


class _Program:
    """Walks through a program in the order of its schedule, with a clock of the device and one of its links."""

    def __init__(self, named: dict[str, list[Operation]], accelerator: Accelerator):
        self.named, self.accelerator = named, accelerator
        self.parts: dict[tuple[str, str, str], float] = collections.defaultdict(float)
        #: Runs, bytes, seconds and uncovered seconds by kind and whether they stand in a loop.
        self.collectives: dict[tuple[str, bool], list[float]] = collections.defaultdict(lambda: [0.0] * 4)
        self.unknown_loops = 0

    def run(self, name: str, times: int, in_loop: bool) -> float:
        """The seconds of one of the `times` runs of a computation in a step."""
        now = links = 0.0
        ends: dict[str, float] = {}  # of the collectives that have started
        places = {operation.name: operation for operation in self.named[name]}
        for operation in places.values():
            begin, collective = now, self._collective(operation)
            if start := self._started_by(operation, places):
                now = max(now, ends[start])
                collective = self._collective(places[start])
                self._add(collective, in_loop, 0, 0, 0, times * (now - begin))
            elif collective:
                moved, seconds = self._on_links(operation)
                links = ends[operation.name] = max(now, links) + seconds
                now = now if self._starts(operation) else links
                self._add(collective, in_loop, times, times * moved, times * seconds, times * (now - begin))
            else:
                now += self._seconds(operation, places, times, in_loop)
            if now > begin and operation.opcode not in ("while", "conditional", "call"):
                self.parts[_place(places[start or operation.name], collective)] += times * (now - begin)
        return now

    def _add(self, kind: str, in_loop: bool, *more: float) -> None:
        self.collectives[kind, in_loop] = [a + b for a, b in zip(self.collectives[kind, in_loop], more, strict=True)]

    def _seconds(self, operation: Operation, places: dict[str, Operation], times: int, in_loop: bool) -> float:
        """The seconds of one run of an operation that is no collective."""
        match operation.opcode:
            case "while":
                trips, ran = self._trips(operation), operation.calls["body"] + operation.calls["condition"]
                return trips * sum(self.run(name, times * trips, True) for name in ran)
            case "conditional":
                return self._dearest([name for names in operation.calls.values() for name in names], times, in_loop)
            case "call":
                return sum(self.run(name, times, in_loop) for name in operation.calls["to_apply"])
        if not self.accelerator.clock:
            return 0.0
        if operation.cycles:
            return operation.cycles / self.accelerator.clock
        beside = operation.opcode.endswith(("-start", "-done"))  # copies, which run beside other work
        if operation.opcode in _FREE or beside or size_of(operation.type) <= _SCALAR:
            return 0.0
        if operation.opcode == "custom-call" and _KERNEL not in operation.text:
            return 0.0  # of the compiler itself: views and buffers
        read = sum(size_of(places[name].type) for name in operation.operands if name in places)
        return max(self.accelerator.seconds(_flops(operation), read + size_of(operation.type))) / KERNEL

    def _dearest(self, branches: list[str], times: int, in_loop: bool) -> float:
        """The seconds of the branch that takes longest; the others count for nothing."""
        alone = [_Program(self.named, self.accelerator) for _ in branches]
        seconds = [program.run(name, times, in_loop) for program, name in zip(alone, branches, strict=True)]
        chosen = alone[seconds.index(max(seconds))]
        for place, part in chosen.parts.items():
            self.parts[place] += part
        for (kind, inside), sums in chosen.collectives.items():
            self._add(kind, inside, *sums)
        self.unknown_loops += chosen.unknown_loops
        return max(seconds)

    def _trips(self, loop: Operation) -> int:
        """How often a loop runs: the constant with which its condition compares."""
        condition = self.named[loop.calls["condition"][0]]
        inner = [each for operation in condition for each in self._inner(operation)]
        matches = [re.match(r"constant\((\d+)\)", each.text) for each in (*condition, *inner)]
        limits = [int(limit[1]) for limit in matches if limit]
        if len(limits) != 1:
            self.unknown_loops += 1
        return limits[0] if len(limits) == 1 else 1

    def _inner(self, operation: Operation) -> list[Operation]:
        return [each for name in operation.calls.get("calls", ()) for each in self.named.get(name, ())]

    def _targets(self, operation: Operation) -> str:
        return " ".join(each.text for each in (operation, *self._inner(operation)) if each.opcode == "custom-call")

    def _starts(self, operation: Operation) -> bool:
        """Whether a collective runs beside the operations after it, until one that is done with it."""
        return operation.opcode.endswith("-start") or "AsyncCollectiveStart" in self._targets(operation)

    def _collective(self, operation: Operation) -> str:
        """The kind of a collective that begins here; "" of others, also of those that go on with one."""
        for each in (operation, *self._inner(operation)):
            kind = each.opcode.removesuffix("-start")
            if kind in COLLECTIVES:
                inside = each is not operation
                going_on = inside and "async_collective" in "".join(operation.calls["calls"])
                if not going_on or self._starts(operation):
                    scattered = inside and operation.calls["calls"][0].startswith("all-reduce-scatter")
                    return "reduce-scatter" if scattered else kind
        return ""

    def _started_by(self, operation: Operation, places: dict[str, Operation]) -> str:
        """The name of the collective that is done here, if any."""
        done = operation.opcode.endswith("-done") or "AsyncCollectiveDone" in self._targets(operation)
        pending = list(operation.operands) if done else []
        while pending:
            before = places.get(pending.pop())
            if before is None:
                continue
            if self._starts(before) and self._collective(before):
                return before.name
            if before.opcode in ("get-tuple-element", "fusion", "bitcast"):
                pending += before.operands
        return ""

    def _on_links(self, operation: Operation) -> tuple[float, float]:
        """The bytes of a collective on a device, and the seconds that the links take for them, both ways in a ring."""
        each = next(e for e in (operation, *self._inner(operation)) if e.opcode.removesuffix("-start") in COLLECTIVES)
        kind = self._collective(operation)
        parts = [size_of(part) for part in re.findall(r"\w+\[[\d,]*\]", each.type)]
        moved = max(parts) if each.opcode.endswith("-start") else sum(parts)  # a start also has its operand
        ways = 1 if kind == "collective-permute" else 2
        return moved, COLLECTIVES[kind] * moved / (ways * self.accelerator.link)
