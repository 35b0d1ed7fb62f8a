"""Replays a run whose inputs have not changed, without composing.

``<home>/recall/`` holds for such a command what it depended on (option files, code, data, environment variables,
installed packages) and which results it came to. Where any of that is not the very same, or a result is not in the
store any more, nothing is recalled and the command takes its ordinary way. Losing these files only costs time.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from when_ml_pipeline_meets_hydra.binding.call import Bound, Call
from when_ml_pipeline_meets_hydra.binding.settings import Settings
from when_ml_pipeline_meets_hydra.cache import fingerprint
from when_ml_pipeline_meets_hydra.composing.environment import HOME, PACKAGES, home
from when_ml_pipeline_meets_hydra.composing.job import Job, Request
from when_ml_pipeline_meets_hydra.composing.origins import Origins
from when_ml_pipeline_meets_hydra.errors import ExitCode
from when_ml_pipeline_meets_hydra.execution.outcomes import Outcome, Status
from when_ml_pipeline_meets_hydra.masking import Redactor
from when_ml_pipeline_meets_hydra.planning.plan import Action, Plan, Step
from when_ml_pipeline_meets_hydra.records.record import Record, Recorder
from when_ml_pipeline_meets_hydra.runs import Prepared, Run, RunObserver
from when_ml_pipeline_meets_hydra.storage import durable_files

if TYPE_CHECKING:
    from when_ml_pipeline_meets_hydra.composing.config_loader import Loader

FORMAT = 4
REASON = "nothing changed"
MOST_JOBS = 200


def home_of(words: Sequence[str]) -> Path:
    """Where a command keeps everything, as its words and the environment say."""
    said = [w.partition("=")[2] for w in words if w.startswith("home=")]
    return Path(said[-1]).absolute() if said else home()


class Recalled(NamedTuple):
    """A command of which nothing has changed, with a record of its own for what it comes to."""

    prepared: Prepared
    outcomes: tuple[Outcome, ...]
    recorder: Recorder

    def replay(self, observer: RunObserver) -> ExitCode:
        """Send ``observer`` the events of the run as if it had run."""
        observer.run_started(self.prepared, self.recorder.folder)
        for outcome in self.outcomes:
            self.recorder.add(outcome)
            observer.step_ended(outcome)
        self.recorder.close(ExitCode.DONE)
        record, code = Record(self.recorder.folder), ExitCode.DONE
        observer.run_ended(Run(prepared=self.prepared, record=record, outcomes=self.outcomes, exit_code=code))
        return code


def recall(words: Sequence[str]) -> Recalled | None:
    """The run that the words of a command line come to; None where it has to be run."""
    try:
        known = json.loads(_file(words).read_bytes())
        if known["depends on"] != fingerprint.state(known["looked at"], home_of(words) / "recall") or not _is_stored(
            known["steps"], home_of(words)
        ):
            return None
        before = Record(home_of(words) / "runs" / known["run"])
        if before.head["exit_code"] != 0:
            return None
        prepared = _prepared(known, home_of(words))
        outcomes = tuple(map(_outcome, prepared.plan.steps, known["steps"]))
        recorder = Recorder.of_cached_run(before, Redactor())
        _copy_job_folders(before.folder, recorder.folder)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return Recalled(prepared, outcomes, recorder)


def remember(words: Sequence[str], run: Run, started: float) -> None:
    """Keep what a command came to, where it would come to the same again.

    That is so where all its results are stored, nothing in it is made anew each time (``${now:…}``), and all that it
    depends on is older than its start at ``started`` (s): what changed later may have been read before.
    """
    home, prepared = home_of(words), run.prepared
    if run.exit_code or prepared.home != home or not _is_constant(prepared):
        return
    if len(run.outcomes) < len(prepared.plan.steps):  # a result that nothing needed is not there
        return
    jobs = [job for job, _ in prepared.bound.calls]
    try:
        named = fingerprint.variables(jobs, prepared.hydra, prepared.search_path)
        if named is None:
            return
        looked_at = {
            "variables": sorted({HOME, PACKAGES, *named}),
            "options": fingerprint.option_folders(prepared.search_path),
            "packages": sorted(_packages(prepared)),
            "data": sorted({str(file.absolute()) for file in _data_files(prepared) or ()}),
        }
        fingerprint.make_key(home / "recall")
        state = fingerprint.state(looked_at, home / "recall")
        if state is None or state["newest"] >= started - 1:
            return
        steps = [_known_step(outcome, home) for outcome in run.outcomes]
        known = {
            "depends on": state,
            "looked at": looked_at,
            "run": run.record.id,
            "multirun": prepared.request.multirun,
            "unused": _shown(prepared.unused, prepared),
            "jobs": _known_jobs(prepared),
            "asked": list(prepared.plan.requested.items()),
            "steps": steps,
        }
        durable_files.write(_file(words), json.dumps(known).encode())
    except OSError:  # a disk that is full, or may not be written to
        return


def _file(words: Sequence[str]) -> Path:
    return fingerprint.file_of(home_of(words) / "recall", FORMAT, *words)


def _is_constant(prepared: Prepared) -> bool:
    return (
        len(prepared.bound.calls) <= MOST_JOBS
        and prepared.is_constant
        and _data_files(prepared) is not None
        and not prepared.bound.settings.force
        and not prepared.bound.settings.show_secrets
        and all(step.is_storable for step in prepared.plan.steps)
    )


def _packages(prepared: Prepared) -> set[str]:
    """The packages whose code a step may be made of."""
    from when_ml_pipeline_meets_hydra.binding.secret_keys import named_packages
    from when_ml_pipeline_meets_hydra.binding.targets import allowed_packages

    return {p for job, _ in prepared.bound.calls for p in allowed_packages(named_packages(job))}


def _data_files(prepared: Prepared) -> set[Path] | None:
    """The files that fingerprints are made from; None where some are made from anything else."""
    from when_ml_pipeline_meets_hydra.binding.keys import implements
    from when_ml_pipeline_meets_hydra.contracts import Fingerprinted, FromFiles

    found: set[Path] = set()
    for call in prepared.bound.all_calls:
        for value in call.arguments.values():
            if implements(value, FromFiles):
                found |= set(value.files())
            elif implements(value, Fingerprinted):
                return None
    return found


def _shown(overrides: Iterable[str], prepared: Prepared) -> list[str]:
    return [prepared.bound.redactor.override(line, prepared.bound.secret_keys) for line in overrides]


def _known_jobs(prepared: Prepared) -> list[dict[str, Any]]:
    combinations: dict[tuple[str, ...], int] = {}
    return [
        {
            "number": job.number,
            "stage": job.stage,
            "overrides": _shown(job.overrides, prepared),
            "values": _shown(job.values, prepared),
            "combination": combinations.setdefault(job.combination, len(combinations)),
        }
        for job, _ in prepared.bound.calls
    ]


def _known_step(outcome: Outcome, home: Path) -> dict[str, Any]:
    step = outcome.step
    return {
        "stage": step.call.stage,
        "subcommand": step.call.subcommand,
        "key": step.key,
        "jobs": list(step.jobs),
        "metrics": dict(outcome.metrics) if outcome.metrics else None,
        "stored": _stored(step.key, home),
    }


def _stored(key: str, home: Path) -> str:
    folder = home / "store" / key[:2] / key
    content = b"".join((folder / name).read_bytes() for name in ("inputs.json", "artifact.json"))
    return hashlib.sha256(content).hexdigest()


def _is_stored(steps: Sequence[Mapping[str, Any]], home: Path) -> bool:
    for step in steps:
        if _stored(step["key"], home) != step["stored"]:
            return False
        with suppress(OSError):  # it is used, so 'store gc' keeps it
            os.utime(home / "store" / step["key"][:2] / step["key"] / "artifact.json")
    return True


def _prepared(known: Mapping[str, Any], home: Path) -> Prepared:
    """The run as it was prepared before, without the configs and values that nothing of a cached run needs."""
    jobs = {job["number"]: _job(job) for job in known["jobs"]}
    steps = {step["key"]: _step(step) for step in known["steps"]}
    asked = dict(known["asked"])
    return Prepared(
        request=Request(overrides=(), multirun=known["multirun"]),
        bound=Bound(
            calls=tuple((job, steps[asked[number]].call) for number, job in jobs.items()),
            settings=Settings(home=home),
        ),
        plan=Plan(steps=tuple(steps.values()), requested=asked),
        hydra={},
        search_path=(),
        is_constant=True,
        unused=tuple(known["unused"]),
    )


def _job(known: Mapping[str, Any]) -> Job:
    return Job(
        number=known["number"],
        overrides=tuple(known["overrides"]),
        stage=known["stage"],
        config={},
        raw={},
        faults={},
        combination=(str(known["combination"]),),
        choices=(),
        values=tuple(known["values"]),
        chosen={},
        said=None,
        origins=Origins(_no_loader, (), (), Redactor()),
    )


def _step(known: Mapping[str, Any]) -> Step:
    call = Call(
        stage=known["stage"],
        subcommand=known["subcommand"],
        function=_cached,
        arguments={},
        needs={},
        keyed={},
        code="",
        after=(),
        returns=None,
        is_effect=False,
    )
    jobs = tuple(known["jobs"])
    return Step(
        key=known["key"], call=call, inputs={}, needs={}, after=(), jobs=jobs, action=Action.STORED, reason=REASON
    )


def _outcome(step: Step, known: Mapping[str, Any]) -> Outcome:
    return Outcome(step=step, status=Status.STORED, reason=REASON, metrics=known["metrics"])


def _cached() -> None:
    raise AssertionError("a cached step is not computed")


def _no_loader() -> Loader:
    raise AssertionError("a cached run composes nothing")


def _copy_job_folders(old: Path, new: Path) -> None:
    """What Hydra's users look for beside a run: the same, but for the name of the folder."""
    for file in [*old.glob("multirun.yaml"), *old.glob(".hydra/*.yaml"), *old.glob("*/.hydra/*.yaml")]:
        copy = new / file.relative_to(old)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_text(file.read_text(encoding="utf-8").replace(old.name, new.name), encoding="utf-8")
