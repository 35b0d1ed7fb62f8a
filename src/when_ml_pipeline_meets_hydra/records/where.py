"""The filter language of ``runs list --where``: comparisons of config keys, options, metrics and facts of runs.

It is a part of Python's grammar, read by Python's parser and never executed: names, numbers, texts, lists, comparisons,
``and``, ``or``, ``not`` and ``exists(name)``.
"""

from __future__ import annotations

import ast
import warnings
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from when_ml_pipeline_meets_hydra.errors import BadInput, Problem
from when_ml_pipeline_meets_hydra.records.comparing_values import Moment, compare_values
from when_ml_pipeline_meets_hydra.records.facts import KEY, MISSING, STARTED, Facts, fact_name

LONGEST, _DEEPEST = 4_000, 50  # characters of a filter, and parentheses within parentheses
_EXAMPLE = 'For example: m_param.learning_rate > 0.1 and modeling.r2 > 0.8 and status == "done"'
_SIGNS: dict[type[ast.AST], str] = {
    **{ast.Eq: "==", ast.NotEq: "!=", ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">="},
    **{ast.In: "in", ast.NotIn: "not in"},
}
_JOINS: dict[type[ast.AST], str] = {ast.Div: "/", ast.MatMult: "@"}
_CONSTANTS = {"true": True, "false": False, "null": None}

Values = Sequence[Any]  # of one combination, in the order of the names of the filter
Test = Callable[[Values], bool]
Operand = Callable[[Values], Any]


class Name(NamedTuple):
    """A name in a filter: ``fact`` is what it is called in ``Facts``, ``place`` the number of its first character."""

    fact: str
    place: int

    @property
    def shown(self) -> str:
        """The name as a person writes it."""
        return self.fact.removeprefix(KEY)


class Where:
    """A filter. ``names`` are those that it uses, each once."""

    def __init__(self, text: str, source: str = "--where") -> None:
        """Read a filter. Raises ``BadInput``, with the place in the text, and ``source`` as its key."""
        self.text, self._source = text, source
        self._names: dict[str, Name] = {}
        try:
            self._test = self._condition(self._parsed())
        except RecursionError:
            raise self._too_deep() from None

    @classmethod
    def is_name(cls, text: str) -> bool:
        """Whether a text can stand in a filter as a name, without ``key["…"]``."""
        try:
            return [name.shown for name in cls(f"exists({text})").names] == [text]
        except BadInput:
            return False

    @property
    def names(self) -> tuple[Name, ...]:
        """The names that the filter uses."""
        return tuple(self._names.values())

    def matches(self, facts: Facts) -> bool:
        """Whether one of the combinations of a run fulfils the whole filter."""
        columns = [found if (found := facts.values(name)) is not None else [MISSING] for name in self._names]
        count = max(map(len, columns), default=1)
        if count == 1:
            return self._test([column[0] for column in columns])
        whole = (column if len(column) > 1 else column * count for column in columns)
        return any(map(self._test, zip(*whole, strict=True)))

    def problem(self, place: int, message: str, remedy: str | None = None) -> Problem:
        """Return a problem at a character of the text, counted from 1."""
        return Problem(key=self._source, value=self.text, message=f"at character {place}: {message}", remedy=remedy)

    def _parsed(self) -> ast.expr:
        text = self.text
        if len(text) > LONGEST:
            raise BadInput(Problem(key=self._source, message=f"a filter has at most {LONGEST:,} characters"))
        if not text.strip():
            raise BadInput(Problem(key=self._source, value=text, message="the filter is empty", remedy=_EXAMPLE))
        lead = len(text) - len(text.lstrip())
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # such as of backslashes in texts
                return ast.parse(" ".join(text.split("\n")).strip(), mode="eval").body
        except SyntaxError as error:
            at = lead + min(error.offset or len(text), len(text))  # none where the text ends too early
            raise BadInput(self.problem(at, _plain(error.msg), _remedy(error.msg, text))) from None
        except (ValueError, MemoryError):
            raise self._too_deep() from None

    def _too_deep(self) -> BadInput:
        return BadInput(Problem(key=self._source, message="the filter cannot be read, or is nested too deeply"))

    def _place(self, node: ast.expr) -> int:
        lead = len(self.text) - len(self.text.lstrip())
        before = self.text.strip().replace("\n", " ").encode(errors="surrogatepass")[: node.col_offset]
        return lead + len(before.decode(errors="replace")) + 1

    def _refused(self, node: ast.expr, message: str, remedy: str | None = _EXAMPLE) -> BadInput:
        return BadInput(self.problem(self._place(node), message, remedy))

    def _condition(self, node: ast.expr, depth: int = 0) -> Test:
        if depth > _DEEPEST:
            raise self._too_deep()
        if isinstance(node, ast.BoolOp):
            tests = [self._condition(value, depth + 1) for value in node.values]
            every = all if isinstance(node.op, ast.And) else any
            return lambda values: every(test(values) for test in tests)
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            negated = self._condition(node.operand, depth + 1)
            return lambda values: not negated(values)
        if isinstance(node, ast.Compare):
            return self._comparison(node)
        if isinstance(node, ast.Call):
            return self._existence(node)
        if (name := self._name(node)) is None or name in _CONSTANTS:
            raise self._refused(node, "expected a comparison")
        value = self._value_of(name, node)
        return lambda values: value(values) is True

    def _comparison(self, node: ast.Compare) -> Test:
        sides = [node.left, *node.comparators]
        tests: list[Test] = []
        for left, operator, right in zip(sides, node.ops, sides[1:], strict=False):
            if (sign := _SIGNS.get(type(operator))) is None:
                raise self._refused(node, "'is' is not known", "Use == or !=")
            one, other = self._sides(left, sign, right)
            tests.append(lambda values, a=one, s=sign, b=other: compare_values(a(values), s, b(values)))  # type: ignore[misc]
        return tests[0] if len(tests) == 1 else lambda values: all(test(values) for test in tests)

    def _sides(self, left: ast.expr, sign: str, right: ast.expr) -> tuple[Operand, Operand]:
        if self._name(right) == STARTED and self._name(left) is None and sign not in ("in", "not in"):
            raise self._refused(left, "the date stands on the right", f'Write: {STARTED} >= "2026-11-30"')
        if self._name(left) != STARTED:
            return self._operand(left), self._operand(right)
        remedy = 'Write a day or a time in quotes: "2026-11-30", "2026-11-30T14:00"'
        if not (isinstance(right, ast.Constant) and isinstance(right.value, str)) or sign in ("in", "not in"):
            raise self._refused(right, f"'{STARTED}' is compared with a date", remedy)
        try:
            moment = Moment.of(right.value)
        except (ValueError, OverflowError):
            raise self._refused(right, f"'{right.value}' is no date", remedy) from None
        return self._operand(left), lambda _: moment

    def _existence(self, node: ast.Call) -> Test:
        is_known = isinstance(node.func, ast.Name) and node.func.id == "exists"
        if not is_known or len(node.args) != 1 or node.keywords or (name := self._name(node.args[0])) is None:
            raise self._refused(node, "only exists(name) can be called", "For example: not exists(modeling.r2)")
        value = self._value_of(name, node.args[0])
        return lambda values: value(values) is not MISSING

    def _operand(self, node: ast.expr) -> Operand:
        if (name := self._name(node)) is not None and name not in _CONSTANTS:
            return self._value_of(name, node)
        constant = self._constant(node)
        return lambda _: constant

    def _constant(self, node: ast.expr) -> Any:
        if isinstance(node, ast.Name) and node.id in _CONSTANTS:
            return _CONSTANTS[node.id]
        if isinstance(node, ast.List | ast.Tuple | ast.Set):
            return [self._constant(element) for element in node.elts]
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.UAdd):
            value = self._constant(node.operand)
            if isinstance(value, int | float) and not isinstance(value, bool):
                return -value if isinstance(node.op, ast.USub) else value
        elif isinstance(node, ast.Constant) and isinstance(node.value, bool | int | float | str | None):
            return node.value
        elif self._name(node):
            raise self._refused(node, "a list has values only", 'Write texts in quotes: "done"')
        raise self._refused(node, "expected a name, a number, a text in quotes, or a list of these")

    def _value_of(self, name: str, node: ast.expr) -> Operand:
        fact = fact_name(name)
        if fact not in self._names:
            self._names[fact] = Name(fact, self._place(node))
        number = list(self._names).index(fact)
        return lambda values: values[number]

    def _name(self, node: ast.expr) -> str | None:
        """The name that a node spells: ``a.b``, ``group/sub``, ``group@place.key``, ``key["any text"]``."""
        if isinstance(node, ast.Name):
            return node.id
        if isinstance(node, ast.Attribute):
            before = self._name(node.value)
            return before and f"{before}.{node.attr}"
        if isinstance(node, ast.BinOp) and (joined := _JOINS.get(type(node.op))):
            before, after = self._name(node.left), self._name(node.right)
            return f"{before}{joined}{after}" if before and after else None
        if isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name) and node.value.id == "key":
            text = node.slice.value if isinstance(node.slice, ast.Constant) else None
            return f"{KEY}{text}" if isinstance(text, str) else None
        return None


def _plain(message: str) -> str:
    """The message of Python's parser in the words of a filter."""
    if "leading zeros" in message:
        return "a date or a text without quotes"
    if "never closed" in message or "unterminated" in message or "unmatched" in message or "does not match" in message:
        return message.partition(" (detected")[0]
    if "':='" in message or "cannot assign" in message or "assignment" in message:
        return "'=' is not known"
    return "this cannot be read"


def _remedy(message: str, text: str) -> str:
    if "leading zeros" in message:
        return 'Write it in quotes: "2026-11-30"'
    if any(f" {word} " in text for word in ("AND", "OR", "NOT", "&&", "||")):
        return "Write and, or, not"
    if "=" in text.replace("==", "").replace("!=", "").replace("<=", "").replace(">=", ""):
        return "Compare with =="
    return f'{_EXAMPLE}. Other names are written key["…"]'
