"""A graph as a flow of Metaflow: the combinations are the branches of a foreach. The graph's file is ``$WMH_GRAPH``."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from metaflow import Config, FlowSpec, current, step

from when_ml_pipeline_meets_hydra.execution.graph import Graph, Node
from when_ml_pipeline_meets_hydra.orchestrators.node import PrintedOutput, has_succeeded, run_node
from when_ml_pipeline_meets_hydra.orchestrators.run_step import StepFacts


class WmhPipeline(FlowSpec):
    """The steps of a plan: those of a combination in a task, then the effects of all, one after the other.

    Artifacts of the tasks: ``config`` (overrides, and the composed config of each job), ``steps`` (name → facts).
    """

    config = Config("config")

    @step
    def start(self) -> None:
        """Name the combinations."""
        graph = _graph()
        early = {node.key for node in _early(graph)}
        jobs = [list(c) for c in graph.combinations if any({*c} & {*n.jobs} for n in graph.nodes if n.key in early)]
        self.combinations = jobs or [[]]
        self.next(self.combination, foreach="combinations")

    @step
    def combination(self) -> None:
        """Compute the steps of one combination; those that it shares with others, once."""
        graph, jobs = _graph(), {*self.input}
        self.jobs = sorted(jobs)
        self.configs = {str(number): self.config["jobs"][str(number)] for number in self.jobs}
        self.steps = _computed(graph, [node for node in _early(graph) if jobs & {*node.jobs}], {})
        self.metrics = _metrics(self.steps)
        self.next(self.effects)

    @step
    def effects(self, inputs: Any) -> None:
        """Bring the combinations together; then the effects, and what comes after them, in the order of the plan."""
        graph = _graph()
        self.steps = {name: facts for branch in inputs for name, facts in branch.steps.items()}
        early = {node.key for node in _early(graph)}
        self.steps |= _computed(graph, [node for node in graph.nodes if node.key not in early], self.steps)
        self.metrics = {str(branch.jobs): branch.metrics for branch in inputs}
        self.next(self.end)

    @step
    def end(self) -> None:
        """Fail if a step has failed."""
        if failed := [f"{name}: {f['error'] or f['reason']}" for name, f in self.steps.items() if not has_succeeded(f)]:
            raise RuntimeError("; ".join(failed))
        print(f"run {current.run_id}: {len(self.steps)} steps")


def _graph() -> Graph:
    return Graph.read(Path(os.environ["WMH_GRAPH"]))


def _early(graph: Graph) -> list[Node]:
    """The nodes that any combination may compute: they are stored, and depend on no effect."""
    late: set[str] = set()
    for node in graph.nodes:
        if not node.is_stored or any(key in late for key in node.before):
            late.add(node.key)
    return [node for node in graph.nodes if node.key not in late]


def _computed(graph: Graph, nodes: Iterable[Node], before: dict[str, StepFacts]) -> dict[str, StepFacts]:
    """Compute nodes in their order, without those after a failed one; returns the facts by the names of the nodes."""
    known = {facts["key"]: facts for facts in before.values()}
    found: dict[str, StepFacts] = {}
    for node in nodes:
        if all(key in known and has_succeeded(known[key]) for key in node.after):
            known[node.key] = found[node.name] = run_node(graph, node.key, PrintedOutput())
    return found


def _metrics(steps: dict[str, StepFacts]) -> dict[str, float]:
    named = {name.rpartition(" ")[0]: facts["metrics"] or {} for name, facts in steps.items()}
    return {f"{name}.{metric}": value for name, metrics in named.items() for metric, value in metrics.items()}


if __name__ == "__main__":
    WmhPipeline()
