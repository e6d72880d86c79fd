"""The places of a Python file where one thing can be made wrong, and what stands there instead.

A place is one node of the syntax tree and one operator: an operation, a comparison, a condition, a constant, an
argument, a bound of a slice, a line. Strings, annotations, names of types, decorators, imports and everything about a
`raise` stay as they are, and so does the order of arguments that may change places.
"""

from __future__ import annotations

import ast
import copy
import dataclasses
import itertools

_ARITHMETIC = {
    **{ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.FloorDiv: ast.Mult},
    **{ast.Mod: ast.FloorDiv, ast.Pow: ast.Mult, ast.MatMult: ast.Mult, ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd},
    **{ast.BitXor: ast.BitAnd, ast.LShift: ast.RShift, ast.RShift: ast.LShift},
}
_COMPARISONS = {
    ast.Lt: (ast.LtE, ast.Gt),
    ast.LtE: (ast.Lt, ast.GtE),
    ast.Gt: (ast.GtE, ast.Lt),
    ast.GtE: (ast.Gt, ast.LtE),
    **{ast.Eq: (ast.NotEq,), ast.NotEq: (ast.Eq,), ast.Is: (ast.IsNot,), ast.IsNot: (ast.Is,)},
    **{ast.In: (ast.NotIn,), ast.NotIn: (ast.In,)},
}
#: Calls whose arguments are no computation: a wrong one is an exception at once, or a message.
_LEFT_ALONE = ("isinstance", "issubclass", "hasattr", "getattr", "print", "warn", "register", "TypeVar")
#: Calls whose arguments may all change places, and those of which the first two may.
_COMMUTATIVE = {
    *("min", "max", "gcd", "lcm", "union", "intersection", "broadcast_shapes", "broadcast_arrays", "result_type"),
    *("promote_types",),
}
_COMMUTATIVE_PAIR = {
    *("minimum", "maximum", "fmin", "fmax", "logaddexp", "logaddexp2", "add", "multiply", "hypot"),
    *("equal", "not_equal", "array_equal", "allclose", "isclose", "logical_and", "logical_or", "logical_xor"),
    *("bitwise_and", "bitwise_or", "bitwise_xor", "intersect1d", "union1d"),
}
#: Arguments without which the numbers are the same: `zip` checks lengths, and XLA a recomputation that needs no check.
_SAME_NUMBERS = {"strict", "prevent_cse"}
_FACTOR = 1.01
#: Names of classes and modules that say nothing of what the code does: what it exports, sizes of models for the tests.
_NO_BEHAVIOUR = {"__all__", "SMALL", "_SMALL", "EXAMPLES"}


@dataclasses.dataclass(frozen=True)
class Place:
    """A node that can be made wrong by one operator.

    Attributes:
      where: the function or class around it, as in `Class.method`, or "".
      operator: the kind of change.
      span: (line, column, last line, column behind the end) of the text that is replaced; columns count bytes.
      statement: first and last line of the innermost statement, of a compound one its head.
      instead: the texts that may stand there.
    """

    where: str
    operator: str
    span: tuple[int, int, int, int]
    statement: tuple[int, int]
    instead: tuple[str, ...]


def places(source: str) -> list[Place]:
    """All places of a file, from its beginning to its end."""
    found = _Places()
    found.visit(ast.parse(source))
    return found.places


def put_in(source: str, span: tuple[int, int, int, int], text: str) -> str:
    """The file with another text in a place."""
    lines = source.encode().splitlines(keepends=True)
    first, start, last, end = span
    before = b"".join(lines[: first - 1]) + lines[first - 1][:start]
    return (before + text.encode() + lines[last - 1][end:] + b"".join(lines[last:])).decode()


def span_of(node: ast.AST) -> tuple[int, int, int, int]:
    """Where the text of a node stands."""
    return node.lineno, node.col_offset, node.end_lineno, node.end_col_offset


def _with(node: ast.AST, **fields) -> str:
    """The text of a node in which some fields are others."""
    changed = copy.copy(node)
    for name, value in fields.items():
        setattr(changed, name, value)
    return ast.unparse(changed)


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Constant) and isinstance(node.value, str | bytes))


def _is_plain(node: ast.AST) -> bool:
    """Whether an argument is one value that is no text."""
    return not isinstance(node, ast.Starred) and not _is_text(node)


def _called(node: ast.Call) -> str:
    """The last part of the name of a called function."""
    return node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")


def _without(values: list, i: int) -> list:
    return [value for j, value in enumerate(values) if j != i]


class _Places(ast.NodeVisitor):
    """Walks through a file, and knows the function and the statement that it is in."""

    def __init__(self):
        self.places = []
        self._names, self._statement, self._bound, self._left_alone = [], (0, 0), [set()], set()

    def _add(self, operator: str, node: ast.AST, texts, bare: bool = False) -> None:
        """Adds a place; expressions are put into brackets, which keep what binds together."""
        texts = tuple(text if bare else f"({text})" for text in texts)
        if texts:
            self.places.append(Place(".".join(self._names), operator, span_of(node), self._statement, texts))

    def visit(self, node: ast.AST) -> None:
        if isinstance(node, ast.stmt):
            outer, self._statement = self._statement, (node.lineno, _end_of_head(node))
            self._lines(node)
            super().visit(node)
            self._statement = outer
        else:
            super().visit(node)

    def _lines(self, node: ast.stmt) -> None:
        """Statements that can be left out: calls, changes of what is there already, exits of loops."""
        targets = node.targets if isinstance(node, ast.Assign) else []
        again = any(isinstance(t, ast.Attribute | ast.Subscript) or _name(t) in self._bound[-1] for t in targets)
        called = isinstance(node, ast.Expr) and isinstance(node.value, ast.Call) and not _is_left_alone(node.value)
        if called or again or isinstance(node, ast.AugAssign | ast.Continue | ast.Break):
            self._add("line", node, ["pass"], bare=True)
        self._bound[-1] |= {_name(t) for t in targets} - {""}

    def _enter(self, node) -> None:
        arguments = node.args if isinstance(node, ast.FunctionDef) else None
        if arguments:
            for default in (*arguments.defaults, *filter(None, arguments.kw_defaults)):
                self.visit(default)
        names = [*arguments.args, *arguments.kwonlyargs] if arguments else []
        self._names.append(node.name)
        self._bound.append({name.arg for name in names})
        for child in node.body:
            self.visit(child)
        self._names.pop()
        self._bound.pop()

    visit_FunctionDef = visit_ClassDef = _enter

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        if node.value is not None:
            self.visit(node.value)

    def _skip(self, node) -> None:
        """Nothing in here is made wrong."""

    visit_Raise = visit_Assert = visit_Import = visit_ImportFrom = visit_JoinedStr = _skip

    def visit_Assign(self, node: ast.Assign) -> None:
        is_type = not self._names and _is_type(node.value)
        if not is_type and not _NO_BEHAVIOUR & set(map(_name, node.targets)):
            self.generic_visit(node)

    def visit_keyword(self, node: ast.keyword) -> None:
        if node.arg not in _SAME_NUMBERS:
            self.generic_visit(node)

    def visit_Return(self, node: ast.Return) -> None:
        call = node.value
        if isinstance(call, ast.Call) and call.args and _is_plain(call.args[0]):
            self._add("returned call", call, [ast.unparse(call.args[0])])
        self.generic_visit(node)

    def visit_BinOp(self, node: ast.BinOp) -> None:
        if not _is_text(node.left) and not _is_text(node.right):
            swapped = _with(node, op=_ARITHMETIC[type(node.op)]())
            self._add("arithmetic", node, [swapped, ast.unparse(node.left), ast.unparse(node.right)])
        self.generic_visit(node)

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        self._add("arithmetic", node, [_with(node, op=_ARITHMETIC[type(node.op)]())], bare=True)
        self.generic_visit(node)

    def visit_UnaryOp(self, node: ast.UnaryOp) -> None:
        self._add("sign or not", node, [ast.unparse(node.operand)])
        self.generic_visit(node)

    def visit_Compare(self, node: ast.Compare) -> None:
        texts = []
        for i, operator in enumerate(node.ops):
            for other in _COMPARISONS[type(operator)]:
                texts.append(_with(node, ops=[*node.ops[:i], other(), *node.ops[i + 1 :]]))
        self._add("comparison", node, texts)
        self.generic_visit(node)

    def visit_BoolOp(self, node: ast.BoolOp) -> None:
        texts = [_with(node, op=ast.Or() if isinstance(node.op, ast.And) else ast.And())]
        for i in range(len(node.values)):
            rest = _without(node.values, i)
            texts.append(ast.unparse(rest[0]) if len(rest) == 1 else _with(node, values=rest))
        self._add("boolean", node, texts)
        self.generic_visit(node)

    def _condition(self, node) -> None:
        self._add("condition", node.test, [f"not ({ast.unparse(node.test)})"])
        self.generic_visit(node)

    visit_IfExp = visit_While = _condition

    def visit_If(self, node: ast.If) -> None:
        if _name(node.test) != "TYPE_CHECKING":
            self._condition(node)

    def visit_comprehension(self, node: ast.comprehension) -> None:
        for condition in node.ifs:
            self._add("condition", condition, ["True", f"not ({ast.unparse(condition)})"])
        self.generic_visit(node)

    def visit_Constant(self, node: ast.Constant) -> None:
        value = node.value
        if id(node) in self._left_alone:
            return
        if isinstance(value, bool):
            self._add("constant", node, [str(not value)])
        elif isinstance(value, int):
            self._add("constant", node, [str(value + 1), *(["0"] if value == 1 else [])])
        elif isinstance(value, float):
            self._add("constant", node, [repr(value * _FACTOR if value else 0.01)])

    def visit_Call(self, node: ast.Call) -> None:
        if _is_left_alone(node):
            return
        if _called(node) == "reshape":  # any negative size is the one that is left
            self._left_alone |= {id(size.operand) for size in node.args if isinstance(size, ast.UnaryOp)}
        named = [i for i, k in enumerate(node.keywords) if k.arg and k.arg not in _SAME_NUMBERS]
        texts = [_with(node, keywords=_without(node.keywords, i)) for i in named]
        for i, (one, other) in enumerate(itertools.pairwise(node.args)):
            same = _may_change_places(node, i) or ast.dump(one) == ast.dump(other)
            if _is_plain(one) and _is_plain(other) and not same:
                swapped = [*node.args[:i], other, one, *node.args[i + 2 :]]
                texts.append(_with(node, args=swapped))
        self._add("arguments", node, texts)
        self.generic_visit(node)

    def visit_Slice(self, node: ast.Slice) -> None:
        bounds = {name: getattr(node, name) for name in ("lower", "upper", "step")}
        texts = [_with(node, **{name: None}) for name, bound in bounds.items() if bound is not None]
        self._add("slice", node, texts, bare=True)
        self.generic_visit(node)


def _name(node: ast.AST) -> str:
    return node.id if isinstance(node, ast.Name) else ""


def _may_change_places(call: ast.Call, i: int) -> bool:
    """Whether an argument and the next one do the same in each other's place."""
    if _called(call) == "swapaxes":  # two axes come last
        return i == len(call.args) - 2
    return _called(call) in _COMMUTATIVE or (i == 0 and _called(call) in _COMMUTATIVE_PAIR)


def _is_type(node: ast.AST) -> bool:
    """Whether an expression names a type, as in `Pair = tuple[Array, int | None]`."""
    parts = (ast.Subscript, ast.BinOp, ast.BitOr, ast.Name, ast.Attribute, ast.Tuple, ast.List, ast.Load, ast.Constant)
    names_some = isinstance(node, ast.Subscript) or (isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr))
    return names_some and all(
        isinstance(part, parts)
        and not (isinstance(part, ast.BinOp) and not isinstance(part.op, ast.BitOr))
        and not (isinstance(part, ast.Constant) and isinstance(part.value, int | float))
        for part in ast.walk(node)
    )


def _is_left_alone(node: ast.Call) -> bool:
    return _called(node) in _LEFT_ALONE or _called(node).endswith(("Error", "Warning"))


def _end_of_head(node: ast.stmt) -> int:
    """The last line of a statement, of a compound one that before its body."""
    body = getattr(node, "body", ())
    return max(node.lineno, body[0].lineno - 1) if body else node.end_lineno
