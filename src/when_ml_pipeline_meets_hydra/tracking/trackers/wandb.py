"""Weights & Biases: a run per combination, in the group of the whole; ``wandb sync`` sends those that are offline."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from when_ml_pipeline_meets_hydra.contracts import frozen
from when_ml_pipeline_meets_hydra.tracking.trackers.interface import STAGES, Points, TrackedRun

if TYPE_CHECKING:
    from wandb import Run as WandbRun

_PROJECT = "when_ml_pipeline_meets_hydra"
STEP = "step"  # what the series are drawn over


@frozen
class Options:
    """How runs are sent. The key of the account is WANDB_API_KEY, or what ``wandb login`` has kept."""

    mode: Literal["disabled", "offline", "online"] = "disabled"
    name: Annotated[str, Field(min_length=1, max_length=128)] | None = None
    dir: Annotated[str, Field(min_length=1)] | None = None
    id: Annotated[str, Field(pattern=r"^[^/\\#?%:\s]{1,64}$")] | None = None
    project: Annotated[str, Field(pattern=r"^[^/\\#?%:]{1,128}$")] | None = None
    group: Annotated[str, Field(min_length=1, max_length=128)] | None = None
    entity: Annotated[str, Field(min_length=1)] | None = None
    tags: list[Annotated[str, Field(min_length=1, max_length=64)]] | None = None
    job_type: Annotated[str, Field(min_length=1, max_length=64)] | None = None
    resume: Literal["allow", "never", "must", "auto"] | bool | None = None
    artifacts: tuple[str, ...] = STAGES
    timeout: Annotated[float, Field(gt=0, le=86_400)] = 120

    def connect(self, known: dict[str, str]) -> WandbConnection:
        """Open a connection; nothing is sent yet."""
        return WandbConnection(self, known)


class WandbConnection:
    """The runs of W&B that are open. Offline, a run is written once it has ended, in one piece."""

    def __init__(self, options: Options, known: dict[str, str]) -> None:
        self._options, self._known = options, known
        self._folder = Path(options.dir or ".").absolute()
        self._folder.mkdir(parents=True, exist_ok=True)
        for name in ("WANDB_DATA_DIR", "WANDB_CACHE_DIR"):  # copies of files that are still to be sent
            os.environ.setdefault(name, str(self._folder / "wandb" / "files"))
        os.environ.setdefault("WANDB_SILENT", "true")
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # to the makers of the library
        self._open: dict[str, tuple[WandbRun, _Rows]] = {}
        self._url: str | None = None

    @property
    def url(self) -> str | None:
        """The page of the group, or the folder of runs that are offline."""
        return self._url if self._options.mode == "online" else str(self._folder / "wandb")

    def send(self, run: TrackedRun) -> None:
        """Log what is new of a run."""
        if self._options.mode == "offline" and run.ended is None:
            return
        wandb_run, rows = self._opened(run)
        for row in rows.new(run):
            wandb_run.log(row)
        wandb_run.summary.update({**run.metrics, "status": run.status})
        if run.ended is not None:
            if self._options.mode == "online":  # it may have begun before all was known
                wandb_run.name = self._options.name or run.name
                wandb_run.config.update(_config(run), allow_val_change=True)
            self._send_files(wandb_run, run)
            wandb_run.finish(exit_code=int(run.has_failed))
            del self._open[run.id]

    def close(self) -> None:
        """Finish the runs that are still open."""
        for wandb_run, _ in self._open.values():
            wandb_run.finish()

    def _opened(self, run: TrackedRun) -> tuple[WandbRun, _Rows]:
        if run.id in self._open:
            return self._open[run.id]
        if self._options.mode == "offline":
            self._forget(run)
        wandb_run = self._init(run)
        wandb_run.define_metric(STEP, hidden=True)
        self._open[run.id] = wandb_run, _Rows(wandb_run)
        self._known[run.id] = str(Path(wandb_run.dir).parent)
        self._url = wandb_run.project_url or self._url
        return self._open[run.id]

    def _forget(self, run: TrackedRun) -> None:
        """Remove the folders of a run that is written again as a whole."""
        before = {self._known.get(run.id, "")}
        if self._options.id is None:
            before |= {str(folder) for folder in (self._folder / "wandb").glob(f"offline-run-*-{run.id}")}
        for folder in filter(None, before):
            shutil.rmtree(folder, ignore_errors=True)

    def _init(self, run: TrackedRun) -> WandbRun:
        import wandb

        options = self._options
        in_group = bool(run.parent or run.is_parent)
        git = run.facts.get("git") or {}
        return wandb.init(
            entity=options.entity,
            project=options.project or os.environ.get("WANDB_PROJECT") or _PROJECT,
            dir=self._folder,
            id=_id(options.id, run),
            name=options.name or run.name,
            tags=options.tags,
            group=options.group or (run.run if in_group else None),
            job_type=options.job_type or ("sweep" if run.is_parent else None),
            config=_config(run),
            mode=options.mode,
            reinit="create_new",
            resume=None if options.mode == "offline" else options.resume or "allow",
            save_code=False,
            settings=wandb.Settings(
                console="off",
                disable_git=True,
                git_commit=git.get("commit"),
                program="wmh",
                x_disable_meta=True,
                x_disable_stats=True,
                x_disable_machine_info=True,
                silent=True,
            ),
        )

    def _send_files(self, wandb_run: WandbRun, run: TrackedRun) -> None:
        import wandb

        files: dict[str, list[tuple[str, Path]]] = {}
        for name, file in run.all_files():
            first, _, rest = name.partition("/")
            files.setdefault(first, []).append((rest or first, file))
        for first, inside in files.items():
            artifact = wandb.Artifact(f"{re.sub(r'[^-._a-zA-Z0-9]', '_', first)}-{wandb_run.id}", type=first)
            for name, file in inside:
                artifact.add_file(str(file), name=name)
            wandb_run.log_artifact(artifact)


class _Rows:
    """What of a run's history is still to be logged."""

    def __init__(self, wandb_run: WandbRun) -> None:
        self._run = wandb_run
        self._points = Points(_points(wandb_run) if wandb_run.resumed else ())
        self._defined: set[str] = set()

    def new(self, run: TrackedRun) -> Iterator[Mapping[str, Any]]:
        """Yield the rows that are new."""
        for step, values in self._points.new(run.rows):
            for name in values.keys() - self._defined:
                self._run.define_metric(name, step_metric=STEP)
            self._defined |= values.keys()
            yield {STEP: step, **values}


def _config(run: TrackedRun) -> dict[str, Any]:
    """Return the nested config, and beside it, as ``run``, the facts."""
    return {**run.config, "run": {**run.facts, "id": run.id, "record": run.run, "started": run.started}}


def _points(wandb_run: WandbRun) -> Iterator[tuple[str, int]]:
    """Yield name and step of each value that a run has there, which was sent before and is continued."""
    import wandb

    for row in wandb.Api().run(wandb_run.path).scan_history():
        yield from ((name, row[STEP]) for name, value in row.items() if value is not None and STEP in row)


def _id(given: str | None, run: TrackedRun) -> str:
    """The id of a run in W&B: the given one, with the number of the combination in a sweep."""
    number = run.id.rpartition("-")[2]
    if given is None:
        return run.id
    return f"{given}-{number}" if run.parent or run.is_parent else given
