"""Functions of arrays as programs that a browser runs: a jaxpr, a list of primitive operations on arrays of known
shapes, which `translate` writes as JSON and `static/engine.js` interprets. Both have the same closed list of
operations, `OPERATIONS`, so no network is written a second time, and one that needs another operation is refused by
name.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax.extend import core

from arjax.core.errors import UserError, refuse

#: The fields of an operation that are written, from the parameters of its primitive.
Fields = Callable[[Mapping[str, Any]], dict[str, Any]]
#: One operation: its name, its fields, its operands, and the numbers of its results with their types and shapes.
Operation = list[Any]
#: An operand: the number of an array, or a scalar as [text, type].
Operand = int | list[str]

#: The element types of a page.
TYPES = {"float32": "f", "int32": "i", "uint32": "u", "bool": "b"}
#: Elementwise operations: all operands have one shape, or are scalars.
ELEMENTWISE = (
    *("abs", "add", "and", "ceil", "clamp", "cos", "div", "eq", "exp", "exp2", "expm1", "floor", "ge", "gt"),
    *("is_finite", "le", "log", "log1p", "logistic", "lt", "max", "min", "mul", "ne", "neg", "not", "or", "pow", "rem"),
    *("rsqrt", "select_n", "sign", "sin", "sqrt", "square", "sub", "tanh", "xor", "convert_element_type"),
)
REDUCTIONS = (*(f"reduce_{name}" for name in ("sum", "max", "min", "prod", "and", "or")), "argmax", "argmin")
#: Operations whose result is their first operand, where there is no gradient and one device.
SAME = ("stop_gradient", "copy", "copy_p", "optimization_barrier", "sharding_constraint")
#: Calls of another jaxpr, which is written in their place: the name of the field that holds it.
CALLS = {
    **dict.fromkeys(("jit", "pjit", "remat2", "checkpoint", "remat", "bilinear_product"), "jaxpr"),
    **dict.fromkeys(("custom_jvp_call", "custom_vjp_call", "closed_call", "core_call"), "call_jaxpr"),
}


def _gather_fields(params: Mapping[str, Any]) -> dict[str, Any]:
    numbers = params["dimension_numbers"]
    return {
        "offset": numbers.offset_dims,
        "collapsed": numbers.collapsed_slice_dims,
        "start": numbers.start_index_map,
        "batch": numbers.operand_batching_dims,
        "indices_batch": numbers.start_indices_batching_dims,
        "sizes": params["slice_sizes"],
        "fill": "FILL" in str(params["mode"]),
    }


def _convolution_fields(params: Mapping[str, Any]) -> dict[str, Any]:
    numbers = params["dimension_numbers"]
    refuse((params["batch_group_count"] != 1, "a page does not compute convolutions in groups of examples"))
    return {
        "x": numbers.lhs_spec,
        "kernel": numbers.rhs_spec,
        "result": numbers.out_spec,
        "stride": params["window_strides"],
        "low": [low for low, _ in params["padding"]],
        "spread": params["lhs_dilation"],
        "dilation": params["rhs_dilation"],
        "groups": params["feature_group_count"],
    }


def _scatter_fields(equation: Any) -> dict[str, Any]:
    params = equation.params
    numbers, (x, _, updates) = params["dimension_numbers"], (atom.aval.shape for atom in equation.invars)
    collapsed, batch = numbers.inserted_window_dims, numbers.operand_batching_dims
    sizes = iter(updates[axis] for axis in numbers.update_window_dims)
    return {
        "offset": numbers.update_window_dims,
        "collapsed": collapsed,
        "start": numbers.scatter_dims_to_operand_dims,
        "batch": batch,
        "indices_batch": numbers.scatter_indices_batching_dims,
        "sizes": [1 if axis in (*collapsed, *batch) else next(sizes) for axis in range(len(x))],
        "clip": "CLIP" in str(params["mode"]),
    }


def _scan_fields(params: Mapping[str, Any]) -> dict[str, Any]:
    if "ft_in" in params:  # from jax 0.12 on: the trees of the constants, the carry and the scanned arrays
        consts, carry, _ = (len(list(tree.vals)) for tree in params["ft_in"].unpack())
    else:
        consts, carry = params["num_consts"], params["num_carry"]
    numbers = {"consts": consts, "carry": carry}
    return numbers | {"length": params["length"], "reverse": params["reverse"]}


def _nothing(params: Mapping[str, Any]) -> dict[str, Any]:
    return {}


OPERATIONS: dict[str, Fields] = {
    **dict.fromkeys(ELEMENTWISE, _nothing),
    **dict.fromkeys(REDUCTIONS, lambda p: {"axes": p["axes"]}),
    **dict.fromkeys(("cumsum", "cumprod", "cummax", "cummin"), lambda p: {"axis": p["axis"], "reverse": p["reverse"]}),
    "broadcast_in_dim": lambda p: {"dims": p["broadcast_dimensions"]},
    "concatenate": lambda p: {"axis": p["dimension"]},
    "conv_general_dilated": _convolution_fields,
    "dot_general": lambda p: {"contract": p["dimension_numbers"][0], "batch": p["dimension_numbers"][1]},
    "dynamic_slice": _nothing,
    "dynamic_update_slice": _nothing,
    "gather": _gather_fields,
    "integer_pow": lambda p: {"power": p["y"]},
    "iota": lambda p: {"axis": p["dimension"]},
    "pad": lambda p: {
        "low": [low for low, _, _ in p["padding_config"]],
        "step": [between + 1 for *_, between in p["padding_config"]],
    },
    "reshape": _nothing,
    "round": lambda p: {"even": "EVEN" in p["rounding_method"].name},
    "rev": lambda p: {"axes": p["dimensions"]},
    "slice": lambda p: {"start": p["start_indices"], "step": p["strides"] or [1] * len(p["start_indices"])},
    "transpose": lambda p: {"dims": p["permutation"]},
    # Their fields depend on the shapes of their operands.
    **dict.fromkeys(("scatter", "scatter-add"), _nothing),
    # Loops and branches, whose programs `_Writer.add` writes.
    "cond": _nothing,
    "scan": _scan_fields,
    "while": lambda p: {"test_consts": p["cond_nconsts"], "body_consts": p["body_nconsts"]},
}


class Arrays:
    """The arrays of a page, each once, float32, int32, uint32 or bool."""

    def __init__(self) -> None:
        self.arrays: list[np.ndarray] = []
        self._numbers: dict[int, tuple[int, Any]] = {}  # by the identity of the object, which stays alive here

    def add(self, array: Any) -> int:
        if id(array) not in self._numbers:
            self.arrays.append(np.asarray(array))
            _type_of(self.arrays[-1])
            self._numbers[id(array)] = len(self.arrays) - 1, array
        return self._numbers[id(array)][0]


#: A function of arrays, as `engine.js` reads it: `inputs`, the number, type and shape of each argument; `arrays`, pairs
#: of the number of an array in the program and its place among the `Arrays` of the page; `once`, operations on these
#: arrays alone, which a page runs when it opens; `steps`, the others; and `outputs`, the operands that are returned.
Program = dict[str, Any]


def translate(function: Callable[..., Any], arrays: Arrays, weights: Any, *arguments: Any) -> Program:
    """Returns the program of `function(weights, *arguments)`, which returns a pytree of arrays. `arrays` gets the
    leaves of `weights`, a pytree of `numbered` arrays, and the constants of the function. The leaves of `arguments`,
    arrays of the shapes and types that the page passes, are the inputs.
    """
    leaves, tree = jax.tree.flatten(weights, is_leaf=lambda leaf: isinstance(leaf, Numbered))
    closed = jax.make_jaxpr(lambda leaves, *args: function(jax.tree.unflatten(tree, leaves), *args))(
        [jax.ShapeDtypeStruct(leaf.array.shape, leaf.array.dtype) for leaf in leaves], *arguments
    )
    writer = _Writer(arrays)
    inputs = closed.jaxpr.invars
    for variable, leaf in zip(inputs[: len(leaves)], leaves, strict=True):
        writer.hold(variable, leaf.number)
    return writer.write(closed, inputs[len(leaves) :])


@dataclasses.dataclass(frozen=True)
class Numbered:
    """An array and its number in `Arrays`."""

    array: np.ndarray
    number: int


def numbered(arrays: Arrays, tree: Any) -> Any:
    """A pytree of arrays with the number of each, for several programs that share them."""
    return jax.tree.map(lambda leaf: Numbered(np.asarray(leaf), arrays.add(leaf)), tree)


class _Writer:
    """Writes one program; the programs in loops and branches have other writers."""

    def __init__(self, arrays: Arrays):
        self.arrays, self.count = arrays, 0
        self.operands: dict[Any, Operand] = {}
        self.held: list[list[int]] = []
        self.operations: list[Operation] = []

    def number(self, variable: Any) -> int:
        self.operands[variable] = self.count
        self.count += 1
        return self.count - 1

    def hold(self, variable: Any, number: int) -> None:
        self.held.append([self.number(variable), number])

    def operand(self, atom: Any) -> Operand:
        if isinstance(atom, core.Literal):
            value = np.asarray(atom.val)
            return [_text(value), _type_of(atom.aval)]
        return self.operands[atom]

    def write(self, closed: Any, inputs: Iterable[Any]) -> Program:
        written = [[self.number(variable), *_form(variable.aval)] for variable in inputs]
        self.constants(closed)
        self.inline(closed.jaxpr)
        outputs = [self.operand(atom) for atom in closed.jaxpr.outvars]
        once, steps = _parted(_needed(self.operations, outputs), {number for number, _ in self.held})
        read = {operand for operation in [*once, *steps] for operand in _numbers(operation[2])} | set(_numbers(outputs))
        held = [pair for pair in self.held if pair[0] in read]
        program = {"inputs": written, "arrays": held, "once": once, "steps": steps, "outputs": outputs}
        return _plain(program)

    def constants(self, closed: Any) -> None:
        for variable, value in zip(closed.jaxpr.constvars, closed.consts, strict=True):
            self.hold(variable, self.arrays.add(value))

    def inline(self, jaxpr: Any) -> None:
        for equation in jaxpr.eqns:
            self.add(equation)

    def call(self, equation: Any, inner: Any) -> None:
        if isinstance(inner, core.ClosedJaxpr):
            self.constants(inner)
            inner = inner.jaxpr
        for variable, atom in zip(inner.invars, equation.invars, strict=True):
            self.operands[variable] = self.operand(atom)
        self.inline(inner)
        for variable, atom in zip(equation.outvars, inner.outvars, strict=True):
            self.operands[variable] = self.operand(atom)

    def add(self, equation: Any) -> None:
        name, params = equation.primitive.name, equation.params
        if name in CALLS:
            self.call(equation, params[CALLS[name]])
        elif name in SAME:
            for variable, atom in zip(equation.outvars, equation.invars, strict=True):
                self.operands[variable] = self.operand(atom)
        elif name in ("split", "stack", "tile", "unstack"):  # written as others
            getattr(self, f"_{name}")(equation)
        elif name in ("reshape", "squeeze", "expand_dims"):
            self._append("reshape", {}, equation)
        elif name in ("scatter", "scatter-add"):
            self._append(name, _scatter_fields(equation), equation)
        elif name in OPERATIONS:
            self._append(name, OPERATIONS[name](params) | self._programs(name, params), equation)
        else:
            raise UserError(f"a page does not compute the operation {name!r} of JAX")

    def _emit(
        self, name: str, fields: dict[str, Any], operands: Sequence[Operand], aval: Any, variable: Any = None
    ) -> int:
        """Writes an operation with one result, of a variable or in between, and returns its number."""
        number = self.number(object() if variable is None else variable)
        self.operations.append([name, fields, list(operands), [[number, *_form(aval)]]])
        return number

    def _append(self, name: str, fields: dict[str, Any], equation: Any) -> None:
        like = equation.outvars[0].aval.shape if name in ELEMENTWISE else None
        operands = [self._shaped(atom, like) for atom in equation.invars]
        results = [[self.number(variable), *_form(variable.aval)] for variable in equation.outvars]
        self.operations.append([name, fields, operands, results])

    def _shaped(self, atom: Any, shape: tuple[int, ...] | None) -> Operand:
        """An operand, spread along the axes of length 1 in which it differs from a shape; scalars stay as they are."""
        operand, aval = self.operand(atom), atom.aval
        if shape is None or aval.size == 1 or aval.shape == shape:
            return operand
        return self._emit("broadcast_in_dim", {"dims": list(range(len(shape)))}, [operand], aval.update(shape=shape))

    def _slice(self, atom: Any, axis: int, start: int, aval: Any, variable: Any = None) -> int:
        """Writes the part of an array from `start` on along an axis, of the shape of `aval`."""
        rank = atom.aval.ndim
        fields = {"start": [start if i == axis else 0 for i in range(rank)], "step": [1] * rank}
        return self._emit("slice", fields, [self.operand(atom)], aval, variable)

    def _split(self, equation: Any) -> None:
        (atom,), axis, start = equation.invars, equation.params["axis"], 0
        for variable, size in zip(equation.outvars, equation.params["sizes"], strict=True):
            self._slice(atom, axis, start, variable.aval, variable)
            start += size

    def _unstack(self, equation: Any) -> None:
        """A slice of length 1 for each part, without its axis."""
        (atom,), axis = equation.invars, equation.params["axis"]
        shape = tuple(1 if i == axis else size for i, size in enumerate(atom.aval.shape))
        for place, variable in enumerate(equation.outvars):
            number = self._slice(atom, axis, place, atom.aval.update(shape=shape))
            self._emit("reshape", {}, [number], variable.aval, variable)

    def _tile(self, equation: Any) -> None:
        """Copies along new axes before those of the operand, which are then merged."""
        (atom,), (variable,), reps = equation.invars, equation.outvars, equation.params["reps"]
        shape = tuple(size for pair in zip(reps, atom.aval.shape, strict=True) for size in pair)
        fields = {"dims": list(range(1, len(shape), 2))}
        number = self._emit("broadcast_in_dim", fields, [self.operand(atom)], atom.aval.update(shape=shape))
        self._emit("reshape", {}, [number], variable.aval, variable)

    def _stack(self, equation: Any) -> None:
        """The operands with a new axis of length 1, one behind the other along it."""
        (variable,), axis, operands = equation.outvars, equation.params["axis"], []
        for atom in equation.invars:
            shape = (*atom.aval.shape[:axis], 1, *atom.aval.shape[axis:])
            operands.append(self._emit("reshape", {}, [self.operand(atom)], atom.aval.update(shape=shape)))
        self._emit("concatenate", {"axis": axis}, operands, variable.aval, variable)

    def _programs(self, name: str, params: Mapping[str, Any]) -> dict[str, Any]:
        if name == "scan":
            return {"body": self._inner(params["jaxpr"])}
        if name == "while":
            return {"test": self._inner(params["cond_jaxpr"]), "body": self._inner(params["body_jaxpr"])}
        if name == "cond":
            return {"branches": [self._inner(branch) for branch in params["branches"]]}
        return {}

    def _inner(self, closed: Any) -> dict[str, Any]:
        return _Writer(self.arrays).write(closed, closed.jaxpr.invars)


def _numbers(operands: Iterable[Operand]) -> list[int]:
    return [operand for operand in operands if isinstance(operand, int)]


def _needed(operations: list[Operation], outputs: list[Operand]) -> list[Operation]:
    needed, kept = set(_numbers(outputs)), []
    for operation in reversed(operations):
        _, _, operands, results = operation
        if any(number in needed for number, *_ in results):
            needed.update(_numbers(operands))
            kept.append(operation)
    return kept[::-1]


def _parted(operations: list[Operation], known: set[int]) -> tuple[list[Operation], list[Operation]]:
    """The operations that read known arrays alone, and the others."""
    once: list[Operation] = []
    steps: list[Operation] = []
    for operation in operations:
        _, _, operands, results = operation
        fixed = all(number in known for number in _numbers(operands))
        (once if fixed else steps).append(operation)
        if fixed:
            known = known | {number for number, *_ in results}
    return once, steps


def _plain(value: Any) -> Any:
    """Lists and dicts of numbers and texts of Python, in place of tuples and whole numbers of numpy."""
    if isinstance(value, dict):
        return {key: _plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    return int(value) if isinstance(value, np.integer) else value


def _text(value: np.ndarray) -> str:
    """A scalar as the text of a number in JavaScript."""
    number = value.item()
    if isinstance(number, float) and not math.isfinite(number):
        return "NaN" if math.isnan(number) else "Infinity" if number > 0 else "-Infinity"
    return repr(float(number)) if isinstance(number, float) else str(int(number))


def _type_of(array: Any) -> str:
    name = str(array.dtype)
    refuse((name not in TYPES, f"a page computes with float32, int32, uint32 and bool, not with {name}"))
    return TYPES[name]


def _form(aval: Any) -> list[Any]:
    return [_type_of(aval), list(aval.shape)]
