"""The section of deployments: the models of the repository, with the command line of each change."""

from __future__ import annotations

import shlex
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from when_ml_pipeline_meets_hydra.errors import Refused
from when_ml_pipeline_meets_hydra.serving.formats.versions import Status
from when_ml_pipeline_meets_hydra.serving.http.users import Role
from when_ml_pipeline_meets_hydra.serving.monitoring import drift
from when_ml_pipeline_meets_hydra.serving.repository.repository import Repository
from when_ml_pipeline_meets_hydra.web.pages import field, redirect, render, session_of, settings_of
from when_ml_pipeline_meets_hydra.web.section import Section

DAYS = 7  # of requests, as in the command
PROMOTE, ROLLBACK, UNDEPLOY = "promote", "rollback", "undeploy"


def models_page(request: Request) -> Response:
    """Show the models, each with its active version and canary."""
    repository = _repository(request)
    statuses = [repository.status(name) for name in repository.models()]
    return render(request, "deployments/models.html", statuses=statuses, place=settings_of(request).repository)


def model_page(request: Request) -> Response:
    """Show a model: its versions, canary and history, and what can be done."""
    status = _status(request)
    may_deploy = session_of(request).role.may(Role.DEPLOY)
    actions = [(action, text, _command(request, action, status)) for action, text in _actions(status)]
    content: dict[str, Any] = {"actions": actions, "may_deploy": may_deploy, "drift": _drift(request, status)}
    return render(request, "deployments/model.html", state=status, **content)


def change(request: Request) -> Response:
    """Promote the canary, roll back or undeploy, unless the model was changed since the page was shown."""
    session, repository, status = session_of(request), _repository(request), _status(request)
    model, action = status.model, request.path_params["action"]
    if not session.role.may(Role.DEPLOY):
        raise Refused("role", f"'{session.name}' may {session.role}; this needs the role deploy")
    if field(request, "events") != str(len(status.history)) or action not in dict(_actions(status)):
        raise Refused(model, "it was changed meanwhile. Look at it again, and repeat what you want to do")
    if action == PROMOTE and status.canary:
        repository.activate(model, status.canary.version, session.name)
    elif action == ROLLBACK:
        repository.rollback(model, session.name)
    else:
        repository.undeploy(model, session.name)
    active = repository.status(model).active
    notice = f"Version {active} of {model} is active." if active else f"No version of {model} is active."
    return redirect(request, f"/deployments/{model}", notice)


def _repository(request: Request) -> Repository:
    return Repository(settings_of(request).repository)


def _status(request: Request) -> Status:
    repository, model = _repository(request), request.path_params["model"]
    if model not in repository.models():
        raise HTTPException(404, f"The repository has no model '{model[:200]}'.")
    return repository.status(model)


def _drift(request: Request, status: Status) -> dict[str, Any] | None:
    """How the requests to the active version differ from its training data."""
    if status.active is None:
        return None
    try:
        found = drift.compare(_repository(request).observation(status.model, status.active, DAYS))
    except Refused:  # its files are damaged, as the table of versions says
        return None
    rows = [*drift.table(found)] if found.first else []
    words = ["wmh", "cluster", "drift", status.model, *_place(request)]
    return {"text": drift.summary(found, f"Version {found.version}"), "rows": rows, "command": shlex.join(words)}


def _actions(status: Status) -> list[tuple[str, str]]:
    """What can be done with a model now."""
    found = []
    if status.canary:
        found.append((PROMOTE, f"Promote version {status.canary.version} now, whatever its results"))
        found.append((ROLLBACK, f"Take the canary, version {status.canary.version}, back"))
    elif status.previous:
        found.append((ROLLBACK, f"Roll back to version {status.previous[0]}"))
    if status.active is not None:
        found.append((UNDEPLOY, f"Undeploy version {status.active}, so that none serves"))
    return found


def _command(request: Request, action: str, status: Status) -> str:
    """The command line that does the same."""
    words = ["wmh", "c=deployment", f"c/deployment_sub={action}", f"model_name={status.model}", *_place(request)]
    return shlex.join(words)


def _place(request: Request) -> list[str]:
    """The override that names the repository, unless it is the default one."""
    settings = settings_of(request)
    is_default = settings.repository.absolute() == (settings.home / "models").absolute()
    return [] if is_default else [f"cluster.path={settings.repository}"]


SECTION = Section(
    title="Deployments",
    path="/deployments",
    routes=(
        Route("/deployments", models_page),
        Route("/deployments/{model}", model_page),
        Route("/deployments/{model}/{action}", change, methods=["POST"]),
    ),
)
