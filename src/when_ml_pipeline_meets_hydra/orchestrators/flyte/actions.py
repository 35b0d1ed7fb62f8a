"""A graph as a run of Flyte 2 on this machine: ``python -m …flyte.actions GRAPH``."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import flyte

from when_ml_pipeline_meets_hydra.execution.graph import Graph, Node
from when_ml_pipeline_meets_hydra.orchestrators.node import has_succeeded, read_facts
from when_ml_pipeline_meets_hydra.orchestrators.run_step import StepFacts

_NODE = f"{Graph.__module__.partition('.')[0]}.orchestrators.node"
pipeline_environment = flyte.TaskEnvironment(name="wmh")


@dataclass
class Facts:
    """The outcome of a step, as Flyte's page shows it."""

    status: str
    reason: str
    seconds: float
    metrics: dict[str, float]
    log: str
    artifact: str
    run: str


@pipeline_environment.task
async def step(stage: str, subcommand: str, key: str, reason: str, graph: str) -> Facts:
    """Compute a step in a process of its own. Raises ``RuntimeError`` if it fails."""
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", _NODE, graph, key)
    try:
        code = await process.wait()
    except asyncio.CancelledError:
        process.terminate()
        raise
    found = read_facts(Graph.read(Path(graph)), key)
    if found is None:
        raise RuntimeError(f"{stage} {subcommand}: its process ended without a result (exit status {code})")
    if not has_succeeded(found):
        raise RuntimeError(f"{found['name']}: {found['error'] or found['reason']}")
    return _shown(found)


@pipeline_environment.task
async def pipeline(overrides: list[str], graph: str) -> dict[str, str]:
    """Run the nodes of a graph as soon as those before them have ended; returns the status of each by its name."""
    whole = Graph.read(Path(graph))
    room = asyncio.Semaphore(whole.options["max_concurrent"])
    started: dict[str, asyncio.Task[str]] = {}

    async def ended(node: Node) -> str:
        before = {key: await started[key] for key in node.before}
        if not all(before[key] == "" for key in node.after):
            return "skipped"
        async with room:
            action = step.override(short_name=node.name)
            try:
                await action(node.stage, node.subcommand, node.key, node.reason, graph)
            except Exception as error:
                return str(error) or type(error).__name__
        return ""

    for node in whole.nodes:
        started[node.key] = asyncio.create_task(ended(node))
    found = {node.name: await started[node.key] for node in whole.nodes}
    if failed := [message for message in found.values() if message not in ("", "skipped")]:
        raise RuntimeError("; ".join(failed))
    return dict.fromkeys(found, "done")


def _shown(facts: StepFacts) -> Facts:
    return Facts(
        status=facts["status"],
        reason=facts["reason"],
        seconds=facts["seconds"],
        metrics=facts["metrics"] or {},
        log=facts["log"] or "",
        artifact=facts["artifact"] or "",
        run=facts["run"],
    )


def run_graph(file: Path) -> None:
    """Run the nodes of a graph as actions of one run, which Flyte's local database keeps."""
    graph = Graph.read(file)
    flyte.init(local_persistence=True)
    name, folder = _run_name(graph, file), str(file.parent / "flyte")
    print(f"run {name}", flush=True)
    context = flyte.with_runcontext(mode="local", name=name, run_base_dir=folder, raw_data_path=folder)
    context.run(pipeline, overrides=list(graph.command.overrides), graph=str(file))


def _run_name(graph: Graph, file: Path) -> str:
    """The name of the record; of a further graph of the same run, with its number."""
    return f"wmh-{graph.record.name}{file.stem.removeprefix('graph')}"


def main(arguments: Sequence[str]) -> int:
    """Run the graph in the file that the argument names; returns the exit status."""
    (file,) = arguments
    run_graph(Path(file))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
