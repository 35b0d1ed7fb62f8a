"""``serve``: a model repository over HTTP."""

from __future__ import annotations

from contextlib import suppress
from typing import Annotated

import typer

from when_ml_pipeline_meets_hydra.cli.commands.registry import mirrored
from when_ml_pipeline_meets_hydra.cli.commands.users import (
    Certificate,
    FailedLogins,
    Host,
    Key,
    Proxy,
    RepositoryOption,
    print_line,
    repository_root,
    single_user,
)
from when_ml_pipeline_meets_hydra.composing.environment import SERVE_PW, home
from when_ml_pipeline_meets_hydra.storage.home import make_home


def serve(
    repository: RepositoryOption = None,
    host: Host = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0: a free one")] = 8080,
    workers: Annotated[int, typer.Option(min=1, max=256, help="Worker processes")] = 1,
    user: Annotated[
        str,
        typer.Option("--id", help=f"The only user of a repository without users; the password is in ${SERVE_PW}"),
    ] = "pipeline",
    certificate: Certificate = None,
    key: Key = None,
    proxy: Proxy = "",
    request_limit: Annotated[int, typer.Option(min=1, help="Largest body of a request, in MB")] = 32,
    row_limit: Annotated[int, typer.Option(min=1, help="Most rows of a request")] = 100_000,
    header_limit: Annotated[int, typer.Option(min=1, help="Largest head of a request, in KB")] = 64,
    memory_limit: Annotated[int, typer.Option(min=1, help="Memory for predictions per worker, in MB")] = 2048,
    upload_limit: Annotated[int, typer.Option(min=1, help="Largest bundle that may be uploaded, in MB")] = 512,
    concurrency: Annotated[int, typer.Option(min=1, help="Concurrent requests per worker")] = 64,
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds for a prediction")] = 5,
    receive_timeout: Annotated[float, typer.Option(min=0.1, help="Seconds to receive a request")] = 30,
    load_timeout: Annotated[float, typer.Option(min=0.1, help="Seconds to load a version or check an upload")] = 30,
    failed_logins: FailedLogins = 10,
    registry: Annotated[str, typer.Option(help="URL of an MLflow server: serve its active versions")] = "",
    model: Annotated[list[str] | None, typer.Option(help="Model of the registry (may be repeated)")] = None,
    alias: Annotated[str, typer.Option(help="Alias of the active version in the registry")] = "champion",
    every: Annotated[float, typer.Option(min=0.1, help="Seconds between two reads of the registry")] = 10,
) -> None:
    """Serve the models of a repository over HTTP, with HTTP Basic authentication.

    'cluster user add' adds users. A repository without users has a single one, whose password is in the environment
    variable WMH_SERVE_PW. Changes of versions and users take effect without a restart; SIGHUP restarts the workers, one
    after the other.

    With --registry the repository mirrors an MLflow registry, whose id and password are in MLFLOW_TRACKING_USERNAME and
    MLFLOW_TRACKING_PASSWORD; while it cannot be reached, the versions that were active last are served.
    """
    from when_ml_pipeline_meets_hydra.serving import server
    from when_ml_pipeline_meets_hydra.serving.http.settings import MEGABYTE, Settings

    root = repository or home() / "registry" if registry else repository_root(repository)
    settings = Settings(
        root=root,
        sole=single_user(user, root, SERVE_PW, may_deploy=not registry),
        host=host,
        port=port,
        workers=workers,
        certificate=certificate,
        key=key,
        proxy=proxy,
        request_limit=request_limit * MEGABYTE,
        row_limit=row_limit,
        header_limit=header_limit << 10,
        memory_limit=memory_limit * MEGABYTE,
        upload_limit=upload_limit * MEGABYTE,
        concurrency=concurrency,
        timeout=timeout,
        receive_timeout=receive_timeout,
        load_timeout=load_timeout,
        failed_logins=failed_logins,
    )
    if repository is None:
        with suppress(OSError):  # a server only has to read
            make_home(home())
    with mirrored(registry, model or [], alias, every, root, print_line):
        server.serve(settings, print_line)
