"""A step as a task of Flyte: registered with typed inputs, and run in its pod by ``pyflyte-execute``."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import msgpack
from flytekit.core.base_task import TaskMetadata, TaskResolverMixin
from flytekit.core.interface import Interface
from flytekit.core.python_auto_container import PythonAutoContainerTask
from flytekit.core.tracker import TrackedInstance
from flytekit.extend import TypeEngine, TypeTransformer
from flytekit.models.literals import Binary, Literal, Scalar
from flytekit.models.types import LiteralType, SimpleType
from google.protobuf.json_format import MessageToDict  # type: ignore[import-untyped]

from when_ml_pipeline_meets_hydra.execution.graph import Graph
from when_ml_pipeline_meets_hydra.orchestrators.flytekit.inputs import OPTION, Input, inputs_of
from when_ml_pipeline_meets_hydra.orchestrators.node import PrintedOutput, has_succeeded, run_node

GRAPH, KEY = "graph", "key"
OUTPUTS = {"status": str, "reason": str, "seconds": float, "metrics": dict[str, float], "log": str, "artifact": str}
_MSGPACK = "msgpack"


class Option:
    """An option as an input of Flyte. Subclasses have the JSON schema of its class."""

    schema: ClassVar[Mapping[str, Any] | None] = None

    def __init__(self, values: Mapping[str, Any]) -> None:
        self.values = values


class _OptionTransformer(TypeTransformer[Option]):
    """Options are structs, whose type has the JSON schema as its metadata."""

    def __init__(self) -> None:
        super().__init__("option", Option)

    def get_literal_type(self, t: type[Option] | None = None) -> LiteralType:
        """Return the type of an input."""
        return LiteralType(simple=SimpleType.STRUCT, metadata=dict(t.schema) if t and t.schema else None)

    def to_literal(self, ctx: Any, python_val: Option, python_type: type[Option], expected: LiteralType) -> Literal:
        """Return the value of an input."""
        return Literal(scalar=Scalar(binary=Binary(value=msgpack.dumps(python_val.values), tag=_MSGPACK)))

    def to_python_value(self, ctx: Any, lv: Literal, expected_python_type: type[Option]) -> Option:
        """Return the option that the service has sent; one that was written in its page is a struct of protobuf."""
        if lv.scalar.binary is not None:
            return Option(msgpack.loads(lv.scalar.binary.value))
        return Option(MessageToDict(lv.scalar.generic))


TypeEngine.register(_OptionTransformer())


class StepTask(PythonAutoContainerTask[None]):
    """A step of any combination; its inputs are the graph's file, the key of the step, and its options."""

    def __init__(self, title: str, inputs: Mapping[str, Input], pod_template: str | None = None) -> None:
        self.title, self.kinds = title, {name: own.kind for name, own in inputs.items()}
        types = {name: type_of(own) for name, own in inputs.items()}
        super().__init__(
            name="wmh." + ".".join("".join(c if c.isascii() and c.isalnum() else " " for c in title).split()),
            task_config=None,
            interface=Interface(inputs={GRAPH: str, KEY: str, **types}, outputs=dict(OUTPUTS)),
            metadata=TaskMetadata(retries=0, interruptible=False),
            task_resolver=steps,
            pod_template_name=pod_template,
        )

    def execute(self, **inputs: Any) -> tuple[Any, ...]:
        """Compute the step. Raises ``RuntimeError`` if it fails, or if its inputs are not those of its plan."""
        file, key = inputs.pop(GRAPH), inputs.pop(KEY)
        try:
            graph = Graph.read(Path(file))
        except OSError as error:
            text = f"the record of the run is not here ({error}): a volume with home has to be mounted at the same path"
            raise RuntimeError(text) from None
        planned = {name: own.value for name, own in inputs_of(graph.promise["inputs"][key]).items()}
        given = {name: value.values if isinstance(value, Option) else value for name, value in inputs.items()}
        if changed := [name for name in planned if not _equal(planned[name], given.get(name))]:
            text = f"{', '.join(changed)}: other values than in the plan. Give them as overrides on the command line"
            raise RuntimeError(f"{self.title}: {text}")
        _start_effect_once(graph, key)
        facts = run_node(graph, key, PrintedOutput())
        if not has_succeeded(facts):
            raise RuntimeError(f"{facts['name']}: {facts['error'] or facts['reason']}")
        metrics = {name: float(value) for name, value in (facts["metrics"] or {}).items()}
        shown = {**facts, "metrics": metrics, "log": facts["log"] or "", "artifact": facts["artifact"] or ""}
        return tuple(shown[name] for name in OUTPUTS)


def _start_effect_once(graph: Graph, key: str) -> None:
    """Note that an effect starts. Raises ``RuntimeError`` if it has before: Flyte repeats tasks whose pods it lost."""
    node = next(node for node in graph.nodes if node.key == key)
    if not node.is_stored:
        try:
            graph.facts_file(node).with_suffix(".started").touch(exist_ok=False)
        except FileExistsError:
            raise RuntimeError(f"{node.title}: it was started before, and an effect is not repeated") from None


class Steps(TrackedInstance, TaskResolverMixin):
    """Makes the task of a step again in its pod, from the title and the kinds of its inputs."""

    def name(self) -> str:
        """The name of this resolver."""
        return "wmh"

    def load_task(self, loader_args: list[str]) -> StepTask:
        """Return the task with these arguments."""
        title, kinds = loader_args
        return StepTask(title, {name: Input(value=None, kind=kind) for name, kind in json.loads(kinds).items()})

    def loader_args(self, settings: Any, task: StepTask) -> list[str]:
        """Return the arguments from which ``load_task`` makes a task again."""
        return [task.title, json.dumps(task.kinds)]

    def get_all_tasks(self) -> list[Any]:
        """None: tasks are made when they are needed."""
        return []


steps = Steps()


def type_of(own: Input) -> Any:
    """Return the Python type of an input, for flytekit."""
    if own.kind == OPTION:
        return type("Option", (Option,), {"schema": own.schema})
    plain = {"bool": bool, "int": int, "float": float, "str": str}[own.kind.removesuffix("?")]
    return plain | None if own.kind.endswith("?") else plain


def value_of(own: Input, kind: Any) -> Any:
    """Return the value of an input, for flytekit; ``kind`` is its Python type."""
    if own.kind == OPTION:
        return kind(own.value)
    return float(own.value) if own.kind.startswith("float") and own.value is not None else own.value


def _equal(one: Any, other: Any) -> bool:
    """Whether two values are the same; a page may have turned whole numbers into floats."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(_equal(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_equal, one, other))
    if isinstance(one, float | int) and isinstance(other, float | int):
        return math.isclose(one, other, rel_tol=1e-12)
    return bool(one == other)
