"""No value ever becomes part of a statement's text: the product's code is read and held to it.

A statement is a constant, or composed by `psycopg.sql`, which quotes names and values. Whatever
comes to where statements are executed is followed back, within its file, to where it was made.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "trisignal_pipeline"

# The position of the statement among the arguments of what takes one.
METHODS = {"execute": 0, "executemany": 0, "copy": 0, "stream": 0, "SQL": 0, "exec_driver_sql": 0}
FUNCTIONS = {"scalar": 1, "rows": 1, "copy_in": 1, "copy_out": 1, "text": 0}

# Types that only a constant or a composed statement can have.
SAFE_TYPES = {"LiteralString", "sql.Composable", "sql.Composed", "sql.SQL"}

# Expressions of SQLAlchemy on Dagster's own tables, which bind every value.
EXPRESSIONS = {
    "sqlalchemy.select(lock)",
    "self.prepare_insert_event_batch(planned).returning(SqlEventLogStorageTable.c.id)",
    "self.prepare_insert_event_batch(events).returning(SqlEventLogStorageTable.c.id)",
    "AssetCheckExecutionsTable.insert()",
}


@dataclass(frozen=True)
class Source:
    """A file of code, and where each of its nodes lies."""

    name: str
    tree: ast.Module

    @classmethod
    def of(cls, name: str, text: str) -> Source:
        tree = ast.parse(text)
        for node in ast.walk(tree):
            for child in ast.iter_child_nodes(node):
                child.parent = node  # type: ignore[attr-defined]
        return cls(name, tree)

    def statements(self) -> Iterator[ast.expr]:
        """Every expression that is executed, or taken for SQL."""
        for call in ast.walk(self.tree):
            if not isinstance(call, ast.Call):
                continue
            if isinstance(call.func, ast.Attribute):
                at = METHODS.get(call.func.attr) if call.args else None
            else:
                at = FUNCTIONS.get(call.func.id) if isinstance(call.func, ast.Name) else None
            if at is not None:
                yield call.args[at]

    def unsafe(self) -> list[str]:
        """Where something is executed that may hold a value in its text."""
        return [
            f"{self.name}:{statement.lineno}: {ast.unparse(statement)}"
            for statement in self.statements()
            if not self._is_safe(statement) and ast.unparse(statement) not in EXPRESSIONS
        ]

    def _is_safe(self, made: ast.expr) -> bool:
        match made:
            case ast.Constant(value=str() | bytes()):
                return True
            case ast.Starred(value=value):
                return self._is_safe(value)
            case ast.Tuple(elts=[first, *_]):
                return self._is_safe(first)
            case ast.IfExp(body=body, orelse=orelse):
                return self._is_safe(body) and self._is_safe(orelse)
            case ast.BinOp(left=left, op=ast.Add(), right=right):
                return self._is_safe(left) and self._is_safe(right)
            # Of a composed text: what isn't composed itself is quoted as a value.
            case ast.Call(func=ast.Attribute(value=text, attr="format" | "join")):
                return not isinstance(text, ast.Constant) and self._is_safe(text)
            case ast.Call(func=ast.Attribute(value=ast.Name(id="sql"), attr="SQL"), args=[text]):
                return self._is_safe(text)
            case ast.Call(func=ast.Attribute(value=ast.Name(id="sql"))):
                return True
            case ast.Call(func=ast.Name(id=name)):
                return self._returns_safe(name)
            case ast.Name(id=name):
                return self._name_is_safe(name, made)
        return False

    def _returns_safe(self, function: str) -> bool:
        """Whether a function of the package says that it returns something composed."""
        return function in COMPOSING or function in _composing(self.tree)

    def _name_is_safe(self, name: str, used: ast.AST) -> bool:
        """Whether all that `name` may stand for where it is used is safe."""
        for scope in _scopes(used):
            if isinstance(scope, ast.FunctionDef):
                taken = [*scope.args.args, *scope.args.posonlyargs, *scope.args.kwonlyargs]
                for argument in taken:
                    if argument.arg == name:
                        return _is_safe_type(argument.annotation)
            values = list(_values_of(name, scope))
            if values:
                return all(value is not None and self._is_safe(value) for value in values)
        return False


def _composing(tree: ast.Module) -> Iterator[str]:
    """The functions that say they return something composed."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and _is_safe_type(node.returns):
            yield node.name


def _is_safe_type(annotation: ast.expr | None) -> bool:
    return annotation is not None and set(ast.unparse(annotation).split(" | ")) <= SAFE_TYPES


def _scopes(node: ast.AST) -> Iterator[ast.AST]:
    """The functions around a node, innermost first, and the file."""
    while hasattr(node, "parent"):
        node = node.parent
        if isinstance(node, ast.FunctionDef | ast.Module):
            yield node


def _values_of(name: str, scope: ast.AST) -> Iterator[ast.expr | None]:
    """What is bound to `name` directly in a scope; None for what can't be followed."""
    for node in ast.walk(scope):
        if isinstance(node, ast.expr | ast.stmt) and next(_scopes(node), None) is not scope:
            continue
        match node:
            case ast.Assign(targets=[ast.Name(id=bound)], value=value) if bound == name:
                yield value
            case ast.AnnAssign(target=ast.Name(id=bound), value=value) if bound == name:
                yield value
            case ast.AugAssign(target=ast.Name(id=bound), value=value) if bound == name:
                yield value
            case ast.For(target=target) if name in _names_in(target):
                yield None
            case ast.Assign(targets=targets) if any(name in _names_in(t) for t in targets):
                yield None


def _names_in(target: ast.expr) -> set[str]:
    return {node.id for node in ast.walk(target) if isinstance(node, ast.Name)}


SOURCES = [
    Source.of(str(path.relative_to(PACKAGE)), path.read_text("utf-8"))
    for path in sorted(PACKAGE.rglob("*.py"))
]
COMPOSING = {name for source in SOURCES for name in _composing(source.tree)}


def test_no_value_becomes_part_of_a_statement() -> None:
    assert [found for source in SOURCES for found in source.unsafe()] == []


def test_the_product_s_statements_are_found() -> None:
    executed = sum(1 for source in SOURCES for _ in source.statements())

    assert executed > 100


@pytest.mark.parametrize(
    "code",
    [
        'c.execute(f"SELECT {x}")',
        'c.execute("SELECT %s" % x)',
        'c.execute("SELECT " + x)',
        'c.execute("SELECT {}".format(x))',
        'c.execute(" ".join(x))',
        "c.execute(x)",
        "def f(x: str):\n    c.execute(x)",
        'q = f"SELECT {x}"\nc.execute(q)',
        'q = "SELECT 1"\nq += x\nc.execute(q)',
        "for q in x:\n    c.execute(q)",
        'c.execute(sql.SQL(f"SELECT {x}"))',
        'c.execute(sql.SQL("SELECT {}" + x).format(y))',
        'scalar(c, f"SELECT {x}")',
        'def f():\n    q = f"SELECT {x}"\n    with c.copy(q):\n        pass',
        "e.execute(text(x))",
    ],
)
def test_what_holds_a_value_is_noticed(code: str) -> None:
    assert Source.of("bad", code).unsafe()


@pytest.mark.parametrize(
    "code",
    [
        'c.execute("SELECT %s", (x,))',
        'Q = "SELECT %s"\ndef f():\n    c.execute(Q, (x,))',
        'c.execute("SELECT 1" if x else "SELECT 2")',
        'c.execute(sql.SQL("SELECT * FROM {}").format(sql.Identifier(x)))',
        'q = sql.SQL("SELECT {}")\nc.execute(q.format(sql.Literal(x)))',
        "def f(q: LiteralString):\n    c.execute(q)",
        "def f() -> sql.Composed:\n    return x\nc.execute(f())",
    ],
)
def test_what_binds_or_quotes_its_values_passes(code: str) -> None:
    assert Source.of("good", code).unsafe() == []
