"""Ways to break a decision: every mutant of a module, one change each, made on its syntax tree.

Left alone are messages (f-strings), docstrings, annotations, decorators, and regular expressions.
"""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator
from copy import copy
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

_COMPARE: dict[type[ast.cmpop], list[type[ast.cmpop]]] = {
    ast.Lt: [ast.LtE, ast.GtE],
    ast.LtE: [ast.Lt, ast.Gt],
    ast.Gt: [ast.GtE, ast.LtE],
    ast.GtE: [ast.Gt, ast.Lt],
    ast.Eq: [ast.NotEq],
    ast.NotEq: [ast.Eq],
    ast.Is: [ast.IsNot],
    ast.IsNot: [ast.Is],
    ast.In: [ast.NotIn],
    ast.NotIn: [ast.In],
}
_ARITHMETIC: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Pow: ast.Mult,
}
_NAMES = {"min": "max", "max": "min", "any": "all", "all": "any"}
# Methods whose argument is what is looked for, and no message.
_LOOKS = {"get", "startswith", "endswith", "removeprefix", "removesuffix", "strip", "lstrip", "split"}
_UNTOUCHED = {"annotation", "returns", "decorator_list", "bases"}


@dataclass(frozen=True)
class Mutant:
    """A module with one change: at `line`, in `where`, what was `before` is `after`."""

    path: str
    line: int
    where: str
    before: str
    after: str
    source: str
    nth: int

    @property
    def name(self) -> str:
        """What tells it from every other, whatever line it is on."""
        nth = f" ({self.nth})" if self.nth > 1 else ""
        return f"{self.path} {self.where}{nth}: {self.before} → {self.after or 'nothing'}"


@dataclass(frozen=True)
class _Place:
    """A node, where it hangs, and the function or class it is in."""

    node: ast.AST
    parent: ast.AST
    field: str
    index: int | None
    where: str
    line: int

    def put(self, node: ast.AST) -> None:
        if self.index is None:
            setattr(self.parent, self.field, node)
        else:
            getattr(self.parent, self.field)[self.index] = node


def mutants_of(root: Path, path: str) -> list[Mutant]:
    """Every mutant of the module at `path` below `root`, in the order of its lines."""
    tree = ast.parse((root / path).read_text(encoding="utf-8"))
    lines = ast.unparse(tree).splitlines()
    found: dict[str, Mutant] = {}
    alike: Counter[tuple[str, str, str]] = Counter()
    for place in _places(tree, "", 0):
        for changed in _changes(place):
            place.put(changed)
            source = ast.unparse(ast.fix_missing_locations(tree))
            place.put(place.node)
            what = (place.where or "module", *_difference(lines, source.splitlines()))
            if what[1] != what[2] and source not in found:
                alike[what] += 1
                found[source] = Mutant(path, place.line, *what, source, alike[what])
    return list(found.values())


def _places(parent: ast.AST, where: str, line: int) -> Iterator[_Place]:
    if isinstance(parent, ast.FunctionDef | ast.ClassDef):
        where = f"{where}.{parent.name}".lstrip(".")
    for field, value in ast.iter_fields(parent):
        for index, node in enumerate(value if isinstance(value, list) else [value]):
            docstring = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
            if field in _UNTOUCHED or docstring or not isinstance(node, ast.AST):
                continue
            at = getattr(node, "lineno", line)
            if not isinstance(node, ast.JoinedStr):
                yield _Place(node, parent, field, index if isinstance(value, list) else None, where, at)
                yield from _places(node, where, at)


def _changes(place: _Place) -> Iterator[ast.AST]:
    node = place.node
    if _can_go(place):
        yield ast.Pass()
    if place.field in ("test", "ifs") and isinstance(node, ast.Name | ast.Attribute | ast.Call):
        yield ast.UnaryOp(ast.Not(), node)
    match node:
        case ast.Constant():
            yield from _constants(node, place.parent)
        case ast.Compare() | ast.BoolOp() | ast.UnaryOp() | ast.IfExp():
            yield from _conditions(node)
        case ast.BinOp() | ast.AugAssign() if type(node.op) in _ARITHMETIC:
            yield _with(node, op=_ARITHMETIC[type(node.op)]())
        case ast.Name(id="min" | "max" | "any" | "all") if place.field == "func":
            yield ast.Name(_NAMES[node.id], ast.Load())
        case _:
            yield from _members(node, place.parent)


def _constants(node: ast.Constant, parent: ast.AST) -> Iterator[ast.AST]:
    value = node.value
    if isinstance(value, bool):
        yield ast.Constant(not value)
    elif isinstance(value, int | float) and not isinstance(parent, ast.Tuple | ast.Set):
        yield ast.Constant(value + 1)
        if value and not isinstance(parent, ast.AugAssign):
            yield ast.Constant(value - 1)
    elif isinstance(value, str) and _is_looked_for(parent):
        yield ast.Constant("XX" + value)
    elif isinstance(value, bytes) and _is_looked_for(parent):
        yield ast.Constant(b"XX" + value)


def _conditions(node: ast.Compare | ast.BoolOp | ast.UnaryOp | ast.IfExp) -> Iterator[ast.AST]:
    match node:
        case ast.Compare():
            for index, op in enumerate(node.ops):
                for new in _COMPARE[type(op)]:
                    yield _with(node, ops=[*node.ops[:index], new(), *node.ops[index + 1 :]])
        case ast.BoolOp():
            yield _with(node, op=ast.And() if isinstance(node.op, ast.Or) else ast.Or())
            for fewer in _shorter(node.values):
                yield fewer[0] if len(fewer) == 1 else _with(node, values=fewer)
        case ast.UnaryOp():
            yield node.operand
        case ast.IfExp():
            yield from (node.body, node.orelse)


def _members(node: ast.AST, parent: ast.AST) -> Iterator[ast.AST]:
    """One of several left out: of a set, a dictionary, alternatives, cases, keyword arguments, conditions."""
    match node:
        case ast.Set() | ast.Tuple() | ast.List() if _is_choice(node, parent):
            yield from (_with(node, elts=fewer) for fewer in _shorter(node.elts))
        case ast.Dict():
            pairs = zip(_shorter(node.keys), _shorter(node.values), strict=True)
            yield from (ast.Dict(keys, values) for keys, values in pairs)
        case ast.Match():
            yield from (_with(node, cases=fewer) for fewer in _shorter(node.cases))
        case ast.comprehension() if node.ifs:
            yield _with(node, ifs=[])
        case ast.Call():
            yield from (_with(node, keywords=fewer) for fewer in _shorter(node.keywords, least=0))
            if isinstance(node.func, ast.Name) and node.func.id == "isinstance":
                what, kinds = node.args
                unions = (reduce(_union, fewer) for fewer in _shorter(_operands(kinds)))
                yield from (_with(node, args=[what, union]) for union in unions)


def _can_go(place: _Place) -> bool:
    """Whether a statement can be left out: it does something, or ends early."""
    if place.field not in ("body", "orelse", "finalbody") or place.where.endswith("__init__"):
        return False
    match place.node:
        case ast.Return():
            return not isinstance(place.parent, ast.FunctionDef)
        case ast.Raise() | ast.Continue() | ast.Break() | ast.AugAssign() | ast.Expr(value=ast.Call()):
            return True
        case ast.Assign(targets=[target]):
            first = target.elts[0] if isinstance(target, ast.Tuple) else target
            return isinstance(first, ast.Attribute | ast.Subscript)
    return False


def _is_choice(node: ast.Set | ast.Tuple | ast.List, parent: ast.AST) -> bool:
    """Whether these are what something may be, or what is gone through."""
    if isinstance(node, ast.Set):
        return True
    choosing = isinstance(parent, ast.For | ast.comprehension | ast.ExceptHandler)
    return isinstance(node.ctx, ast.Load) and (choosing or _is_looked_for(parent))


def _is_looked_for(parent: ast.AST) -> bool:
    """Whether what hangs here is compared with, or looked up."""
    if isinstance(parent, ast.Call):
        return isinstance(parent.func, ast.Attribute) and parent.func.attr in _LOOKS
    return isinstance(parent, ast.Compare | ast.Subscript)


def _union(left: ast.expr, right: ast.expr) -> ast.expr:
    return ast.BinOp(left, ast.BitOr(), right)


def _operands(union: ast.expr) -> list[ast.expr]:
    if isinstance(union, ast.BinOp):
        return [*_operands(union.left), union.right]
    return [union]


def _with(node: ast.AST, **fields: object) -> ast.AST:
    changed = copy(node)
    for field, value in fields.items():
        setattr(changed, field, value)
    return changed


def _shorter(items: list[T], least: int = 1) -> Iterator[list[T]]:
    """Without each of `items` in turn, where `least` are left."""
    return (items[:index] + items[index + 1 :] for index in range(len(items)) if len(items) > least)


def _difference(old: list[str], new: list[str]) -> tuple[str, str]:
    """The lines in which two texts differ, each as one line."""
    start = next((i for i, (a, b) in enumerate(zip(old, new, strict=False)) if a != b), 0)
    end = next((i for i, (a, b) in enumerate(zip(old[::-1], new[::-1], strict=False)) if a != b), 0)
    end = min(end, min(len(old), len(new)) - start)
    return _joined(old[start : len(old) - end]), _joined(new[start : len(new) - end])


def _joined(lines: list[str]) -> str:
    return " ⏎ ".join(line.strip() for line in lines)
