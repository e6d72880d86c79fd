"""The seconds of a compiled program, as XLA's compiler for TPUs estimates them, without a TPU; and its collectives.

The compiler writes the cycles that it expects into the text of a program, behind each operation. A loop counts as often
as it runs, a branch as its dearest. What has no cycles is counted here: a collective by its bytes and the links between
devices, a kernel of one's own (custom call) and other operations by the bytes of memory that they read and write.
"""

from __future__ import annotations

import collections
import dataclasses
import math
import re

import numpy as np

from arjax.evaluation.flops import module_of
from arjax.evaluation.hlo import FREE, Operation, computations, memory_of, size_of, traffic
from arjax.parallel.accelerators import Accelerator

#: Passes of its bytes over a link in a ring of devices: a reduction goes round twice, others once.
COLLECTIVES = {"all-gather": 1, "all-reduce": 2, "reduce-scatter": 1, "collective-permute": 1, "all-to-all": 1}
#: Bytes of numbers that take part in no work but that of counting.
_SCALAR = 8
#: The part of the bandwidth or of the peak that a kernel is expected to reach where nobody has said its cycles.
KERNEL = 0.6


@dataclasses.dataclass(frozen=True)
class Part:
    """The seconds of a step that one kind of operation takes in one module, and the bytes that it reads and writes in
    the memory of a device, see `arjax.evaluation.hlo`.

    Attributes:
      module: its path in the network, as in the mode `plan`; "other" outside of it.
      what: the operation of JAX, `dot_general`, or the kind of a collective.
      phase: "forward", "backward", or "again" for what is recomputed for a gradient.
    """

    module: str
    what: str
    phase: str
    seconds: float
    read: float
    written: float


@dataclasses.dataclass(frozen=True)
class Loop:
    """A loop that is in no other one: its rounds, and of one round the seconds, the parts, the slowest first, and the
    bytes of the state that it hands on, such as a cache.
    """

    rounds: int
    seconds: float
    parts: list[Part]
    state: float


@dataclasses.dataclass(frozen=True)
class Collective:
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
      loops: in the order in which they run.
      unknown_loops: loops whose length is not in the program; each counts as one round.
    """

    seconds: float
    parts: list[Part]
    collectives: list[Collective]
    loops: list[Loop]
    unknown_loops: int


#: The mark of a kernel that was written for the device, among the compiler's own custom calls.
_KERNEL = "tpu_custom_call"
#: Products of JAX's kernels of attention, forward and backward, each of 2 H FLOPs for half of the pairs of tokens.
_ATTENTION = {"splash_mha_fwd": 2, "splash_mha_dkv": 5}
#: Steps of the path of an operation that are no modules: control flow, and functions that are compiled by themselves.
_CONTROL = r"(while|body|cond|branch_\d+_fun|eval_jaxpr|checkpoint|closed_call|custom_vjp_call|jit\(\w+\))/"


def estimate(text: str, accelerator: Accelerator) -> Estimate:
    """The seconds of a compiled program, given as its text, on one device. The compiler for GPUs estimates no cycles:
    there, these are the seconds of the collectives alone.
    """
    named, entry = computations(text)
    program = _Program(named, accelerator)
    seconds = program.run(entry, 1, False)
    collectives = [Collective(*place, int(runs), *sums) for place, (runs, *sums) in program.collectives.items()]
    collectives.sort(key=lambda each: -each.seconds)
    return Estimate(seconds, program.slowest(), collectives, program.loops, program.unknown_loops)


def _place(operation: Operation, collective: str) -> tuple[str, str, str]:
    """Module, operation and phase."""
    path = operation.path.partition("/")[2]  # without the function that was compiled
    phase = "again" if "rematted_computation" in path else "backward" if "transpose(" in path else "forward"
    scope, _, primitive = re.sub(_CONTROL, "", path).rpartition("/")
    return module_of(scope), collective or primitive or operation.opcode, phase


def _flops(kernel: Operation) -> float:
    """FLOPs of a kernel: of causal attention for queries [B, N, T, H], of others those that their call states, or 0."""
    products = sum(num for name, num in _ATTENTION.items() if kernel.name.startswith(name))
    if not products and (stated := re.search(r'"cost_estimate":\{"flops":"(\d+)"', kernel.text)):
        return int(stated[1])
    sizes = [tuple(map(int, dims.split(","))) for dims in re.findall(r"bf16\[(\d+,\d+,\d+,\d+)\]", kernel.type)]
    return products * max((math.prod(size) * size[2] for size in sizes), default=0)


class _Program:
    """Walks through a program in the order of its schedule, with a clock of the device and one of its links."""

    def __init__(self, named: dict[str, list[Operation]], accelerator: Accelerator):
        self.named, self.accelerator = named, accelerator
        #: Seconds, and bytes read and written.
        self.parts: dict[tuple[str, str, str], np.ndarray] = collections.defaultdict(lambda: np.zeros(3))
        self.loops: list[Loop] = []
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
            if operation.opcode not in ("while", "conditional", "call"):
                cost = np.array([now - begin, *traffic(operation, places, self.named)])
                if cost.any():
                    self.parts[_place(places[start or operation.name], collective)] += times * cost
        return now

    def slowest(self) -> list[Part]:
        """The parts, those that take longest, or move most, first."""
        parts = [Part(*place, *cost.tolist()) for place, cost in self.parts.items()]
        return sorted(parts, key=lambda part: (-part.seconds, -part.read - part.written))

    def _add(self, kind: str, in_loop: bool, *more: float) -> None:
        self.collectives[kind, in_loop] = [a + b for a, b in zip(self.collectives[kind, in_loop], more, strict=True)]

    def _seconds(self, operation: Operation, places: dict[str, Operation], times: int, in_loop: bool) -> float:
        """The seconds of one run of an operation that is no collective."""
        match operation.opcode:
            case "while":
                trips, ran = self._trips(operation), operation.calls["body"] + operation.calls["condition"]
                if in_loop:
                    return trips * sum(self.run(name, times * trips, True) for name in ran)
                loop = _Program(self.named, self.accelerator)
                seconds = sum(loop.run(name, 1, True) for name in ran)
                self.loops.append(Loop(trips, seconds, loop.slowest(), self._state(operation)))
                self._take(loop, times * trips)
                return trips * seconds
            case "conditional":
                return self._dearest([name for names in operation.calls.values() for name in names], times, in_loop)
            case "call":
                return sum(self.run(name, times, in_loop) for name in operation.calls["to_apply"])
        if not self.accelerator.clock:
            return 0.0
        if operation.cycles:
            return operation.cycles / self.accelerator.clock
        beside = operation.opcode.endswith(("-start", "-done"))  # copies, which run beside other work
        if operation.opcode in FREE or beside or size_of(operation.type) <= _SCALAR:
            return 0.0
        if operation.opcode == "custom-call" and _KERNEL not in operation.text:
            return 0.0  # of the compiler itself: views and buffers
        read = sum(size_of(places[name].type) for name in operation.operands if name in places)
        return max(self.accelerator.seconds(_flops(operation), read + size_of(operation.type))) / KERNEL

    def _dearest(self, branches: list[str], times: int, in_loop: bool) -> float:
        """The seconds of the branch that takes longest; the others count for nothing."""
        alone = [_Program(self.named, self.accelerator) for _ in branches]
        seconds = [program.run(name, times, in_loop) for program, name in zip(alone, branches, strict=True)]
        self._take(alone[seconds.index(max(seconds))], 1)
        return max(seconds)

    def _take(self, other: _Program, times: int) -> None:
        """Adds the costs of a part of the program that runs so many times."""
        for place, cost in other.parts.items():
            self.parts[place] += times * cost
        for (kind, inside), sums in other.collectives.items():
            self._add(kind, inside, *(times * each for each in sums))
        self.unknown_loops += other.unknown_loops

    def _state(self, loop: Operation) -> float:
        """The bytes that a loop hands on changed from round to round."""
        body = self.named[loop.calls["body"][0]]
        places = {each.name: each for each in body}
        root = next(each for each in body if each.is_root)
        given = (places[name] for name in root.operands)
        return sum(memory_of(each.type) for each in given if each.opcode != "get-tuple-element")

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
