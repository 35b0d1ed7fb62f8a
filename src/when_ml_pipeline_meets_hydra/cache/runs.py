"""Replays a run whose inputs have not changed, without composing.

``<home>/cache/`` has a file for each such command, with a fingerprint of what it depended on (option files, code, data,
environment variables, installed packages) and the keys of its results. If any of that has changed, or a result is no
longer in the store, the command is run. Losing these files only costs time.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from when_ml_pipeline_meets_hydra.binding.call import DATA, Bound, Call
from when_ml_pipeline_meets_hydra.binding.settings import Settings
from when_ml_pipeline_meets_hydra.cache import fingerprint
from when_ml_pipeline_meets_hydra.composing.environment import CONFIG_STORE, HOME, PACKAGES, home
from when_ml_pipeline_meets_hydra.composing.job import Job, Request
from when_ml_pipeline_meets_hydra.composing.origins import Origins
from when_ml_pipeline_meets_hydra.errors import BadInput, ExitCode, local_path
from when_ml_pipeline_meets_hydra.execution.outcomes import Outcome, Status
from when_ml_pipeline_meets_hydra.masking import Redactor
from when_ml_pipeline_meets_hydra.planning.plan import Action, Plan, Step
from when_ml_pipeline_meets_hydra.records.record import Record, Recorder, data_of
from when_ml_pipeline_meets_hydra.runs import Prepared, Run, RunObserver
from when_ml_pipeline_meets_hydra.storage import durable_files

if TYPE_CHECKING:
    from when_ml_pipeline_meets_hydra.composing.config_loader import Loader
    from when_ml_pipeline_meets_hydra.tracking.processes import TrackerProcesses

FORMAT = 8
FOLDER = "cache"
REASON = "nothing changed"
MOST_JOBS = 200


def home_of(arguments: Sequence[str]) -> Path:
    """The home folder of a command, from its arguments or the environment. Raises ``ValueError`` if it is no path."""
    given = [a.partition("=")[2] for a in arguments if a.startswith("home=")]
    return local_path(given[-1]).absolute() if given else home()


class CachedRun(NamedTuple):
    """A run whose inputs have not changed, with a new record for its replay."""

    prepared: Prepared
    outcomes: tuple[Outcome, ...]
    recorder: Recorder

    def replay(self, observer: RunObserver) -> ExitCode:
        """Write the record, and send ``observer`` the same events as the run."""
        trackers = self._trackers()
        observer.run_started(self.prepared, self.recorder.folder)
        for outcome in self.outcomes:
            self.recorder.add(outcome)
            observer.step_ended(outcome)
        self.recorder.close(ExitCode.DONE)
        record, code = Record(self.recorder.folder), ExitCode.DONE
        observer.run_ended(Run(prepared=self.prepared, record=record, outcomes=self.outcomes, exit_code=code))
        if trackers:
            trackers.wait(observer.note)
        return code

    def _trackers(self) -> TrackerProcesses | None:
        """Start the processes that send the record to trackers; None if no tracker is on."""
        if not (timeouts := self.prepared.bound.settings.trackers):
            return None
        from when_ml_pipeline_meets_hydra.tracking.processes import TrackerProcesses

        return TrackerProcesses(self.recorder.folder, timeouts)


def find_cached_run(arguments: Sequence[str]) -> CachedRun | None:
    """The cached run of a command line; None if there is none, or if anything that it depends on has changed."""
    try:
        home, cached = home_of(arguments), json.loads(_file(arguments).read_bytes())
        if cached["state"] != fingerprint.state(cached["dependencies"], home / FOLDER):
            return None
        original = Record(home / "runs" / cached["run"])
        if not _is_stored(cached["steps"], home) or original.head["exit_code"] != 0:
            return None
        prepared = _prepared(cached, home)
        outcomes = tuple(map(_outcome, prepared.plan.steps, cached["steps"]))
        recorder = Recorder.of_cached_run(original, Redactor())
        _copy_hydra_files(original.folder, recorder.folder)
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RuntimeError, BadInput):
        return None
    return CachedRun(prepared, outcomes, recorder)


def cache_run(arguments: Sequence[str], run: Run, started: float) -> None:
    """Cache a run, if running the command again would have the same result.

    For that, all its results have to be stored, no value may change with each run (``${now:…}``), and all dependencies
    have to be older than the start of the run at ``started`` (s): a later change may not have been read.
    """
    from when_ml_pipeline_meets_hydra.contracts import Approval

    home, prepared = home_of(arguments), run.prepared
    if run.exit_code or prepared.home != home or not _is_constant(prepared):
        return
    if len(run.outcomes) < len(prepared.plan.steps):  # a result that no step needed is not stored
        return
    if any(outcome.status is Status.PRUNED for outcome in run.outcomes):  # by what the pruner had seen until then
        return
    if any(isinstance(outcome.artifact, Approval) for outcome in run.outcomes):  # the newest verdict has to be written
        return
    jobs = [job for job, _ in prepared.bound.calls]
    try:
        named = fingerprint.variables(jobs, prepared.hydra, prepared.search_path)
        if named is None:
            return
        dependencies = {
            "variables": sorted({HOME, PACKAGES, CONFIG_STORE, *named}),
            "options": fingerprint.option_folders(prepared.search_path, prepared.checkouts),
            "checkouts": fingerprint.checkouts_without_password(prepared.checkouts),
            "packages": sorted(_packages(prepared)),
            "data": sorted({str(file.absolute()) for file in _data_files(prepared) or ()}),
        }
        fingerprint.make_key(home / FOLDER)
        state = fingerprint.state(dependencies, home / FOLDER)
        if state is None or state["newest"] >= started - 1:
            return
        cached = {
            "state": state,
            "dependencies": dependencies,
            "run": run.record.id,
            "multirun": prepared.request.multirun,
            "unused": _redacted(prepared.unused, prepared),
            "jobs": _jobs_json(prepared),
            "requested": list(prepared.plan.requested.items()),
            "steps": [_step_json(outcome, home) for outcome in run.outcomes],
            "trackers": dict(prepared.bound.settings.trackers),
        }
        durable_files.write(_file(arguments), json.dumps(cached).encode())
    except (OSError, ValueError, BadInput):  # a disk that is full or read-only; a config store that is gone
        return


def _file(arguments: Sequence[str]) -> Path:
    return fingerprint.file_of(home_of(arguments) / FOLDER, FORMAT, *arguments)


def _is_constant(prepared: Prepared) -> bool:
    return (
        len(prepared.bound.calls) <= MOST_JOBS
        and prepared.is_constant
        and _data_files(prepared) is not None
        and not prepared.bound.settings.force
        and not prepared.bound.settings.show_secrets
        and all(step.is_storable and step.call.has_known_code for step in prepared.plan.steps)
    )


def _packages(prepared: Prepared) -> set[str]:
    """The packages whose code a step may call: the allowed ones, and what these import of others that count."""
    from when_ml_pipeline_meets_hydra.binding.code_version import packages_of
    from when_ml_pipeline_meets_hydra.binding.keys import nested_options
    from when_ml_pipeline_meets_hydra.binding.secret_keys import named_packages
    from when_ml_pipeline_meets_hydra.binding.targets import allowed_packages, inside

    allowed = {p for job, _ in prepared.bound.calls for p in allowed_packages(named_packages(job))}
    calls = prepared.bound.all_calls
    options = (type(part) for call in calls for value in call.arguments.values() for part in nested_options(value))
    modules = {call.function.__module__ for call in calls} | {option.__module__ for option in options}
    return allowed | packages_of(module for module in modules if inside(module, allowed))


def _data_files(prepared: Prepared) -> set[Path] | None:
    """The files behind all fingerprints of data; None if a fingerprint is of anything else."""
    from when_ml_pipeline_meets_hydra.binding.keys import implements
    from when_ml_pipeline_meets_hydra.contracts import Fingerprinted, FromFiles

    files: set[Path] = set()
    for call in prepared.bound.all_calls:
        for value in call.arguments.values():
            if implements(value, FromFiles):
                files |= set(value.files())
            elif implements(value, Fingerprinted):
                return None
    return files


def _redacted(overrides: Iterable[str], prepared: Prepared) -> list[str]:
    return [prepared.bound.redactor.override(line, prepared.bound.secret_keys) for line in overrides]


def _jobs_json(prepared: Prepared) -> list[dict[str, Any]]:
    combinations: dict[tuple[str, ...], int] = {}
    return [
        {
            "number": job.number,
            "stage": job.stage,
            "overrides": _redacted(job.overrides, prepared),
            "values": _redacted(job.values, prepared),
            "combination": combinations.setdefault(job.combination, len(combinations)),
        }
        for job, _ in prepared.bound.calls
    ]


def _step_json(outcome: Outcome, home: Path) -> dict[str, Any]:
    step, is_not_chosen = outcome.step, outcome.status is Status.NOT_CHOSEN
    return {
        "stage": step.call.stage,
        "subcommand": step.call.subcommand,
        "element": step.call.element,
        "key": step.key,
        "code": step.inputs["code"],
        "data": data_of(step.inputs),
        "jobs": list(step.jobs),
        "metrics": dict(outcome.metrics) if outcome.metrics else None,
        "deviations": dict(outcome.deviations) if outcome.deviations else None,
        "not_chosen": outcome.reason if is_not_chosen else None,
        "stored": None if is_not_chosen else _stored(step.key, home),
    }


def _stored(key: str, home: Path) -> str:
    """A digest of a stored result: the content of its JSON files, and size, times and inode of the others.

    A file that was written to since is noticed by its times; the run that follows reads its content.
    """
    folder = home / "store" / key[:2] / key
    content = b"".join((folder / name).read_bytes() for name in ("inputs.json", "artifact.json"))
    return hashlib.sha256(content + repr([*durable_files.states(str(folder / "files"))]).encode()).hexdigest()


def _is_stored(steps: Sequence[Mapping[str, Any]], home: Path) -> bool:
    for step in steps:
        if step["not_chosen"]:
            continue
        if _stored(step["key"], home) != step["stored"]:
            return False
        with suppress(OSError):  # mark it as used, so that 'store gc' keeps it
            os.utime(home / "store" / step["key"][:2] / step["key"] / "artifact.json")
    return True


def _prepared(cached: Mapping[str, Any], home: Path) -> Prepared:
    """The cached run as ``Prepared``, without the configs and values that its replay does not need."""
    jobs = {job["number"]: _job(job) for job in cached["jobs"]}
    steps = {step["key"]: _step(step) for step in cached["steps"]}
    requested = dict(cached["requested"])
    return Prepared(
        request=Request(overrides=(), multirun=cached["multirun"]),
        bound=Bound(
            calls=tuple((job, steps[requested[number]].call) for number, job in jobs.items()),
            settings=Settings(home=home, trackers=cached["trackers"]),
        ),
        plan=Plan(steps=tuple(steps.values()), requested=requested),
        hydra={},
        search_path=(),
        checkouts={},
        is_constant=True,
        unused=tuple(cached["unused"]),
    )


def _job(cached: Mapping[str, Any]) -> Job:
    return Job(
        number=cached["number"],
        overrides=tuple(cached["overrides"]),
        stage=cached["stage"],
        config={},
        raw={},
        faults={},
        combination=(str(cached["combination"]),),
        choices=(),
        values=tuple(cached["values"]),
        chosen={},
        overridden=None,
        origins=Origins(_no_loader, (), (), Redactor()),
    )


def _step(cached: Mapping[str, Any]) -> Step:
    call = Call(
        stage=cached["stage"],
        subcommand=cached["subcommand"],
        element=cached["element"],
        function=_not_called,
        arguments={},
        needs={},
        keyed={},
        code="",
        after=(),
        returns=None,
        is_effect=False,
    )
    data = {f"{name}{DATA}": value for name, value in cached["data"].items()}
    return Step(
        key=cached["key"],
        call=call,
        inputs={"code": cached["code"], "arguments": data},
        needs={},
        after=(),
        jobs=tuple(cached["jobs"]),
        action=Action.STORED,
        reason=REASON,
    )


def _outcome(step: Step, cached: Mapping[str, Any]) -> Outcome:
    if cached["not_chosen"]:
        return Outcome(step=step, status=Status.NOT_CHOSEN, reason=cached["not_chosen"])
    metrics, deviations = cached["metrics"], cached["deviations"]
    return Outcome(step=step, status=Status.STORED, reason=REASON, metrics=metrics, deviations=deviations)


def _not_called() -> None:
    raise AssertionError("a cached step is not computed")


def _no_loader() -> Loader:
    raise AssertionError("a cached run composes nothing")


def _copy_hydra_files(old: Path, new: Path) -> None:
    """Copy Hydra's own files of a run, with the new run's folder in place of the old one."""
    for file in [*old.glob("multirun.yaml"), *old.glob(".hydra/*.yaml"), *old.glob("*/.hydra/*.yaml")]:
        copy = new / file.relative_to(old)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_text(file.read_text(encoding="utf-8").replace(old.name, new.name), encoding="utf-8")
