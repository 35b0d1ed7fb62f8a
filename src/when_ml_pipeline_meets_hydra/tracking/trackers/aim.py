"""Aim: a run per combination, and one for a sweep; the config, metrics with steps, files."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AfterValidator, Field

from when_ml_pipeline_meets_hydra.contracts import frozen
from when_ml_pipeline_meets_hydra.tracking.trackers.addresses import aim_address
from when_ml_pipeline_meets_hydra.tracking.trackers.interface import STAGES, Points, Row, TrackedRun

if TYPE_CHECKING:
    from aim import Run as AimRun

_FILES = ".aim/artifacts"  # the folder of files, in the folder of the repository


@frozen
class Options:
    """Where runs are sent: a folder, or ``aim://host:port``. ``artifacts_uri`` is where files go."""

    repo: Annotated[str, AfterValidator(aim_address)] | None = None
    experiment: Annotated[str, Field(min_length=1)] | None = None
    name: Annotated[str, Field(min_length=1)] | None = None
    tags: list[Annotated[str, Field(min_length=1)]] | None = None
    artifacts: tuple[str, ...] = STAGES
    artifacts_uri: Annotated[str, Field(pattern=r"^(file|s3)://.+")] | None = None
    timeout: Annotated[float, Field(gt=0, le=86_400)] = 120

    def connect(self, known: dict[str, str]) -> AimConnection:
        """Open the repository; a folder is created if there is none."""
        return AimConnection(self, known)


class AimConnection:
    """A repository of Aim."""

    def __init__(self, options: Options, known: dict[str, str]) -> None:
        from aim import Repo

        self._options, self._known, self._place = options, known, options.repo or "."
        self._is_local = "://" not in self._place
        self._points: dict[str, Points] = {}
        if self._is_local:
            self._place = str(Path(self._place).absolute())
            Path(self._place).mkdir(parents=True, exist_ok=True)
        is_new = self._is_local and not Repo.exists(self._place)
        self._repo = Repo.from_path(self._place, init=is_new)

    @property
    def url(self) -> str | None:
        """The folder, or the address of the server."""
        return self._place

    def send(self, run: TrackedRun) -> None:
        """Track a run; what is there already is replaced."""
        aim_run = self._open(run)
        try:
            self._describe(aim_run, run)
            points = self._points.setdefault(run.id, Points())
            for step, values in points.new((*run.rows, Row(0, run.metrics))):
                aim_run.track(dict(values), step=step)
            if run.ended is not None:
                self._send_files(aim_run, run)
        finally:
            aim_run.close()
        if self._is_local:
            self._index(aim_run.hash)

    def close(self) -> None:
        """Close the repository."""
        with suppress(AttributeError):
            self._repo.close()

    def _open(self, run: TrackedRun) -> AimRun:
        """Open the run that was created before, or create it."""
        from aim import Run as AimRun

        known = self._known.get(run.id)
        known = known if known and self._repo.run_exists(known) else None
        aim_run = AimRun(
            run_hash=known,
            repo=self._repo,
            experiment=self._options.experiment,
            system_tracking_interval=None,
            capture_terminal_logs=False,
            force_resume=known is not None,
        )
        self._known[run.id] = aim_run.hash
        return aim_run

    def _describe(self, aim_run: AimRun, run: TrackedRun) -> None:
        aim_run.name = self._options.name or run.name
        for tag in set(self._options.tags or ()) - set(aim_run.tags):
            aim_run.add_tag(tag)
        aim_run["config"] = dict(run.config)
        aim_run["record"] = {  # "run" cannot be queried there
            **run.facts,
            **{"id": run.id, "run": run.run, "status": run.status, "started": run.started, "ended": run.ended},
            **{"parent": run.parent, "is_parent": run.is_parent},
        }

    def _send_files(self, aim_run: AimRun, run: TrackedRun) -> None:
        place = self._options.artifacts_uri
        if place is None and self._is_local:
            place = (Path(self._place) / _FILES).as_uri()
        if place is None:
            return
        aim_run.set_artifacts_uri(place)
        for name, file in run.all_files():
            aim_run.log_artifact(str(file), name=name, block=True)

    def _index(self, run_hash: str) -> None:
        """Make a run visible to queries, which look into the index only."""
        from aim.sdk.index_manager import RepoIndexManager

        manager: Any = RepoIndexManager.get_index_manager(self._repo)
        manager.index(run_hash)
