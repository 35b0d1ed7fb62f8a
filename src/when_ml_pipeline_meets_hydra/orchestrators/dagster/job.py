"""A graph as a job of Dagster: ``python -m …dagster.job GRAPH`` runs it in the instance at ``$DAGSTER_HOME``."""
# Dagster reads the annotation of an op's context as a class: no ``from __future__ import annotations`` here.

import signal
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dagster as dg

from when_ml_pipeline_meets_hydra.composing import compose
from when_ml_pipeline_meets_hydra.execution.graph import Graph, Node
from when_ml_pipeline_meets_hydra.execution.outcomes import Status
from when_ml_pipeline_meets_hydra.orchestrators.node import has_succeeded, run_node
from when_ml_pipeline_meets_hydra.orchestrators.run_step import StepFacts
from when_ml_pipeline_meets_hydra.planning.plan import Step
from when_ml_pipeline_meets_hydra.runs import RunObserver


def job_of(file: str) -> dg.JobDefinition:
    """Return the job of the graph in a file; worker processes call it again."""
    graph = Graph.read(Path(file))
    ops = {node.key: _op(graph, node) for node in graph.nodes}
    names = {node.key: node.identifier for node in graph.nodes}
    dependencies = {
        node.identifier: {_after(key): dg.DependencyDefinition(names[key]) for key in node.before}
        for node in graph.nodes
    }
    options = graph.options
    executor = executor_of(options["max_concurrent"])
    made = dg.GraphDefinition(name=options["job_name"], node_defs=list(ops.values()), dependencies=dependencies)
    description = " ".join(graph.command.overrides)
    return made.to_job(name=options["job_name"], executor_def=executor, description=description)


def executor_of(max_concurrent: int | None = None) -> dg.ExecutorDefinition:
    """Return the executor of a job: each op in a process of its own, forked from one that has imported Dagster."""
    limit = {"max_concurrent": max_concurrent} if max_concurrent else {}
    start = {"forkserver": {"preload_modules": [__spec__.name, compose.__name__]}}
    found: dg.ExecutorDefinition = dg.multiprocess_executor.configured({**limit, "start_method": start})
    return found


def _after(key: str) -> str:
    return f"after_{key[:12]}"


def _op(graph: Graph, node: Node) -> dg.OpDefinition:
    @dg.op(
        name=node.identifier,
        ins={_after(key): dg.In(dg.Nothing) for key in node.before},
        out=dg.Out(dg.Nothing),
        tags={"wmh/stage": node.stage, "wmh/subcommand": node.subcommand, "wmh/key": node.key[:63]},
        description=f"{node.name}: {node.reason}",
    )
    def compute(context: dg.OpExecutionContext) -> Iterator[Any]:
        with interruptible():
            facts = run_node(graph, node.key, StepLog(context))
        yield from events_of(facts, node.stage, node.subcommand)

    found: dg.OpDefinition = compute
    return found


@contextmanager
def interruptible() -> Iterator[None]:
    """Let a signal interrupt a step as it does elsewhere, where Dagster raises an error of its own."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, signal.default_int_handler) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def events_of(facts: StepFacts, stage: str, subcommand: str) -> Iterator[Any]:
    """Yield the events of a computed step: its artifact as an asset, and its facts. Raises ``Failure`` if it failed."""
    metadata = metadata_of(facts)
    if not has_succeeded(facts) and facts["status"] != Status.NOT_CHOSEN:
        text = facts["error"] or facts["reason"]
        raise dg.Failure(description=text, metadata=metadata, allow_retries=False)
    if facts["artifact"]:
        version = {"dagster/data_version": facts["key"]}
        yield dg.AssetMaterialization(asset_key=[stage, subcommand], metadata=metadata, tags=version)
    yield dg.Output(None, metadata=metadata)


def metadata_of(facts: StepFacts) -> dict[str, Any]:
    """Return the facts of a step as Dagster's metadata."""
    paths = {name: dg.MetadataValue.path(path) for name in ("log", "artifact") if (path := facts[name])}
    numbers = {name: float(value) for name, value in (facts["metrics"] or {}).items()}
    seconds = {"seconds": facts["seconds"]}
    texts = {name: str(facts[name]) for name in ("status", "reason", "key", "run")}
    return {**texts, **seconds, **numbers, **paths}


class StepLog(RunObserver):
    """Logs what a step prints."""

    def __init__(self, context: dg.OpExecutionContext) -> None:
        self._log = context.log

    def step_printed(self, step: Step, text: str) -> None:
        """Log whole lines, secrets masked."""
        self._log.info(text.rstrip())


def run_graph(file: str, tags: Mapping[str, str]) -> None:
    """Run the job of a graph in the instance, each op in a process of its own."""
    recon = dg.build_reconstructable_job(__spec__.name, job_of.__name__, (file,), {})
    folder = Path(dg.DagsterInstance.get().root_directory)
    with dg.DagsterInstance.get() as instance:
        print(f"Dagster's instance: {folder}", flush=True)
        found = dg.execute_job(recon, instance, tags={"wmh/run": Path(file).parent.parent.name, **tags})
        print(f"run {found.run_id}: {'success' if found.success else 'failure'}", flush=True)


def main(arguments: Sequence[str]) -> int:
    """Run the graph in the file that the argument names; returns the exit status."""
    import os

    Path(os.environ["DAGSTER_HOME"]).mkdir(parents=True, exist_ok=True)
    (file,) = arguments
    run_graph(file, Graph.read(Path(file)).options["tags"])
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
