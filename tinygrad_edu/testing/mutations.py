"""Small mistakes, made on purpose: all the ways to get one thing wrong in the source of a function.

A `Mutant` is a function with one mistake: a flipped sign, a dropped term or factor, another axis, swapped operands. It
is compiled in memory from the changed syntax tree; no file is touched.
"""

from __future__ import annotations

import ast
import copy
import inspect
import itertools
import textwrap
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from types import CodeType, FunctionType
from typing import Any

Path = tuple[tuple[str, int | None], ...]  # from a tree's root to a node: (field, position in it if it is a list)


@dataclass(frozen=True)
class Mutant:
    """One function with one mistake."""

    function: str  # module and name below `ops`: "normalization.Softmax.backward"
    mistake: str  # in words
    where: str  # file:line
    original: str  # the part of the source that is changed
    mutated: str
    source: str  # of the whole function

    @property
    def code(self) -> CodeType:
        """What to put in the place of the function's own `__code__`."""
        return _compiled(self.source, self.where)

    def __str__(self) -> str:
        return f"{self.function} ({self.where}), {self.mistake}: {self.original}  ->  {self.mutated}"


def mutants(function: FunctionType, name: str) -> list[Mutant]:
    """Every mutant of a function of a module or class, without repetitions."""
    lines, first = inspect.getsourcelines(function)
    definition = ast.parse(textwrap.dedent("".join(lines))).body[0]
    assert isinstance(definition, ast.FunctionDef) and not function.__closure__
    definition.decorator_list = []
    definition.returns = None
    seen = {ast.unparse(definition)}
    found = []
    for path, mistake, replacement in _edits(definition):
        changed = copy.deepcopy(definition)
        _put(changed, path, copy.deepcopy(replacement))
        ast.fix_missing_locations(changed)
        if (text := ast.unparse(changed)) in seen:
            continue
        seen.add(text)
        unit = _unit(definition, path)
        line = first + getattr(_get(definition, path), "lineno", 1) - 1
        where = f"{function.__code__.co_filename.rpartition('/')[2]}:{line}"
        original, mutated = (ast.unparse(_get(tree, unit)) for tree in (definition, changed))
        found.append(Mutant(name, mistake, where, original, mutated, text))
    return found


@cache
def _compiled(source: str, where: str) -> CodeType:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # SyntaxWarning: that a mistake looks like one is no news
        module = compile(source, f"<mutant of {where}>", "exec")
    return next(c for c in module.co_consts if isinstance(c, CodeType))


# ---- places in the tree ----------------------------------------------------------------------------------------------


def _get(tree: Any, path: Path) -> Any:
    for field, i in path:
        tree = getattr(tree, field) if i is None else getattr(tree, field)[i]
    return tree


def _put(tree: Any, path: Path, node: ast.AST) -> None:
    field, i = path[-1]
    parent = _get(tree, path[:-1])
    if i is None:
        setattr(parent, field, node)
    else:
        getattr(parent, field)[i] = node


# Mistakes that are never made because the result would be the same, by name of what is spared.
SPARED = {
    "strict=": "an argument of `zip` that only guards against misuse",
    "optimize=": "an argument of `einsum` that chooses the order of the products, for speed",
    "reshape(-1)": "not an axis: NumPy takes any negative number for 'what remains'",
    "-zeros_like(x)": "zero without a sign",
    "max, min, maximum, minimum, logaddexp, swapaxes": "their arguments may be swapped",
    "zip": "pairs swapped on both sides are the same pairs",
}
_LEFT_ALONE = {"args", "annotation", "returns", "type_params"}  # what a function is called with is not its mistake


def _walk(node: ast.AST, path: Path = ()) -> Iterator[tuple[Path, ast.AST]]:
    """Every node below, with its path; a function's arguments, docstring and error messages are left out."""
    yield path, node
    in_reshape = isinstance(node, ast.Call) and _called(node) == "reshape"
    for field, value in ast.iter_fields(node):
        if isinstance(node, (ast.FunctionDef, ast.Lambda)) and field in _LEFT_ALONE:
            continue
        for i, child in enumerate(value) if isinstance(value, list) else [(None, value)]:
            if not isinstance(child, ast.AST) or isinstance(child, (ast.JoinedStr, ast.expr_context, ast.operator)):
                continue
            spared = child.arg in ("strict", "optimize") if isinstance(child, ast.keyword) else False
            if not spared and not (in_reshape and ast.unparse(child) == "-1"):
                yield from _walk(child, (*path, (field, i)))


def _called(node: ast.Call) -> str:
    """The last part of the name of what is called."""
    return ast.unparse(node.func).rpartition(".")[2]


def _unit(tree: ast.AST, path: Path) -> Path:
    """The part to show of a change: the smallest statement around it, or what one gradient of several is."""
    best: Path = ()
    for n in range(1, len(path) + 1):
        node, parent = _get(tree, path[:n]), _get(tree, path[: n - 1])
        head = path[n - 1][0] in ("test", "iter")  # of a compound statement
        entry = isinstance(parent, ast.Tuple) and n > 1 and isinstance(_get(tree, path[: n - 2]), ast.Return)
        if entry or head or (isinstance(node, ast.stmt) and not hasattr(node, "body")):
            best = path[:n]
    return best


# ---- the mistakes ----------------------------------------------------------------------------------------------------


def _edits(definition: ast.FunctionDef) -> Iterator[tuple[Path, str, ast.AST]]:
    """(path, mistake in words, the node to put there)."""
    local = {n.name for n in ast.walk(definition) if isinstance(n, ast.FunctionDef)}
    for path, node in _walk(definition):
        if isinstance(node, ast.Return) and node.value is not None:
            for inner, mistake, changed in _wrong_returns(node.value, local):
                yield (*path, ("value", None), *inner), mistake, changed
        elif isinstance(node, ast.stmt):
            yield from ((path, mistake, changed) for mistake, changed in _wrong_statements(node))
        if isinstance(node, (ast.If, ast.While)):
            always = [] if isinstance(node, ast.While) else [True]
            for value in [*always, False]:
                yield (*path, ("test", None)), "condition dropped", ast.Constant(value)
        if isinstance(node, ast.expr) and not isinstance(getattr(node, "ctx", None), ast.Store):
            yield from ((path, mistake, changed) for mistake, changed in _wrong_expressions(node))
            for i, keyword in enumerate(node.keywords if isinstance(node, ast.Call) else []):
                if keyword.arg in ("strict", "optimize"):
                    continue
                rest = [k for j, k in enumerate(node.keywords) if j != i]  # type: ignore[attr-defined]
                yield path, f"{keyword.arg} dropped", _with(node, keywords=rest)


def _with(node: Any, **fields: Any) -> Any:
    changed = copy.copy(node)
    for field, value in fields.items():
        setattr(changed, field, value)
    return changed


def _binary(left: ast.expr, op: ast.operator, right: ast.expr) -> ast.expr:
    return ast.BinOp(left, op, right)


def _minus(x: ast.expr) -> ast.expr:
    return ast.UnaryOp(ast.USub(), x)


def _swapped(items: list[Any], i: int, j: int) -> list[Any]:
    items = list(items)
    items[i], items[j] = items[j], items[i]
    return items


def _wrong_returns(value: ast.expr, local: set[str]) -> Iterator[tuple[Path, str, ast.expr]]:
    """Of what a backward returns: one gradient negated, left out, or in the place of another."""
    several = isinstance(value, ast.Tuple)
    entries = value.elts if isinstance(value, ast.Tuple) else [value]
    for i, entry in enumerate(entries):
        path: Path = (("elts", i),) if several else ()
        if isinstance(entry, (ast.Starred, ast.Constant)):
            continue
        if not (isinstance(entry, ast.Name) and entry.id in local):
            inside: Path = (("body", None),) if isinstance(entry, ast.Lambda) else ()
            body = entry.body if isinstance(entry, ast.Lambda) else entry
            if not (isinstance(body, ast.Call) and _called(body) in ("tuple", "zeros_like")):
                yield (*path, *inside), "sign flipped", _minus(body)
        yield path, "gradient dropped", ast.Constant(None)
    for i, j in itertools.combinations(range(len(entries)), 2):
        if not any(isinstance(entries[k], (ast.Starred, ast.Constant)) for k in (i, j)):
            yield (), "gradients in another order", _with(value, elts=_swapped(entries, i, j))


def _wrong_statements(node: ast.stmt) -> Iterator[tuple[str, ast.stmt]]:
    match node:
        case ast.AugAssign(target, op, value):
            yield "= instead of accumulation", ast.Assign([target], value)
            if type(op) in _OPPOSITE:
                yield "sign flipped", _with(node, op=_OPPOSITE[type(op)]())
            yield "statement dropped", ast.Pass()
        case ast.Assign([ast.Tuple(names)]) if all(isinstance(n, ast.Name) for n in names):
            for i, j in itertools.combinations(range(len(names)), 2):
                yield "one value for another", _with(node, targets=[ast.Tuple(_swapped(names, i, j), ast.Store())])
        case ast.Expr(ast.Call()):
            yield "statement dropped", ast.Pass()


_OPPOSITE: dict[type, type] = {
    **{ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult},
    **{ast.BitOr: ast.BitAnd, ast.BitAnd: ast.BitOr},
}
_COMPARISONS: dict[type, tuple[type, ...]] = {
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Lt: (ast.LtE, ast.GtE),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.LtE),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
}
_SIMILAR = {
    **{"sin": "cos", "cos": "sin", "sinh": "cosh", "cosh": "sinh", "exp": "expm1", "log": "log1p", "log1p": "log"},
    **{"maximum": "minimum", "minimum": "maximum", "tril": "triu", "triu": "tril", "floor_divide": "divide"},
    **{"trunc": "floor", "sqrt": "square", "ones": "zeros", "ones_like": "zeros_like", "zeros": "ones"},
    **{"zeros_like": "ones_like", "cumsum": "cumprod", "cumprod": "cumsum", "abs": "negative", "sign": "abs"},
}
_COMMUTATIVE = {"maximum", "minimum", "max", "min", "logaddexp", "swapaxes", "zip"}
_PURE_PYTHON = {"tuple", "list", "range", "len", "zip", "max", "min", "type", "enumerate", "isinstance", "map", "slice"}


def _wrong_expressions(node: ast.expr) -> Iterator[tuple[str, ast.expr]]:
    match node:
        case ast.BinOp(left, ast.Add(), right):
            yield "sign flipped", _binary(left, ast.Sub(), right)
            yield "term dropped", left
            yield "term dropped", right
        case ast.BinOp(left, ast.Sub(), right):
            yield "sign flipped", _binary(left, ast.Add(), right)
            yield "operands swapped", _binary(right, ast.Sub(), left)
            yield "term dropped", left
            yield "term dropped", _minus(right)
        case ast.BinOp(left, ast.Mult(), right):
            yield "/ instead of *", _binary(left, ast.Div(), right)
            yield "factor dropped", left
            yield "factor dropped", right
        case ast.BinOp(left, ast.Div(), right):
            yield "* instead of /", _binary(left, ast.Mult(), right)
            yield "operands swapped", _binary(right, ast.Div(), left)
            yield "divisor dropped", left
        case ast.BinOp(left, ast.MatMult() | ast.Pow() | ast.FloorDiv() as op, right):
            yield "operands swapped", _binary(right, op, left)
            yield "operand dropped", left
        case ast.BinOp(left, ast.BitOr() | ast.BitAnd() as op, right):
            yield "and / or", _binary(left, _OPPOSITE[type(op)](), right)
            yield "condition dropped", left
            yield "condition dropped", right
        case ast.UnaryOp(ast.USub() | ast.Not(), operand):
            yield "sign flipped", operand
        case ast.BoolOp(op, values):
            yield "and / or", _with(node, op=ast.Or() if isinstance(op, ast.And) else ast.And())
            for value in values:
                yield "condition dropped", value
        case ast.Compare(_, ops, _):
            for i, comparison in enumerate(ops):
                for other in _COMPARISONS[type(comparison)]:
                    yield "comparison", _with(node, ops=[*ops[:i], other(), *ops[i + 1 :]])
        case ast.IfExp(_, body, orelse):
            yield "condition dropped", body
            yield "condition dropped", orelse
        case ast.Constant(bool() as value):
            yield "flag flipped", ast.Constant(not value)
        case ast.Constant(int() as value):
            yield "off by one", ast.Constant(value + 1)
            yield "off by one", ast.Constant(value - 1) if value else _minus(ast.Constant(1))
        case ast.Constant(float() as value):
            yield "another constant", ast.Constant(2 * value)
        case ast.Subscript(value, index):
            yield "index dropped", value
            if isinstance(index, ast.Slice):
                for end in ("lower", "upper", "step"):
                    if getattr(index, end) is not None:
                        yield "end of slice dropped", _with(node, slice=_with(index, **{end: None}))
        case ast.Attribute(value, "T"):
            yield "transpose dropped", value
        case ast.Call():
            yield from _wrong_calls(node)


def _wrong_calls(node: ast.Call) -> Iterator[tuple[str, ast.expr]]:
    """The call left out, another function called, two arguments swapped."""
    method = isinstance(node.func, ast.Attribute) and ast.unparse(node.func.value).split(".")[0] not in _MODULES
    name = _called(node)
    first = 1 if node.args and ast.unparse(node.args[0]) == "xp" else 0
    given = node.args[first:]
    if method:
        assert isinstance(node.func, ast.Attribute)
        yield "call dropped", node.func.value
    elif name not in _PURE_PYTHON:
        for argument in given if name in ("where", "maximum", "minimum") else given[:1]:
            if not isinstance(argument, ast.Starred):
                yield "call dropped", argument
    if not method and name in _SIMILAR and isinstance(node.func, ast.Attribute):
        yield "another function", _with(node, func=_with(node.func, attr=_SIMILAR[name]))
    if name not in _COMMUTATIVE:
        for i in range(first, len(node.args) - 1):
            if not any(isinstance(a, ast.Starred) for a in node.args[i : i + 2]):
                yield "arguments swapped", _with(node, args=_swapped(node.args, i, i + 1))


_MODULES = {"xp", "math", "itertools", "functools"}
