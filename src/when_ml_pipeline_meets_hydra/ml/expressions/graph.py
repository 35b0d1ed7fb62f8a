"""Expressions as nodes of an ONNX graph, in doubles.

A missing number is NaN and a missing text is empty, as in the inputs of the graph. A condition is two tensors: where it
is true, and where it is false; where it is neither, it is unknown.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from when_ml_pipeline_meets_hydra.ml.artifacts import DType
from when_ml_pipeline_meets_hydra.ml.expressions.calendar import in_graph
from when_ml_pipeline_meets_hydra.ml.expressions.tree import Node, Op

_OPERATORS: Mapping[Op, str] = {
    Op.ADD: "Add",
    Op.SUBTRACT: "Sub",
    Op.MULTIPLY: "Mul",
    Op.DIVIDE: "Div",
    Op.POWER: "Pow",
    Op.ABS: "Abs",
    Op.LN: "Log",
    Op.EXP: "Exp",
    Op.SQRT: "Sqrt",
    Op.FLOOR: "Floor",
    Op.CEIL: "Ceil",
}
_NAN = float("nan")
Condition = tuple[str, str]  # where it is true, where it is false


class Graph(Protocol):
    """A graph under construction; each method returns the name of what it added."""

    def node(self, operator: str, *inputs: str) -> str:
        """Add an operator."""

    def constant(self, values: float) -> str:
        """Add a double."""

    def text(self, value: str) -> str:
        """Add a text."""

    def truth(self, value: bool) -> str:
        """Add a truth value."""


def add(graph: Graph, node: Node) -> str:
    """Add the nodes of a tree, and return the output: a double, or a text, which for a condition is true or false."""
    found = _Builder(graph)
    if node.dtype is DType.BOOL:
        true, false = found.condition(node)
        unless = graph.node("Where", false, graph.text("false"), graph.text(""))
        return graph.node("Where", true, graph.text("true"), unless)
    return found.value(node)


class _Builder:
    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._values: dict[Node, str] = {}
        self._conditions: dict[Node, Condition] = {}

    def value(self, node: Node) -> str:
        """The output of a number or a text; a tree that is met again is not computed again."""
        if node not in self._values:
            self._values[node] = self._text(node) if node.dtype is DType.STRING else self._number(node)
        return self._values[node]

    def condition(self, node: Node) -> Condition:
        """The two outputs of a condition."""
        if node not in self._conditions:
            self._conditions[node] = self._condition(node)
        return self._conditions[node]

    def _text(self, node: Node) -> str:
        if node.op is Op.COLUMN:
            return str(node.value)
        if node.op in (Op.TEXT, Op.MISSING):
            return self._graph.text(node.value or "")
        return self._chosen(node)

    def _number(self, node: Node) -> str:
        graph = self._graph
        if node.op is Op.COLUMN:
            return str(node.value)
        if node.op in (Op.NUMBER, Op.MISSING):
            return graph.constant(_NAN if node.value is None else node.value)
        if node.op is Op.PART:
            return in_graph(graph.node, graph.constant, self.value(node.args[0]), node.args[0].dtype, node.value)
        if node.op not in _OPERATORS:
            return self._chosen(node)
        made = graph.node(_OPERATORS[node.op], *map(self.value, node.args))
        if node.op is Op.POWER:  # 1 to the power of a missing number, and a missing one to the power of 0, are 1
            for arg in node.args:
                made = graph.node("Where", graph.node("IsNaN", self.value(arg)), graph.constant(_NAN), made)
        # Infinity minus itself is NaN.
        return graph.node("Add", made, graph.node("Sub", made, made))

    def _chosen(self, node: Node) -> str:
        if node.op is Op.IF:
            condition, yes, no = node.args
            return self._graph.node("Where", self.condition(condition)[0], self.value(yes), self.value(no))
        first, second = node.args
        return self._graph.node("Where", self._is_missing(first), self.value(second), self.value(first))

    def _is_missing(self, node: Node) -> str:
        graph = self._graph
        if node.dtype is DType.BOOL:
            return graph.node("Not", graph.node("Or", *self.condition(node)))
        if node.dtype is DType.STRING:
            return graph.node("Equal", self.value(node), graph.text(""))
        return graph.node("IsNaN", self.value(node))

    def _condition(self, node: Node) -> Condition:
        made: Mapping[Op, Callable[[Node], Condition]] = {
            Op.COLUMN: self._column,
            Op.TRUTH: lambda n: (self._graph.truth(n.value), self._graph.truth(not n.value)),
            Op.MISSING: lambda _: (self._graph.truth(False), self._graph.truth(False)),
            Op.NOT: lambda n: self.condition(n.args[0])[::-1],
            Op.AND: lambda n: self._both(n, "And", "Or"),
            Op.OR: lambda n: self._both(n, "Or", "And"),
            Op.IS_MISSING: self._missing,
            Op.IF: self._either,
            Op.COALESCE: self._first,
        }
        return made.get(node.op, self._compared)(node)

    def _column(self, node: Node) -> Condition:
        true, false = (self._graph.node("Equal", node.value, self._graph.text(word)) for word in ("true", "false"))
        return true, false

    def _both(self, node: Node, of_true: str, of_false: str) -> Condition:
        (true, false), (other_true, other_false) = map(self.condition, node.args)
        return self._graph.node(of_true, true, other_true), self._graph.node(of_false, false, other_false)

    def _missing(self, node: Node) -> Condition:
        found = self._is_missing(node.args[0])
        return found, self._graph.node("Not", found)

    def _either(self, node: Node) -> Condition:
        """Where the condition is true that of the first, otherwise that of the second: also where it is unknown."""
        when, yes, no = map(self.condition, node.args)
        return self._select(when[0], yes, no)

    def _first(self, node: Node) -> Condition:
        first, second = map(self.condition, node.args)
        return self._select(self._graph.node("Or", *first), first, second)

    def _select(self, when: str, yes: Condition, no: Condition) -> Condition:
        node = self._graph.node
        otherwise = node("Not", when)
        made = [node("Or", node("And", when, a), node("And", otherwise, b)) for a, b in zip(yes, no, strict=True)]
        return made[0], made[1]

    def _compared(self, node: Node) -> Condition:
        """A comparison is neither true nor false if one of the values is missing; comparisons with NaN are false."""
        add = self._graph.node
        left, right = map(self.value, node.args)
        if node.args[0].dtype is DType.STRING:
            missing = add("Or", *map(self._is_missing, node.args))
            equal = add("Equal", left, right)
            return add("And", equal, add("Not", missing)), add("Not", add("Or", equal, missing))
        if node.op is Op.EQUAL:
            return add("Equal", left, right), add("Or", add("Less", left, right), add("Less", right, left))
        if node.op is Op.LESS:
            return add("Less", left, right), add("LessOrEqual", right, left)
        return add("LessOrEqual", left, right), add("Less", right, left)
