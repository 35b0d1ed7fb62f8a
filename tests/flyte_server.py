"""A small Flyte service for tests: ``python flyte_server.py FOLDER PORT`` registers, and runs executions in processes.

It speaks the protocol of Flyte's admin service (flyteidl), so that an unmodified ``FlyteRemote`` is its client, and
runs each task as a pod would: the registered command, ``pyflyte-execute``, with the inputs and outputs in files and the
environment of its container; but in a process of this machine. All that clients send is kept in ``FOLDER/requests``.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

PROJECT, DOMAIN = "flytesnacks", "development"
_TASKS_AT_ONCE = 2
_PRELOADED = ("flytekit.bin.entrypoint", "when_ml_pipeline_meets_hydra.orchestrators.flytekit.tasks", "polars")


@dataclass(frozen=True)
class FlyteServer:
    """A running service: all that was sent to it lies below ``folder``."""

    folder: Path
    port: int
    process: subprocess.Popen[bytes]

    @property
    def endpoint(self) -> str:
        """Host and port."""
        return f"127.0.0.1:{self.port}"

    def remote(self) -> Any:
        """A client of it."""
        from flytekit.configuration import Config
        from flytekit.remote import FlyteRemote

        known = Config.for_endpoint(self.endpoint, insecure=True)
        return FlyteRemote(known, default_project=PROJECT, default_domain=DOMAIN)

    def requests(self, kind: str) -> list[Path]:
        """The files of all requests of a kind, such as ``CreateExecution``, in their order."""
        return sorted((self.folder / "requests").glob(f"*-{kind}"))


@contextlib.contextmanager
def flyte_server(folder: Path, environment: Mapping[str, str]) -> Iterator[FlyteServer]:
    """A service of one's own; ``environment`` is what its tasks have, as from secrets of a cluster."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, __file__, str(folder), str(port)]
    folder.mkdir(parents=True)
    with (folder / "output.txt").open("wb") as output:
        process = subprocess.Popen(
            command, env={**os.environ, **environment}, stdout=output, stderr=output, start_new_session=True
        )
    try:
        _wait_for(port, process, folder)
        yield FlyteServer(folder, port, process)
    finally:
        for number in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(3)


def _wait_for(port: int, process: subprocess.Popen[bytes], folder: Path) -> None:
    until = time.monotonic() + 60
    while time.monotonic() < until and process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    pytest.fail(f"the Flyte service does not answer: {(folder / 'output.txt').read_text()}")


# What runs in the process of the service.


@dataclass
class _Running:
    """An execution: the request, where it stands, its outputs, and the processes of its tasks."""

    request: Any
    inputs: Any
    phase: int
    error: str = ""
    outputs: Any = None
    processes: list[Any] = field(default_factory=list)
    is_aborted: bool = False
    nodes: dict[str, str] = field(default_factory=dict)  # node → how it ended


def _run_task(arguments: list[str], environment: dict[str, str], folder: str) -> None:
    """Run the command of a task in this process, which was forked from one that has imported flytekit."""
    from flytekit.bin.entrypoint import execute_task_cmd

    os.environ.update(environment)
    sys.path[:0] = environment.get("PYTHONPATH", "").split(os.pathsep)
    os.setsid()
    os.chdir(folder)
    output = os.open("output.txt", os.O_WRONLY | os.O_CREAT)
    os.dup2(output, 1)
    os.dup2(output, 2)
    program, *rest = arguments
    assert program == "pyflyte-execute", program
    execute_task_cmd.main(rest, standalone_mode=False)


class _Service:
    """Registered entities and executions; ``_METHODS`` are those of the protocol."""

    def __init__(self, folder: Path) -> None:
        from flyteidl.admin import execution_pb2, launch_plan_pb2, task_pb2, workflow_pb2
        from flyteidl.core import execution_pb2 as core

        self.folder, self.phases = folder, core.WorkflowExecution.Phase
        self.execution, self.launch_plan, self.task, self.workflow = (
            execution_pb2,
            launch_plan_pb2,
            task_pb2,
            workflow_pb2,
        )
        self.known: dict[str, Any] = {}
        self.executions: dict[str, _Running] = {}
        self.lock, self.room = threading.RLock(), threading.Semaphore(_TASKS_AT_ONCE)
        self.processes = multiprocessing.get_context("forkserver")
        self.processes.set_forkserver_preload([*_PRELOADED])
        (folder / "requests").mkdir()
        self.count = 0

    def keep(self, kind: str, request: Any) -> None:
        with self.lock:
            self.count += 1
            (self.folder / "requests" / f"{self.count:04}-{kind}").write_bytes(request.SerializeToString())

    def create(self, request: Any, context: Any, kind: str, response: Any) -> Any:
        import grpc

        self.keep(kind, request)
        known = self.known.setdefault(str(request.id), request)
        if known is not request:
            is_same = known.SerializeToString(deterministic=True) == request.SerializeToString(deterministic=True)
            code = grpc.StatusCode.ALREADY_EXISTS if is_same else grpc.StatusCode.INVALID_ARGUMENT
            context.abort(code, "it exists" if is_same else "it exists with another content")
        return response

    def get(self, identifier: Any, context: Any) -> Any:
        import grpc

        if str(identifier) not in self.known:
            context.abort(grpc.StatusCode.NOT_FOUND, f"there is no {identifier.name}")
        return self.known[str(identifier)]

    def create_task(self, request: Any, context: Any) -> Any:
        return self.create(request, context, "CreateTask", self.task.TaskCreateResponse())

    def create_workflow(self, request: Any, context: Any) -> Any:
        return self.create(request, context, "CreateWorkflow", self.workflow.WorkflowCreateResponse())

    def create_launch_plan(self, request: Any, context: Any) -> Any:
        return self.create(request, context, "CreateLaunchPlan", self.launch_plan.LaunchPlanCreateResponse())

    def get_task(self, request: Any, context: Any) -> Any:
        found = self.task.Task(id=request.id)
        found.closure.compiled_task.template.CopyFrom(self.get(request.id, context).spec.template)
        return found

    def get_workflow(self, request: Any, context: Any) -> Any:
        found = self.workflow.Workflow(id=request.id)
        compiled = found.closure.compiled_workflow
        compiled.primary.template.CopyFrom(self.get(request.id, context).spec.template)
        compiled.primary.template.id.CopyFrom(request.id)
        for node in compiled.primary.template.nodes:
            if node.HasField("task_node"):
                task = self.get(node.task_node.reference_id, context)
                if all(known.template.id != task.id for known in compiled.tasks):
                    added = compiled.tasks.add()
                    added.template.CopyFrom(task.spec.template)
                    added.template.id.CopyFrom(task.id)
        return found

    def get_launch_plan(self, request: Any, context: Any) -> Any:
        known = self.get(request.id, context)
        found = self.launch_plan.LaunchPlan(id=request.id, spec=known.spec)
        interface = self.get(known.spec.workflow_id, context).spec.template.interface
        for name, variable in interface.inputs.variables.items():
            found.closure.expected_inputs.parameters[name].var.CopyFrom(variable)
            found.closure.expected_inputs.parameters[name].required = True
        for name, variable in interface.outputs.variables.items():
            found.closure.expected_outputs.variables[name].CopyFrom(variable)
        return found

    def create_execution(self, request: Any, context: Any) -> Any:
        import grpc
        from flyteidl.core import identifier_pb2

        self.keep("CreateExecution", request)
        plan = self.get_launch_plan(self.launch_plan.LaunchPlan(id=request.spec.launch_plan), context)
        given, wanted = {**request.inputs.literals}, {**plan.closure.expected_inputs.parameters}
        wrong = given.keys() ^ wanted.keys() or {n for n in given if not _fits(given[n], wanted[n].var.type)}
        if wrong:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"wrong inputs: {', '.join(sorted(wrong))}")
        name = request.name or f"a{os.urandom(9).hex()}"
        identifier = identifier_pb2.WorkflowExecutionIdentifier(
            project=request.project, domain=request.domain, name=name
        )
        running = _Running(request, request.inputs, self.phases.QUEUED)
        with self.lock:
            self.executions[name] = running
        threading.Thread(target=self.run, args=(name, running), daemon=True).start()
        return self.execution.ExecutionCreateResponse(id=identifier)

    def get_execution(self, request: Any, context: Any) -> Any:
        running = self.executions[request.id.name]
        found = self.execution.Execution(id=request.id, spec=running.request.spec)
        found.closure.phase = running.phase
        if running.is_aborted:
            found.closure.abort_metadata.cause = running.error
        elif running.error:
            found.closure.error.message = running.error
        return found

    def get_execution_data(self, request: Any, context: Any) -> Any:
        running = self.executions[request.id.name]
        found = self.execution.WorkflowExecutionGetDataResponse(full_inputs=running.inputs)
        if running.outputs is not None:
            found.full_outputs.CopyFrom(running.outputs)
        return found

    def terminate_execution(self, request: Any, context: Any) -> Any:
        self.keep("TerminateExecution", request)
        running = self.executions[request.id.name]
        with self.lock:
            running.is_aborted, running.error, running.phase = True, request.cause, self.phases.ABORTED
            for process in running.processes:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGTERM)
        return self.execution.ExecutionTerminateResponse()

    def run(self, name: str, running: _Running) -> None:
        """Run the nodes of an execution, each as soon as those before it have succeeded."""
        plan = self.known[str(running.request.spec.launch_plan)]
        workflow = self.known[str(plan.spec.workflow_id)].spec.template
        running.phase = self.phases.RUNNING
        outputs: dict[str, Any] = {"start-node": {**running.inputs.literals}}
        nodes = {node.id: node for node in workflow.nodes if node.HasField("task_node")}
        ended = {key: threading.Event() for key in nodes}

        def run_node(key: str) -> None:
            node = nodes[key]
            before = {*node.upstream_node_ids} & nodes.keys()
            for other in before:
                ended[other].wait()
            try:
                if all(other in outputs for other in before) and not running.is_aborted:
                    with self.room:
                        outputs[key] = self.outputs_of(name, running, node, outputs)
            except Exception as error:
                running.error = running.error or f"task {key} failed: {error}"
            finally:
                ended[key].set()

        with ThreadPoolExecutor(max(len(nodes), 1)) as pool:
            list(pool.map(run_node, nodes))
        with self.lock:
            if not running.is_aborted:
                is_done = outputs.keys() >= nodes.keys()
                running.outputs = _bound(workflow.outputs, outputs) if is_done else None
                running.phase = self.phases.SUCCEEDED if is_done else self.phases.FAILED

    def outputs_of(self, name: str, running: _Running, node: Any, outputs: Mapping[str, Any]) -> dict[str, Any]:
        """Run the task of a node in a process; returns its outputs."""
        from flyteidl.core import errors_pb2, literals_pb2

        task = self.known[str(node.task_node.reference_id)].spec.template
        folder = self.folder / "executions" / name / node.id
        folder.mkdir(parents=True)
        (folder / "inputs.pb").write_bytes(_bound(node.inputs, outputs).SerializeToString())
        places = {"{{.input}}": "inputs.pb", "{{.outputPrefix}}": "outputs", "{{.rawOutputDataPrefix}}": "raw"}
        words = [str(folder / places[word]) if word in places else word for word in task.container.args]
        for option in ("--checkpoint-path", "--prev-checkpoint"):
            place = words.index(option)
            del words[place : place + 2]
        variables = {pair.key: pair.value for pair in task.container.env}
        with self.lock:
            if running.is_aborted:
                raise RuntimeError(running.error)
            process = self.processes.Process(target=_run_task, args=(words, variables, str(folder)))
            process.start()
            running.processes.append(process)
        process.join()
        produced = folder / "outputs"
        if (produced / "error.pb").exists():
            document = errors_pb2.ErrorDocument.FromString((produced / "error.pb").read_bytes())
            raise RuntimeError(document.error.message)
        if not (produced / "outputs.pb").exists():
            raise RuntimeError(f"the container ended with exit status {process.exitcode}")
        return {**literals_pb2.LiteralMap.FromString((produced / "outputs.pb").read_bytes()).literals}


def _bound(bindings: Any, outputs: Mapping[str, Any]) -> Any:
    """The literals of bindings, which are outputs of nodes."""
    from flyteidl.core import literals_pb2

    found = {b.var: outputs[b.binding.promise.node_id or "start-node"][b.binding.promise.var] for b in bindings}
    return literals_pb2.LiteralMap(literals=found)


def _fits(literal: Any, kind: Any) -> bool:
    """Whether a literal has a type, as far as this service is asked for."""
    from flyteidl.core.types_pb2 import SimpleType

    if kind.HasField("union_type"):
        union = literal.scalar.union
        return any(union.type == variant and _fits(union.value, variant) for variant in kind.union_type.variants)
    expected = {
        SimpleType.INTEGER: "integer",
        SimpleType.FLOAT: "float_value",
        SimpleType.STRING: "string_value",
        SimpleType.BOOLEAN: "boolean",
    }
    if kind.simple == SimpleType.STRUCT:
        return literal.scalar.WhichOneof("value") in ("binary", "generic")
    if kind.simple == SimpleType.NONE:
        return bool(literal.scalar.HasField("none_type"))
    return bool(literal.scalar.primitive.WhichOneof("value") == expected[kind.simple])


_METHODS = (
    *(f"{verb}_{kind}" for verb in ("create", "get") for kind in ("task", "workflow", "launch_plan", "execution")),
    *("get_execution_data", "terminate_execution"),
)


def _serve(folder: Path, port: int) -> None:
    import grpc
    from flyteidl.service import admin_pb2_grpc

    # The library's own class answers what is not implemented here.
    methods = {name.title().replace("_", ""): getattr(_Service, name) for name in _METHODS}
    kind: Any = type("Admin", (_Service, admin_pb2_grpc.AdminServiceServicer), methods)
    server = grpc.server(ThreadPoolExecutor(16))
    admin_pb2_grpc.add_AdminServiceServicer_to_server(kind(folder), server)
    server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    server.wait_for_termination()


if __name__ == "__main__":
    _serve(Path(sys.argv[1]), int(sys.argv[2]))
