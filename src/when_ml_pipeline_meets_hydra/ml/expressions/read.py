"""Read an expression in SQL's notation, as ``pl.sql_expr`` does; refuse by name what ONNX could not compute as well."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import reduce
from typing import Any, ClassVar

from sqlglot import exp, parse_one, parser
from sqlglot.dialects.dialect import Dialect
from sqlglot.errors import SqlglotError

from when_ml_pipeline_meets_hydra.errors import did_you_mean
from when_ml_pipeline_meets_hydra.ml.artifacts import DType
from when_ml_pipeline_meets_hydra.ml.expressions.build import (
    KINDS,
    Refused,
    apply,
    choice,
    coalesced,
    equal,
    logical,
    moment,
    negation,
    number,
    ordered,
    same_time,
    text,
    wanted,
)
from when_ml_pipeline_meets_hydra.ml.expressions.calendar import CLOCK, DAY, PARTS
from when_ml_pipeline_meets_hydra.ml.expressions.tree import Node, Op

FUNCTIONS = ("ABS", "CEIL", "COALESCE", "EXP", "FLOOR", "LN", "LOG", "LOG10", "LOG2", "NULLIF", "POWER", "SQRT")
WORDS = ("AND", "BETWEEN", "CASE", "DATE_PART", "EXTRACT", "IN", "IS NULL", "NOT", "OR")
ALLOWED = f"+ - * / = <> < <= > >= {' '.join(sorted((*FUNCTIONS, *WORDS)))}"
_NUMBERS = {"ABS": Op.ABS, "LN": Op.LN, "EXP": Op.EXP, "SQRT": Op.SQRT, "FLOOR": Op.FLOOR, "CEIL": Op.CEIL}
_ARITHMETIC: Mapping[type[exp.Expr], Op] = {
    exp.Add: Op.ADD,
    exp.Sub: Op.SUBTRACT,
    exp.Mul: Op.MULTIPLY,
    exp.Div: Op.DIVIDE,
}
_DEEPEST = 60


class _Notation(Dialect):
    """SQL without any function, so that each is met under the name that was written."""

    class Parser(parser.Parser):
        FUNCTIONS: ClassVar[dict[str, Callable[..., Any]]] = {}
        NO_PAREN_FUNCTIONS: ClassVar[dict[Any, Any]] = {}
        FUNCTION_PARSERS: ClassVar[dict[str, Callable[..., Any]]] = {
            name: parser.Parser.FUNCTION_PARSERS[name] for name in ("CAST", "EXTRACT")
        }


def parse(text: str) -> exp.Expr:
    """Return the syntax tree of an expression. Raises ``Refused`` if it is none, or too deep."""
    try:
        tree = parse_one(text, dialect=_Notation)
        deepest = max(_depth(node) for node in tree.walk())
    except SqlglotError as error:
        found = (getattr(error, "errors", None) or [{}])[0]
        near = found.get("highlight")
        at = f" at '{near}' (character {found.get('col')})" if near else ""
        raise Refused(f"this is no expression in SQL's notation{at}", _usual()) from None
    except RecursionError:
        deepest = _DEEPEST + 1
    if deepest > _DEEPEST:
        raise Refused(f"it has more than {_DEEPEST} levels inside each other", "Make several columns of it")
    return tree


def _depth(node: exp.Expr) -> int:
    return int(getattr(node, "depth", 0))


def _usual() -> str:
    return "Write it like price / weight; names with other characters than letters, digits and _ in double quotes"


def names(tree: exp.Expr) -> list[str]:
    """Return the names of the columns in a syntax tree, each once."""
    return list(dict.fromkeys(column.name for column in tree.find_all(exp.Column)))


def check(tree: exp.Expr) -> None:
    """Refuse what is allowed in no expression, whatever the types of the columns are. Raises ``Refused``."""
    for node in tree.walk():
        if type(node) not in _ARITHMETIC and not isinstance(node, exp.Identifier | exp.If | exp.Var | exp.DataType):
            _reader_of(node)
        if isinstance(node, exp.Anonymous):
            _refuse_function(node)


def typed(text: str, dtypes: Mapping[str, DType]) -> Node:
    """Return the typed tree of an expression; ``dtypes`` are those of the columns that there are.

    Raises ``Refused`` for a function that is not allowed, a column that is not there, or a value of a wrong type.
    """
    found = _Reader(dtypes).node(parse(text))
    if not any(True for _ in found.columns()):
        raise Refused("it names no column, so it is the same in every row", "Name a column of the data")
    return found


class _Reader:
    def __init__(self, dtypes: Mapping[str, DType]) -> None:
        self._dtypes = dtypes

    def node(self, tree: exp.Expr) -> Node:
        """Return the typed tree of a part of an expression."""
        if type(tree) in _ARITHMETIC:
            return self._arithmetic(_ARITHMETIC[type(tree)], self.node(tree.this), self.node(tree.expression))
        found: Node = getattr(self, _reader_of(tree))(tree)
        return found

    def _paren(self, tree: exp.Expr) -> Node:
        return self.node(tree.this)

    def _column(self, tree: exp.Expr) -> Node:
        if tree.args.get("table"):
            raise Refused(f"{_written(tree)} cannot be used in an expression: a column has no table", _usual())
        if tree.name not in self._dtypes:
            near = did_you_mean(tree.name, self._dtypes)
            raise Refused(f"there is no column '{tree.name}' in the data", near)
        dtype = self._dtypes[tree.name]
        return Node(op=Op.COLUMN, dtype=DType.FLOAT if dtype is DType.INT else dtype, value=tree.name)

    def _literal(self, tree: exp.Expr) -> Node:
        if tree.args["is_string"]:
            return text(tree.name)
        value = float(tree.name)
        if not math.isfinite(value):
            raise Refused(f"the number {tree.name} is too large")
        return number(value)

    def _boolean(self, tree: exp.Expr) -> Node:
        return Node(op=Op.TRUTH, dtype=DType.BOOL, value=bool(tree.this))

    def _null(self, _: exp.Expr) -> Node:
        return Node(op=Op.MISSING, dtype=DType.FLOAT)

    def _cast(self, tree: exp.Expr) -> Node:
        """``DATE '2026-01-31'`` and ``TIMESTAMP '2026-01-31 10:00:00'``; other conversions are refused."""
        kind = tree.args["to"].this.value
        if kind not in ("DATE", "TIMESTAMP") or not (isinstance(tree.this, exp.Literal) and tree.this.is_string):
            raise Refused(f"CAST cannot be used in an expression: {_written(tree)}", f"Allowed are {ALLOWED}")
        return moment(tree.this.name, DType.DATE if kind == "DATE" else DType.DATETIME)

    def _neg(self, tree: exp.Expr) -> Node:
        return self._arithmetic(Op.SUBTRACT, number(0.0), self.node(tree.this))

    def _arithmetic(self, op: Op, left: Node, right: Node) -> Node:
        if op is Op.SUBTRACT and left.dtype.is_time and right.dtype.is_time:  # in days
            one, other = same_time(left, right)
            days = Node(op=op, dtype=DType.FLOAT, args=(one, other))
            return days if {left.dtype, right.dtype} == {DType.DATE} else apply(Op.DIVIDE, days, number(DAY))
        return apply(op, wanted(left, DType.FLOAT, op), wanted(right, DType.FLOAT, op))

    def _eq(self, tree: exp.Expr) -> Node:
        return equal(self.node(tree.this), self.node(tree.expression))

    def _neq(self, tree: exp.Expr) -> Node:
        return negation(self._eq(tree))

    def _lt(self, tree: exp.Expr) -> Node:
        return ordered(Op.LESS, self.node(tree.this), self.node(tree.expression))

    def _lte(self, tree: exp.Expr) -> Node:
        return ordered(Op.LESS_OR_EQUAL, self.node(tree.this), self.node(tree.expression))

    def _gt(self, tree: exp.Expr) -> Node:
        return ordered(Op.LESS, self.node(tree.expression), self.node(tree.this))

    def _gte(self, tree: exp.Expr) -> Node:
        return ordered(Op.LESS_OR_EQUAL, self.node(tree.expression), self.node(tree.this))

    def _between(self, tree: exp.Expr) -> Node:
        value, low, high = self.node(tree.this), self.node(tree.args["low"]), self.node(tree.args["high"])
        return logical(Op.AND, ordered(Op.LESS_OR_EQUAL, low, value), ordered(Op.LESS_OR_EQUAL, value, high))

    def _in(self, tree: exp.Expr) -> Node:
        if not tree.expressions:
            raise Refused(f"IN needs a list of values: {_written(tree)}", _usual())
        value = self.node(tree.this)
        return reduce(lambda a, b: logical(Op.OR, a, b), (equal(value, self.node(e)) for e in tree.expressions))

    def _is(self, tree: exp.Expr) -> Node:
        value, negated = self.node(tree.this), tree.args.get("negate")
        if isinstance(tree.expression, exp.Null):
            found = Node(op=Op.IS_MISSING, dtype=DType.BOOL, args=(value,))
        elif isinstance(tree.expression, exp.Boolean):
            true, no = Node(op=Op.TRUTH, dtype=DType.BOOL, value=True), Node(op=Op.TRUTH, dtype=DType.BOOL, value=False)
            value = wanted(value, DType.BOOL, "IS")
            found = choice(value if tree.expression.this else negation(value), true, no)
        else:
            raise Refused(f"{_written(tree)} cannot be used in an expression", "Write IS NULL or IS NOT NULL")
        return negation(found) if negated else found

    def _not(self, tree: exp.Expr) -> Node:
        return negation(wanted(self.node(tree.this), DType.BOOL, "NOT"))

    def _and(self, tree: exp.Expr) -> Node:
        return logical(Op.AND, self.node(tree.this), self.node(tree.expression))

    def _or(self, tree: exp.Expr) -> Node:
        return logical(Op.OR, self.node(tree.this), self.node(tree.expression))

    def _case(self, tree: exp.Expr) -> Node:
        value = self.node(tree.this) if tree.this else None
        found = self.node(tree.args["default"]) if tree.args.get("default") else Node(op=Op.MISSING, dtype=DType.FLOAT)
        for part in reversed(tree.args["ifs"]):
            when = self.node(part.this)
            found = choice(when if value is None else equal(value, when), self.node(part.args["true"]), found)
        return found

    def _extract(self, tree: exp.Expr) -> Node:
        return _part(tree.name, self.node(tree.expression))

    def _anonymous(self, tree: exp.Expr) -> Node:
        name, given = str(tree.this).upper(), tree.expressions
        if name == "DATE_PART" and len(given) == 2 and isinstance(given[0], exp.Literal):
            return _part(given[0].name, self.node(given[1]))
        _refuse_function(tree)
        fewest, most = _ARGUMENTS.get(name, (1, 1))
        if not fewest <= len(given) <= most:
            count = str(fewest) if fewest == most else f"{fewest} or more" if most > 2 else f"{fewest} or {most}"
            raise Refused(f"{name} takes {count} value{'' if count == '1' else 's'}, not {len(given)}")
        return _called(name, [self.node(e) for e in given])


def _reader_of(tree: exp.Expr) -> str:
    """Return the name of the method that reads a kind of part of an expression."""
    name = f"_{type(tree).__name__.lower()}"
    if not hasattr(_Reader, name):
        what = f"the function {tree.key.upper()}" if isinstance(tree, exp.Func) else f"'{_written(tree)}'"
        raise Refused(f"{what} cannot be used in an expression", f"Allowed are {ALLOWED}")
    return name


def _refuse_function(tree: exp.Expr) -> None:
    name = str(tree.this).upper()
    if name not in (*FUNCTIONS, "DATE_PART"):
        raise Refused(f"the function {name} cannot be used in an expression", f"Allowed are {ALLOWED}")


_ARGUMENTS = {"COALESCE": (1, 100), "NULLIF": (2, 2), "POWER": (2, 2), "LOG": (1, 2)}


def _called(name: str, args: list[Node]) -> Node:
    if name == "COALESCE":
        return reduce(coalesced, args)
    if name == "NULLIF":
        return choice(equal(*args), Node(op=Op.MISSING, dtype=args[0].dtype), args[0])
    numbers = [wanted(arg, DType.FLOAT, name) for arg in args]
    if name == "POWER":
        return apply(Op.POWER, *numbers)
    if name in _NUMBERS:
        return apply(_NUMBERS[name], *numbers)
    base = {"LOG10": number(10.0), "LOG2": number(2.0)}.get(name, numbers[1] if len(numbers) > 1 else None)
    log = apply(Op.LN, numbers[0])
    return log if base is None else apply(Op.DIVIDE, log, apply(Op.LN, base))


def _part(name: str, value: Node) -> Node:
    part = name.lower()
    if not value.dtype.is_time:
        raise Refused(f"EXTRACT needs a date or a timestamp, and this is {KINDS[value.dtype]}")
    known = [p for p in PARTS if value.dtype is DType.DATETIME or p not in CLOCK]
    if part not in known:
        raise Refused(f"there is no part {name} of {KINDS[value.dtype]}", f"Allowed are {', '.join(known)}")
    return Node(op=Op.PART, dtype=DType.FLOAT, args=(value,), value=part)


def _written(tree: exp.Expr) -> str:
    """The expression as it is written, shortened."""
    shown = tree.sql()
    return shown if len(shown) <= 60 else f"{shown[:60]}…"
