"""Compute a node of a graph: its step, with the facts in the record of the run for the process that planned it.

``python -m …orchestrators.node GRAPH KEY`` does it in a process of its own, which imports no orchestrator.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from when_ml_pipeline_meets_hydra.errors import BadInput, ExitCode, Problem
from when_ml_pipeline_meets_hydra.execution.graph import Graph, Node, stop_file
from when_ml_pipeline_meets_hydra.execution.outcomes import Status
from when_ml_pipeline_meets_hydra.execution.schedule import STOPS
from when_ml_pipeline_meets_hydra.orchestrators.run_step import StepFacts, run_step
from when_ml_pipeline_meets_hydra.planning.plan import Step
from when_ml_pipeline_meets_hydra.runs import RunObserver
from when_ml_pipeline_meets_hydra.storage import durable_files


def run_node(graph: Graph, key: str, observer: RunObserver | None = None) -> StepFacts:
    """Compute the node with this key in the folder of its command; a refusal of its input is a failure as well."""
    node = next(node for node in graph.nodes if node.key == key)
    command = graph.command
    if stop_file(graph.record).exists():
        facts = read_facts(graph, key) or _without_result(graph, node, Status.SKIPPED, STOPS)
    else:
        try:
            _enter(command.folder)
            facts = run_step(
                command.real_overrides(),
                key,
                multirun=command.multirun,
                config_dirs=command.config_dirs,
                promise=graph.promise,
                record=graph.record,
                observer=observer,
            )
        except BadInput as error:
            facts = _without_result(graph, node, Status.FAILED, node.reason, str(error))
    if graph.stops and facts["status"] == Status.FAILED:
        stop_file(graph.record).touch()
    _write(graph.facts_file(node), facts)
    return facts


def _enter(folder: str) -> None:
    """Make the folder of the command the current one. Raises ``BadInput`` if it is not on this machine."""
    if Path.cwd() != Path(folder):
        try:
            os.chdir(folder)
        except OSError as error:
            message = f"the folder in which the command was given is not here ({error.strerror}: {folder})"
            raise BadInput(Problem(key="hydra/launcher", message=message, remedy="Mount it at the same path")) from None


def _write(file: Path, facts: StepFacts) -> None:
    """Write the facts of a node, unless it has been computed in this run already, by another process."""
    if facts["status"] == Status.STORED and file.exists():
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    durable_files.write(file, json.dumps(facts).encode(errors="backslashreplace"))


def read_facts(graph: Graph, key: str) -> StepFacts | None:
    """Return the facts that another process has written of a node; None if it has not."""
    node = next(node for node in graph.nodes if node.key == key)
    try:
        found: StepFacts = json.loads(graph.facts_file(node).read_bytes())
    except (OSError, ValueError):
        return None
    return found


def has_succeeded(facts: StepFacts) -> bool:
    """Return whether what comes after a node may start."""
    return facts["status"] in (Status.DONE, Status.STORED)


class PrintedOutput(RunObserver):
    """Prints what a step prints, for the log that an orchestrator keeps."""

    def step_printed(self, step: Step, text: str) -> None:
        """Print whole lines, secrets masked."""
        print(text, end="", flush=True)


def _without_result(graph: Graph, node: Node, status: Status, reason: str, error: str | None = None) -> StepFacts:
    return StepFacts(
        key=node.key,
        name=node.title,
        status=str(status),
        reason=reason,
        seconds=0.0,
        metrics=None,
        deviations=None,
        partial_scores=None,
        error=error,
        exit_code=int(ExitCode.BAD_INPUT if error else ExitCode.DONE),
        log=None,
        artifact=None,
        run=graph.record.name,
    )


def main(arguments: Sequence[str]) -> int:
    """Compute the node with a key in the graph in a file; returns the exit status."""
    file, key = arguments
    run_node(Graph.read(Path(file)), key, PrintedOutput())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
