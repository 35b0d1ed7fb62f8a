"""A part of the Kubernetes API with KServe, for tests: objects, server-side apply, and pods as processes.

There is no Kubernetes to install from PyPI or Debian. This one checks who asks, what an InferenceService looks like,
and of which state a ConfigMap is; it runs a container's own command, with the paths and the port of this machine.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Lock, Thread
from typing import Any
from urllib.parse import parse_qs, urlsplit

import jsonschema
import yaml

from kserve_schema import schema

TOKEN = "t0ken-of-the-cluster"
KINDS = ("secrets", "serviceaccounts", "configmaps", "inferenceservices")
_PATH = re.compile(
    rf"/api(?:s/serving\.kserve\.io)?/v1(?:beta1)?/namespaces/([\w-]+)/({'|'.join(KINDS)})(?:/([\w-]+))?"
)


class Kubernetes:
    """The objects, and the pods; ``claims`` are the folders behind ``pvc://CLAIM``."""

    def __init__(self, folder: Path, claims: Mapping[str, Path]) -> None:
        self.folder, self.claims = folder, claims
        self.objects: dict[tuple[str, str], dict[str, Any]] = {}
        self.pods: dict[str, subprocess.Popen[str]] = {}
        self.asked: list[str] = []
        self.lock, self._working = Lock(), Lock()
        self._check = jsonschema.Draft202012Validator(schema())
        self._count = 0

    def put(self, kind: str, name: str, body: dict[str, Any], *, dry_run: bool, fresh: bool = False) -> tuple[int, Any]:
        """Answer a request that creates or changes an object."""
        key = (kind, name)
        before = self.objects.get(key)
        if kind == "inferenceservices" and (wrong := next(self._check.iter_errors(body), None)):
            return 422, _status(f"{'.'.join(map(str, wrong.absolute_path))}: {wrong.message}")
        if fresh and before is not None:
            return 409, _status(f'{kind} "{name}" already exists')
        state = body["metadata"].get("resourceVersion")
        if state and (before is None or before["metadata"]["resourceVersion"] != state):
            return 409, _status(f'the object "{name}" has been modified')
        if not dry_run:
            self._count += 1
            same = before is not None and before.get("spec") == body.get("spec")
            generation = before["metadata"]["generation"] + (not same) if before else 1
            metadata = {**body["metadata"], "resourceVersion": str(self._count), "generation": generation}
            status = {"status": before["status"]} if before and "status" in before else {}
            self.objects[key] = {**body, "metadata": metadata, **status}
            if kind == "inferenceservices" and not same:
                Thread(target=self._run, args=(name, generation), daemon=True).start()
        return 200, self.objects.get(key, body)

    def delete(self, kind: str, name: str) -> None:
        """Forget an object, and end its pod."""
        del self.objects[kind, name]
        if pod := self.pods.pop(name, None):
            pod.terminate()
            pod.wait(timeout=120)

    def close(self) -> None:
        """End all pods."""
        for name in list(self.pods):
            self.pods[name].terminate()
            self.pods[name].wait(timeout=120)

    def _run(self, name: str, generation: int) -> None:
        with self._working:  # one after the other; what is outdated meanwhile is left out
            with self.lock:
                service = self.objects.get(("inferenceservices", name))
            if service is None or service["metadata"]["generation"] != generation:
                return
            status = self._served(name, generation, service["spec"]["predictor"]["containers"][0])
            with self.lock:
                if found := self.objects.get(("inferenceservices", name)):
                    found["status"] = {"observedGeneration": generation, **status}

    def _served(self, name: str, generation: int, container: Mapping[str, Any]) -> dict[str, Any]:
        if "broken" in container["image"]:
            return {
                "conditions": [{"type": "Ready", "status": "False", "message": f"cannot pull {container['image']}"}]
            }
        pod, url = self._start(name, generation, container)
        before, self.pods[name] = self.pods.get(name), pod
        if before:
            before.terminate()
            before.wait(timeout=120)
        return {"conditions": [{"type": "Ready", "status": "True"}], "url": url}

    def _start(self, name: str, generation: int, container: Mapping[str, Any]) -> tuple[subprocess.Popen[str], str]:
        environment = {
            e["name"]: e.get("value") or self._secret(e["valueFrom"]["secretKeyRef"]) for e in container["env"]
        }
        claim, _, inside = environment.pop("STORAGE_URI").removeprefix("pvc://").partition("/")
        there = self.folder / f"{name}-{generation}"
        here = {
            "/mnt/models": str(self.claims[claim] / inside),
            "/tmp/models": str(there),
            "0.0.0.0": "127.0.0.1",
            "--port 8080": "--port 0",
        }
        words = [*container["command"], *container["args"]]
        for old, new in here.items():
            words = [word.replace(old, new) for word in words]
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        log = self.folder / f"{name}-{generation}.log"
        with log.open("w") as stderr:
            pod = subprocess.Popen(words, env={**os.environ, **environment, "PATH": path}, stderr=stderr, text=True)
        for _ in range(1200):
            if found := re.search(r"at (http://127\.0\.0\.1:\d+)", log.read_text()):
                return pod, found[1]
            assert pod.poll() is None, log.read_text()
            time.sleep(0.05)
        raise AssertionError(log.read_text())

    def _secret(self, wanted: Mapping[str, str]) -> str:
        return str(self.objects["secrets", wanted["name"]]["stringData"][wanted["key"]])


@contextmanager
def kubernetes(folder: Path, claims: Mapping[str, Path]) -> Iterator[tuple[Kubernetes, Path]]:
    """The API, and a kubeconfig whose contexts ``good`` and ``stranger`` have a right and a wrong token."""
    folder.mkdir(parents=True, exist_ok=True)
    state = Kubernetes(folder, claims)
    handler = type("Handler", (_Handler,), {"state": state})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield state, _kubeconfig(folder / "kubeconfig", f"http://127.0.0.1:{server.server_port}")
        finally:
            server.shutdown()
            state.close()


def _kubeconfig(file: Path, url: str) -> Path:
    users = {"good": TOKEN, "stranger": "wr0ng-token"}
    contexts = [{"name": name, "context": {"cluster": "here", "user": name}} for name in users]
    contexts.append({"name": "gone", "context": {"cluster": "gone", "user": "good"}})
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "good",
        "clusters": [
            {"name": "here", "cluster": {"server": url}},
            {"name": "gone", "cluster": {"server": "http://127.0.0.1:1"}},
        ],
        "users": [{"name": name, "user": {"token": token}} for name, token in users.items()],
        "contexts": contexts,
    }
    file.write_text(yaml.safe_dump(content))
    return file


class _Handler(BaseHTTPRequestHandler):
    state: Kubernetes
    protocol_version = "HTTP/1.1"

    def _handle(self) -> None:
        size = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(size) or b"{}")
        parts = urlsplit(self.path)
        found = _PATH.fullmatch(parts.path)
        query = parse_qs(parts.query)
        self.state.asked.append(f"{self.command} {self.path}")
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            self._answer(401, _status("Unauthorized"))
        elif found is None:
            self._answer(404, _status("the server could not find the requested resource"))
        else:
            with self.state.lock:
                self._answer(*self._do(found[2], found[3] or body["metadata"]["name"], body, query))

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _handle  # noqa: N815 (the library's names)

    def _do(self, kind: str, name: str, body: dict[str, Any], query: Mapping[str, list[str]]) -> tuple[int, Any]:
        dry_run = query.get("dryRun") == ["All"]
        if self.command == "PATCH":
            assert self.headers["Content-Type"] == "application/apply-patch+yaml"
            assert query["fieldManager"]
            return self.state.put(kind, name, body, dry_run=dry_run)
        if self.command == "POST":
            return self.state.put(kind, name, body, dry_run=dry_run, fresh=True)
        if (kind, name) not in self.state.objects:
            return 404, _status(f'{kind} "{name}" not found')
        if self.command == "PUT":
            return self.state.put(kind, name, body, dry_run=dry_run)
        if self.command == "DELETE":
            self.state.delete(kind, name)
            return 200, _status("deleted")
        return 200, self.state.objects[kind, name]

    def _answer(self, code: int, content: Any) -> None:
        body = json.dumps(content).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


def _status(message: str) -> dict[str, Any]:
    return {"kind": "Status", "apiVersion": "v1", "message": message}
