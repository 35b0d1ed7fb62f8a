"""A graph as executions of a Flyte service: ``python -m …flytekit.remote GRAPH`` registers, executes and waits."""

from __future__ import annotations

import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from flytekit.configuration import Config, ImageConfig, SerializationSettings
from flytekit.core.options import Options
from flytekit.models.common import Annotations
from flytekit.models.core.execution import WorkflowExecutionPhase
from flytekit.remote import FlyteRemote

from when_ml_pipeline_meets_hydra.composing.environment import HOME
from when_ml_pipeline_meets_hydra.errors import first_line
from when_ml_pipeline_meets_hydra.execution.graph import Graph, Node, notes_file
from when_ml_pipeline_meets_hydra.orchestrators.flytekit.workflows import Part, execution_of, parts_of
from when_ml_pipeline_meets_hydra.orchestrators.node import has_succeeded, read_facts

_POLL, _PATIENCE = 1.0, 120.0  # s: between two looks at the executions; without an answer of the service
_AT_ONCE = 8  # calls to end executions
_RUNNING = (
    WorkflowExecutionPhase.UNDEFINED,
    WorkflowExecutionPhase.QUEUED,
    WorkflowExecutionPhase.RUNNING,
    WorkflowExecutionPhase.SUCCEEDING,
    WorkflowExecutionPhase.FAILING,
    WorkflowExecutionPhase.ABORTING,
)


class Service:
    """The Flyte service of a graph, to which its parts are submitted. Executions that run at the end are aborted."""

    def __init__(self, graph: Graph, file: Path) -> None:
        self._graph, self._file, self._options = graph, file, graph.options
        known = Config.auto()  # with the authentication of Flyte's own config file
        platform = replace(known.platform, endpoint=self._options["endpoint"], insecure=self._options["insecure"])
        self._remote = FlyteRemote(
            replace(known, platform=platform),
            default_project=self._options["project"],
            default_domain=self._options["domain"],
        )
        self._settings = SerializationSettings(
            image_config=ImageConfig.auto(img_name=self._options["image"]),
            project=self._options["project"],
            domain=self._options["domain"],
            env={HOME: str(graph.home), **self._options["env"]},
        )
        self._running: dict[str, Any] = {}
        self.failures: list[str] = []

    def submit(self, part: Part) -> None:
        """Register the workflow of a part unless it has been, and execute it; notes the URL for the user."""
        found = execution_of(self._graph, self._file, part.nodes)
        settings = replace(self._settings, version=found.version)
        jobs = ",".join(map(str, part.jobs))
        execution = self._remote.execute(
            found.workflow,
            inputs=found.inputs,
            version=found.version,
            image_config=settings.image_config,
            serialization_settings=settings,
            options=Options(annotations=Annotations({"wmh/run": self._graph.record.name, "wmh/jobs": jobs})),
        )
        self._running[execution.id.name] = execution.id
        with notes_file(self._file).open("a", encoding="utf-8") as notes:
            notes.write(f"Flyte runs jobs {jobs}: {self._remote.generate_console_url(execution)}\n")

    def wait(self) -> None:
        """Wait until all executions have ended; prints those that did not succeed."""
        answered = time.monotonic()
        while self._running:
            time.sleep(_POLL)
            for name, identifier in list(self._running.items()):
                try:
                    closure = self._remote.client.get_execution(identifier).closure
                except Exception as error:  # of a network, or of a service that is being restarted
                    if time.monotonic() - answered > _PATIENCE:
                        raise
                    print(f"execution {name}: {type(error).__name__}: {error}", flush=True)
                    continue
                answered = time.monotonic()
                if closure.phase not in _RUNNING:
                    del self._running[name]
                    phase = WorkflowExecutionPhase.enum_to_string(closure.phase).lower()
                    text = f"execution {name} {phase}{_reason(closure)}"
                    print(text, flush=True)
                    if closure.phase != WorkflowExecutionPhase.SUCCEEDED:
                        self.failures.append(text)

    def abort(self, cause: str) -> None:
        """End all executions that run."""
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            for _ in pool.map(lambda i: self._remote.client.terminate_execution(i, cause), self._running.values()):
                pass


def _reason(closure: Any) -> str:
    lines = [line.strip() for line in (closure.error.message if closure.error else "").splitlines() if line.strip()]
    return f": {lines[-1]}" if lines else ""


@contextmanager
def _aborting(service: Service) -> Iterator[None]:
    """Abort what runs if the run is interrupted, or ends by an error."""
    try:
        yield
    except BaseException as error:
        service.abort("the run was interrupted" if isinstance(error, KeyboardInterrupt) else f"{type(error).__name__}")
        raise


def run_graph(file: Path) -> None:
    """Execute the parts of a graph: the combinations together, and effects after them."""
    graph = Graph.read(file)
    service, (*parts, last) = Service(graph, file), parts_of(graph)
    if all(node.is_stored for node in last.nodes):  # the combinations alone
        parts, last = [*parts, last], replace(last, nodes=())
    with _aborting(service):
        for part in parts:
            service.submit(part)
        service.wait()
        if ready := _ready(graph, last.nodes):
            service.submit(replace(last, nodes=tuple(ready)))
            service.wait()
    if service.failures:
        print("; ".join(service.failures), flush=True)  # the last line is part of a message


def _ready(graph: Graph, nodes: Sequence[Node]) -> list[Node]:
    """The nodes whose dependencies among the others have succeeded, and so have those of their dependencies."""
    own = {node.key for node in nodes}
    found: dict[str, Node] = {}
    for node in nodes:
        others = [read_facts(graph, key) for key in node.after if key not in own]
        if all(facts and has_succeeded(facts) for facts in others) and all(k in found for k in own & {*node.after}):
            found[node.key] = node
    return [*found.values()]


def main(arguments: Sequence[str]) -> int:
    """Run the graph in the file that the argument names; returns the exit status."""
    (file,) = arguments
    try:
        run_graph(Path(file))
    except Exception as error:
        traceback.print_exc()
        print(f"{type(error).__name__}: {first_line(error)}", flush=True)  # the last line is part of a message
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
