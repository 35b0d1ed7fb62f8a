"""The steps of a combination as a workflow of Flyte, with the values of its inputs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flytekit import WorkflowFailurePolicy
from flytekit.core.workflow import ImperativeWorkflow

from when_ml_pipeline_meets_hydra.execution.graph import Graph, Node
from when_ml_pipeline_meets_hydra.orchestrators.flytekit.inputs import Input, inputs_of
from when_ml_pipeline_meets_hydra.orchestrators.flytekit.tasks import GRAPH, KEY, StepTask, type_of, value_of

_NAME = "wmh.pipeline"
_DIGITS = 12  # of a digest in a version


@dataclass(frozen=True, kw_only=True)
class Execution:
    """An execution to submit: its workflow, the version, and the values of the inputs."""

    workflow: Any
    version: str
    inputs: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Part:
    """Nodes that one execution runs, and the numbers of the jobs that it is for."""

    nodes: tuple[Node, ...]
    jobs: tuple[int, ...]


def parts_of(graph: Graph) -> list[Part]:
    """Return the nodes of each combination, those that several share in each of them.

    Effects, and what comes after them, have an order across combinations: they are a last part of their own, unless
    there is one combination alone.
    """
    late: set[str] = set()
    for node in graph.nodes:
        if not node.is_stored or any(key in late for key in node.before):
            late.add(node.key)
    early = [node for node in graph.nodes if node.key not in late]
    parts = {jobs: tuple(n for n in early if {*jobs} & {*n.jobs}) for jobs in graph.combinations}
    found = [Part(nodes=nodes, jobs=jobs) for jobs, nodes in parts.items() if nodes]
    last = Part(
        nodes=tuple(node for node in graph.nodes if node.key in late),
        jobs=tuple(sorted({job for node in graph.nodes if node.key in late for job in node.jobs})),
    )
    if len(found) == 1 and {*last.jobs} <= {*found[0].jobs}:
        return [Part(nodes=(*found[0].nodes, *last.nodes), jobs=found[0].jobs)]
    return [*found, *([last] if last.nodes else [])]


def execution_of(graph: Graph, file: Path, nodes: Sequence[Node]) -> Execution:
    """Return the execution of a part of a graph; parts with the same steps and types share a workflow."""
    options, names = graph.options, _names(nodes)
    workflow = ImperativeWorkflow(_NAME, failure_policy=WorkflowFailurePolicy.FAIL_AFTER_EXECUTABLE_NODES_COMPLETE)
    known: dict[str, Input] = {GRAPH: Input(value=str(file), kind="str")}
    types, promises = {GRAPH: str}, {GRAPH: workflow.add_workflow_input(GRAPH, str)}
    made: dict[str, Any] = {}
    shape: list[Any] = []

    def bound(name: str, owner: str, own: Input) -> str:
        """The workflow's input for that of a step: one of the same name and value, or one with the step's name."""
        found = next((key for key in (name, f"{owner}_{name}") if known.get(key, own) == own), f"{owner}_{name}")
        if found not in known:
            known[found], types[found] = own, type_of(own)
            promises[found] = workflow.add_workflow_input(found, types[found])
        return found

    for node, name in zip(nodes, names, strict=True):
        inputs = inputs_of(graph.promise["inputs"][node.key])
        task = StepTask(node.title, inputs, options["pod_template"])
        bindings = {key: bound(key, name, own) for key, own in inputs.items()}
        bindings |= {KEY: bound(f"{name}_{KEY}", name, Input(value=node.key, kind="str")), GRAPH: GRAPH}
        added = workflow.add_entity(task, **{key: promises[place] for key, place in bindings.items()})
        added.with_overrides(node_name=name, name=node.title)
        before = [key for key in node.before if key in made]
        for key in before:
            made[key].runs_before(added)
        made[node.key] = added
        workflow.add_workflow_output(f"{name}_metrics", added.outputs["metrics"], dict[str, float])
        kinds = {key: (own.kind, own.schema, bindings[key]) for key, own in inputs.items()}
        shape.append([node.title, name, kinds, [names[_place(nodes, key)] for key in before]])
    return Execution(
        workflow=workflow,
        version=_version(options["version"], [shape, {**options, "env": sorted(options["env"].items())}]),
        inputs={name: value_of(own, types[name]) for name, own in known.items()},
    )


def _names(nodes: Sequence[Node]) -> list[str]:
    """The names of the nodes in the workflow: their titles as identifiers, with a number where several are equal."""
    found: list[str] = []
    for node in nodes:
        plain = "_".join("".join(c if c.isascii() and c.isalnum() else " " for c in node.title).split())
        found.append(next(name for name in _numbered(plain) if name not in found))
    return found


def _numbered(name: str) -> Iterator[str]:
    yield name
    yield from (f"{name}_{number}" for number in range(2, 1_000_000))


def _place(nodes: Sequence[Node], key: str) -> int:
    return next(number for number, node in enumerate(nodes) if node.key == key)


def _version(prefix: str | None, content: Any) -> str:
    digest = hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()[:_DIGITS]
    return f"{prefix}-{digest}" if prefix else digest
