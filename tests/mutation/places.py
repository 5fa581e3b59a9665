"""Where a predicate can be taken out of a module, and the module with a switch at each of these places."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

ROOT = Path(__file__).parent.parent.parent
SWITCH = "_switch"


@dataclass(frozen=True)
class Mutant:
    """A module without one thing. ``key`` names it, whatever the line that it stands on."""

    number: int
    module: str
    line: int
    key: str

    def __str__(self) -> str:
        return f"{self.module}:{self.line} {self.key}"


def instrumented(module: str, first: int = 0, folder: Path = ROOT) -> tuple[ast.Module, list[Mutant]]:
    """A module whose predicates can be turned off, and the mutants that it can be, numbered from ``first`` on."""
    tree = ast.parse((folder / module).read_text())
    places = _Places(module, first)
    tree = places.visit(tree)
    start = next(
        i
        for i, statement in enumerate(tree.body)
        if not isinstance(statement, ast.Expr)
        and not (isinstance(statement, ast.ImportFrom) and statement.module == "__future__")
    )
    tree.body.insert(start, ast.parse(f"from tests.mutation import switch as {SWITCH}").body[0])
    return ast.fix_missing_locations(tree), places.mutants


class _Places(ast.NodeTransformer):
    """Wraps what can be taken out. What is not inside of a function stays as it is."""

    def __init__(self, module: str, first: int) -> None:
        self.mutants: list[Mutant] = []
        self._module = module
        self._first = first
        self._names: list[str] = []
        self._functions: list[ast.FunctionDef | ast.AsyncFunctionDef] = []
        self._keys: Counter[str] = Counter()

    # --- numbers --------------------------------------------------------------------------------------------

    def _number(self, node: ast.AST, what: str) -> ast.Constant:
        key = f"{'.'.join(self._names)}: {what}"
        self._keys[key] += 1
        key += f" ({self._keys[key]})" if self._keys[key] > 1 else ""
        number = self._first + len(self.mutants)
        self.mutants.append(Mutant(number, self._module, getattr(node, "lineno", 0), key))
        return ast.Constant(number)

    def _call(self, name: str, *arguments: ast.expr) -> ast.Call:
        return ast.Call(ast.Attribute(ast.Name(SWITCH, ast.Load()), name, ast.Load()), list(arguments), [])

    # --- where we are ---------------------------------------------------------------------------------------

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        self._names.append(node.name)
        node.body = [self.visit(item) if _has_functions(item) else item for item in node.body]
        self._names.pop()
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        return self._function(node)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> ast.AST:
        return self._function(node)

    def _function(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> ast.AST:
        self._names.append(node.name)
        self._functions.append(node)
        node.body = [self.visit(item) for item in node.body]
        self._functions.pop()
        self._names.pop()
        return node

    def visit_Module(self, node: ast.Module) -> ast.Module:
        node.body = [self.visit(item) if _has_functions(item) else item for item in node.body]
        return node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        if node.value is not None:
            node.value = self.visit(node.value)
        return node

    def visit_Assert(self, node: ast.Assert) -> ast.AST:
        return node

    # --- statements -----------------------------------------------------------------------------------------

    def visit_Expr(self, node: ast.Expr) -> ast.AST:
        match node.value:
            case ast.Call(func=ast.Attribute(value=ast.Name("log")) | ast.Attribute(attr="__init__")):
                return node
            case ast.Call() | ast.Await(value=ast.Call()):
                return self._statement(node)
        return self.generic_visit(node)

    def visit_AugAssign(self, node: ast.AugAssign) -> ast.AST:
        return node if isinstance(node.value, ast.Constant) else self._statement(node)

    def _statement(self, node: ast.stmt) -> ast.AST:
        number = self._number(node, f"without {ast.unparse(node)}")
        kept: Any = self.generic_visit(node)
        return ast.If(ast.UnaryOp(ast.Not(), self._call("on", number)), [kept], [])

    def visit_If(self, node: ast.If) -> ast.AST:
        node.test = self._decided(node.test)
        node.body = [self.visit(item) for item in node.body]
        node.orelse = [self.visit(item) for item in node.orelse]
        return node

    def visit_IfExp(self, node: ast.IfExp) -> ast.AST:
        node.test = self._decided(node.test)
        node.body, node.orelse = self.visit(node.body), self.visit(node.orelse)
        return node

    def visit_Return(self, node: ast.Return) -> ast.AST:
        match self._functions[-1].returns:
            case ast.Name("bool") if node.value is not None and not isinstance(node.value, ast.Constant):
                node.value = self._decided(node.value)
                return node
        return self.generic_visit(node)

    def visit_match_case(self, node: ast.match_case) -> ast.AST:
        if node.guard is not None:
            node.guard = self._decided(node.guard)
        node.body = [self.visit(item) for item in node.body]
        return node

    def visit_comprehension(self, node: ast.comprehension) -> ast.AST:
        node.iter = self.visit(node.iter)
        node.ifs = [self._decided(condition) for condition in node.ifs]
        return node

    # --- conditions -----------------------------------------------------------------------------------------

    def _decided(self, node: ast.expr) -> ast.expr:
        """Something that decides which way it goes: never, or always."""
        text = ast.unparse(node)
        never, always = self._number(node, f"never {text}"), self._number(node, f"always {text}")
        return self._call("decision", never, always, self._condition(node))

    def _condition(self, node: ast.expr) -> ast.expr:
        """Something of which only matters whether it is true."""
        match node:
            case ast.BoolOp(operator, values):
                neutral = isinstance(operator, ast.And)
                node.values = [self._operand(value, neutral, self._condition) for value in values]
                return node
            case ast.UnaryOp(ast.Not(), value):
                node.operand = self._condition(value)
                return node
            case ast.Compare():
                return self._generic(node)
        return self._visited(node)

    def _operand(self, node: ast.expr, neutral: bool, visit: Callable[[ast.expr], ast.expr]) -> ast.expr:
        number = self._number(node, f"without {'and' if neutral else 'or'} {ast.unparse(node)}")
        return self._call("operand", number, visit(node), ast.Constant(neutral))

    def visit_BoolOp(self, node: ast.BoolOp) -> ast.AST:
        """Its value matters: without the last operand it is what the others are."""
        if all(isinstance(value, (ast.Compare, ast.UnaryOp)) for value in node.values):
            return self._condition(node)
        neutral = isinstance(node.op, ast.And)
        *first, last = node.values
        others: ast.expr = ast.BoolOp(node.op, first) if len(first) > 1 else first[0]
        number = self._number(node, f"without {'and' if neutral else 'or'} {ast.unparse(last)}")
        copied = ast.parse(ast.unparse(others), mode="eval").body
        node.values = [*(self._operand(value, neutral, self._visited) for value in first), self._visited(last)]
        return ast.IfExp(self._call("on", number), copied, node)

    def visit_Compare(self, node: ast.Compare) -> ast.AST:
        return self._decided(node)

    # --- sets, lists, flags ---------------------------------------------------------------------------------

    def visit_BinOp(self, node: ast.BinOp) -> ast.AST:
        operators = {ast.BitAnd: "&", ast.BitOr: "|", ast.Sub: "-"}
        operator = operators.get(type(node.op))
        if operator is None:
            return self.generic_visit(node)
        left, right = ast.unparse(node.left), ast.unparse(node.right)
        gone = ast.Constant(-2) if operator == "-" else self._number(node, f"without {left} {operator}")
        other = self._number(node, f"without {operator} {right}")
        sides = self._visited(node.left), self._visited(node.right)
        return self._call("sides", gone, other, ast.Constant(operator), *sides)

    def visit_List(self, node: ast.List) -> ast.AST:
        if len(node.elts) < 2 or not isinstance(node.ctx, ast.Load):
            return self.generic_visit(node)
        found: list[ast.expr] = []
        for item in node.elts:
            number = self._number(item, f"without the item {ast.unparse(item)}")
            inner = item.value if isinstance(item, ast.Starred) else item
            name = "items" if isinstance(item, ast.Starred) else "item"
            found.append(ast.Starred(self._call(name, number, self._visited(inner)), ast.Load()))
        node.elts = found
        return node

    def visit_keyword(self, node: ast.keyword) -> ast.AST:
        match node.value:
            case ast.Constant(bool() as value):
                number = self._number(node.value, f"with {node.arg}={not value}")
                node.value = self._call("flag", number, node.value)
                return node
        return self.generic_visit(node)

    # --- SQL ------------------------------------------------------------------------------------------------

    def visit_JoinedStr(self, node: ast.JoinedStr) -> ast.AST:
        """Predicates of a statement: what stands between ``where``, ``and``, ``when`` and the like."""
        pieces = [_Piece(value) for value in node.values]
        marks = "".join(piece.text if piece.text is not None else chr(_MARK + i) for i, piece in enumerate(pieces))
        spans = [span.span(1) for span in _PREDICATE.finditer(marks)] if _SQL.search(marks) else []
        if not spans:
            return self.generic_visit(node)
        values: list[ast.expr] = []
        place = 0
        for start, end in spans:
            values += self._written(marks[place:start], pieces)
            what = "".join(_shown(character, pieces) for character in marks[start:end])
            number = self._number(node, f"SQL without {what}")
            kept = ast.JoinedStr(self._written(marks[start:end], pieces))
            chosen = ast.IfExp(self._call("on", number), ast.Constant("true"), kept)
            values.append(ast.FormattedValue(chosen, -1, None))
            place = end
        return ast.JoinedStr([*values, *self._written(marks[place:], pieces)])

    def _written(self, marks: str, pieces: Sequence[_Piece]) -> list[ast.expr]:
        found: list[ast.expr] = []
        for part in re.split(f"([{chr(_MARK)}-{chr(_MARK + 999)}])", marks):
            if part and _MARK <= ord(part[0]) < _MARK + 1000:
                found.append(self._visited(pieces[ord(part) - _MARK].node))
            elif part:
                found.append(ast.Constant(part))
        return found

    # --- types ----------------------------------------------------------------------------------------------

    def _visited(self, node: ast.expr) -> ast.expr:
        found: ast.expr = self.visit(node)
        return found

    def _generic(self, node: ast.expr) -> ast.expr:
        return cast(ast.expr, self.generic_visit(node))


_MARK = 0xE000
_SQL = re.compile(r" and | where | when ")
_PREDICATE = re.compile(
    r"(?:(?<=where )|(?<=and )|(?<=when )|(?<=\())"
    "([^() ]*[\ue000-\ue3e7][^() ]*(?: (?:=|is|null|in)(?: [^() ]+)*?)?)"
    r"(?= and | then |\)| limit|$)"
)


class _Piece:
    def __init__(self, node: ast.expr) -> None:
        self.node = node
        self.text = str(node.value) if isinstance(node, ast.Constant) else None


def _shown(character: str, pieces: Sequence[_Piece]) -> str:
    number = ord(character) - _MARK
    return f"{{{ast.unparse(pieces[number].node.value)}}}" if 0 <= number < 1000 else character  # type: ignore[attr-defined]


def _has_functions(node: ast.stmt) -> bool:
    return isinstance(node, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef))


def mutants_of(modules: Sequence[str]) -> Iterator[Mutant]:
    """All mutants of modules, numbered through."""
    number = 0
    for module in modules:
        found = instrumented(module, number)[1]
        number += len(found)
        yield from found
