"""A model server (``wmh serve``) at a URL."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar
from urllib.parse import quote

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, TypeAdapter, ValidationError

from when_ml_pipeline_meets_hydra.contracts import frozen
from when_ml_pipeline_meets_hydra.deploy.clusters.addresses import given_password, server_url, user_id
from when_ml_pipeline_meets_hydra.deploy.clusters.calls import content_of, send
from when_ml_pipeline_meets_hydra.errors import PipelineError, Refused, StepFailed
from when_ml_pipeline_meets_hydra.serving.formats.examples import Predictions, Row
from when_ml_pipeline_meets_hydra.serving.formats.versions import RUN_HEADER, Status, Terms

if TYPE_CHECKING:
    from when_ml_pipeline_meets_hydra.serving.observations.daily import Observation

T = TypeVar("T")
_statuses = TypeAdapter(Status)
_predictions = TypeAdapter(Predictions)
_terms = TypeAdapter(Terms)


@frozen
class Http:
    """A model server with authentication by id and password."""

    name: Annotated[str, Field(min_length=1, description="Name of the cluster in messages")] = "http"
    url: Annotated[str, AfterValidator(server_url), Field(description="Address of the model server")]
    id: Annotated[str, AfterValidator(user_id), Field(description="Who we are there")]
    pw: Annotated[SecretStr, BeforeValidator(given_password), Field(description="The password of that id")]
    timeout: Annotated[float, Field(gt=0, le=3600, description="Seconds to wait for a response")] = 60

    @property
    def place(self) -> str:
        """Which cluster this is, whatever its name."""
        return self.url

    def push(self, model: str, bundle: Path, *, run: str | None = None) -> int:
        """Upload the bundle; the server checks it before keeping it."""
        from when_ml_pipeline_meets_hydra.serving.formats import archive

        with tempfile.TemporaryFile() as packed:
            archive.pack(bundle, packed)
            packed.seek(0)
            digest = hashlib.file_digest(packed, "sha256").digest()
            packed.seek(0)
            headers = {"Content-Type": "application/x-tar", archive.DIGEST_HEADER: archive.digest_header(digest)}
            headers |= _headers(run)
            answer = self._call("POST", f"{_managed(model)}/versions", content=packed, headers=headers)
        return int(answer["version"])

    def activate(self, model: str, version: int, *, run: str | None = None) -> Status:
        """Activate ``version``."""
        return self._change(model, "activate", run, {"version": version})

    def canary(self, model: str, version: int, terms: Terms, *, run: str | None = None) -> Status:
        """Make ``version`` a canary."""
        return self._change(model, "canary", run, {"version": version, "terms": _terms.dump_python(terms, mode="json")})

    def rollback(self, model: str, *, run: str | None = None) -> Status:
        """Roll back on the server."""
        return self._change(model, "rollback", run)

    def undeploy(self, model: str, *, run: str | None = None) -> Status:
        """Deactivate the active version."""
        return self._change(model, "undeploy", run)

    def status(self, model: str) -> Status:
        """The versions, the active one, the canary and the history on the server."""
        return _understood(_statuses, self._call("GET", _managed(model)))

    def observation(self, model: str, version: int | None, days: int) -> Observation:
        """The requests that the server has counted."""
        from when_ml_pipeline_meets_hydra.serving.observations.daily import Observation

        query = {"days": days} if version is None else {"days": days, "version": version}
        return _understood(TypeAdapter(Observation), self._call("GET", f"{_managed(model)}/observed", params=query))

    def predict(self, model: str, rows: Sequence[Row], version: int | None = None) -> Predictions:
        """Predict on the server."""
        path = f"models/{quote(model, safe='')}" + ("" if version is None else f"/versions/{version}")
        answer = self._call("POST", f"{path}/predict", json={"rows": [dict(row) for row in rows]})
        rows_of_probabilities = answer.get("probabilities")
        found = {"values": answer.get("predictions"), "probabilities": None}
        if rows_of_probabilities is not None:
            found["probabilities"] = [list(row.values()) for row in rows_of_probabilities]
        return _understood(_predictions, found)

    def _change(self, model: str, action: str, run: str | None, body: Mapping[str, Any] | None = None) -> Status:
        answer = self._call("POST", f"{_managed(model)}/{action}", json=body, headers=_headers(run))
        return _understood(_statuses, answer)

    def _call(self, method: str, path: str, **request: Any) -> Any:
        auth = (self.id, self.pw.get_secret_value())
        response = send(self.url, method, f"/v2/{path}", auth=auth, timeout=self.timeout, **request)
        content = content_of(response)
        if response.is_success and isinstance(content, dict):
            return content
        raise self._refusal(response.status_code, content)

    def _refusal(self, code: int, content: Any) -> PipelineError:
        message = content.get("error") if isinstance(content, dict) else None
        if code == 403 and isinstance(message, str):
            return Refused("cluster.id", message)
        if code in (401, 403):
            return Refused("cluster.pw", f"{self.url} refused the password of the id '{self.id}'")
        if not isinstance(message, str):
            return StepFailed(f"cluster.url={self.url} answered {code}, which is no response of a model server")
        if code in (404, 409):
            return Refused("model_name", message)
        return Refused("cluster", message) if code < 500 else StepFailed(f"cluster.url={self.url} failed: {message}")


def _headers(run: str | None) -> Mapping[str, str]:
    return {} if run is None else {RUN_HEADER: run}


def _managed(model: str) -> str:
    return f"repository/models/{quote(model, safe='')}"


def _understood(kind: TypeAdapter[T], content: Any) -> T:
    try:
        return kind.validate_python(content)
    except ValidationError:
        raise StepFailed("The model server's response is not understood; is it of another release?") from None
