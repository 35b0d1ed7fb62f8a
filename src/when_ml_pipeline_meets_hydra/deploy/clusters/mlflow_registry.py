"""The part of MLflow's REST API that a model registry needs.

https://mlflow.org/docs/latest/api_reference/rest-api.html describes it. It is called directly, since MLflow's client
keeps address and password in variables of the whole process, and takes seconds to import.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from pydantic import SecretStr

from when_ml_pipeline_meets_hydra.deploy.clusters.calls import content_of, send
from when_ml_pipeline_meets_hydra.deploy.clusters.storage import Storage
from when_ml_pipeline_meets_hydra.errors import PipelineError, Refused, StepFailed

if TYPE_CHECKING:
    import httpx

API = "/api/2.0/mlflow"
ARTIFACTS = "/api/2.0/mlflow-artifacts/artifacts"
PROXIED = "mlflow-artifacts:"
PAGE = 200


class Missing(Refused):
    """The registry does not have it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Registered:
    """A version in the registry."""

    number: int
    ready: bool
    tags: Mapping[str, str]


@dataclass(frozen=True, kw_only=True, slots=True)
class Logged:
    """A logged model: the files of a version."""

    id: str
    uri: str


@dataclass(frozen=True, kw_only=True)
class Registry:
    """A tracking server with a registry of models; ``id`` and ``pw`` are None for a server without authentication."""

    url: str
    id: str | None
    pw: SecretStr | None
    timeout: float

    def aliases(self, model: str) -> Mapping[str, int]:
        """Alias → version.

        Raises:
            Missing: there is no such model.
        """
        answer = self._get("registered-models/get", name=model)
        return {a["alias"]: int(a["version"]) for a in answer["registered_model"].get("aliases", ())}

    def versions(self, model: str) -> Iterator[Registered]:
        """All versions of a model, the newest first; none for an unknown model."""
        token = ""
        while True:
            query = {"filter": f"name='{model}'", "max_results": str(PAGE)}
            answer = self._get("model-versions/search", **query, **({"page_token": token} if token else {}))
            for found in answer.get("model_versions", ()):
                tags = {tag["key"]: tag["value"] for tag in found.get("tags", ())}
                yield Registered(number=int(found["version"]), ready=found.get("status") == "READY", tags=tags)
            if not (token := answer.get("next_page_token", "")):
                return

    def log_model(self, experiment: str, model: str, kind: str, params: Mapping[str, str]) -> Logged:
        """Create a logged model; its files follow, then ``finish``."""
        body = {"experiment_id": self._experiment(experiment), "name": model, "model_type": kind}
        answer = self._post("logged-models", {**body, "params": _pairs(params)})
        info = answer["model"]["info"]
        return Logged(id=info["model_id"], uri=info["artifact_uri"])

    def finish(self, logged: Logged) -> None:
        """Mark a logged model as complete."""
        body = {"model_id": logged.id, "status": "LOGGED_MODEL_READY"}
        self._call("PATCH", f"{API}/logged-models/{quote(logged.id)}", json=body)

    def create_version(self, model: str, logged: Logged, about: str, tags: Mapping[str, str]) -> int:
        """Register a logged model as the next version of a model, which is created if needed."""
        try:
            self._get("registered-models/get", name=model)
        except Missing:
            self._post("registered-models/create", {"name": model})
        body = {"name": model, "source": f"models:/{logged.id}", "model_id": logged.id, "description": about}
        return int(self._post("model-versions/create", {**body, "tags": _pairs(tags)})["model_version"]["version"])

    def tag(self, model: str, version: int, key: str, value: str) -> None:
        """Tag a version."""
        self._post("model-versions/set-tag", {"name": model, "version": str(version), "key": key, "value": value})

    def set_alias(self, model: str, alias: str, version: int) -> None:
        """Set an alias to a version."""
        self._post("registered-models/alias", {"name": model, "alias": alias, "version": str(version)})

    def delete_alias(self, model: str, alias: str) -> None:
        """Delete an alias."""
        self._call("DELETE", f"{API}/registered-models/alias", json={"name": model, "alias": alias})

    def upload(self, logged: Logged, files: Iterable[Path]) -> None:
        """Upload files of a logged model."""
        if not logged.uri.startswith(PROXIED):
            Storage(logged.uri).put({file.name: file for file in files})
            return
        for file in files:
            with file.open("rb") as content:
                self._send("PUT", f"{self._artifacts(logged.uri)}/{file.name}", content=content)

    def download(self, model: str, version: int, names: Iterable[str], into: Path) -> None:
        """Copy files of a version into the directory ``into``.

        Raises:
            Missing: there is no such version, or it has no such file.
        """
        uri = self._get("model-versions/get-download-uri", name=model, version=version)["artifact_uri"]
        if not uri.startswith(PROXIED):
            Storage(uri).get({name: into / name for name in names})
            return
        for name in names:
            (into / name).write_bytes(self._send("GET", f"{self._artifacts(uri)}/{name}").content)

    def _artifacts(self, uri: str) -> str:
        path = uri.removeprefix(PROXIED)
        if path.startswith("//"):
            raise Refused("cluster.url", f"{self.url} keeps its files on another server: {uri}")
        return f"{ARTIFACTS}{quote(path)}"

    def _experiment(self, name: str) -> str:
        try:
            answer = self._get("experiments/get-by-name", experiment_name=name)
        except Missing:
            return str(self._post("experiments/create", {"name": name})["experiment_id"])
        return str(answer["experiment"]["experiment_id"])

    def _get(self, path: str, **params: str | int) -> Any:
        return self._call("GET", f"{API}/{path}", params=params)

    def _post(self, path: str, body: Mapping[str, Any]) -> Any:
        return self._call("POST", f"{API}/{path}", json=body)

    def _call(self, method: str, path: str, **request: Any) -> Any:
        response = self._send(method, path, **request)
        content = content_of(response)
        if isinstance(content, dict):
            return content
        raise self._refusal(response.status_code, content)

    def _send(self, method: str, path: str, **request: Any) -> httpx.Response:
        auth = (self.id, self.pw.get_secret_value()) if self.id and self.pw else None
        response = send(self.url, method, path, auth=auth, timeout=self.timeout, **request)
        if not response.is_success:
            raise self._refusal(response.status_code, content_of(response))
        return response

    def _refusal(self, code: int, content: Any) -> PipelineError:
        if code == 401:
            whose = f"the password of the id '{self.id}'" if self.id else "to answer without an id and a password"
            return Refused("cluster.pw", f"{self.url} refused {whose}")
        if code == 403:
            return Refused("cluster.id", f"{self.url} does not permit that to the id '{self.id}'")
        message = content.get("message") if isinstance(content, dict) else None
        if not isinstance(message, str):
            return StepFailed(f"cluster.url={self.url} answered {code}, which is no response of an MLflow server")
        if code == 404:
            return Missing("model_name", message)
        return Refused("cluster", message) if code < 500 else StepFailed(f"cluster.url={self.url} failed: {message}")


def _pairs(values: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"key": key, "value": value} for key, value in values.items()]
