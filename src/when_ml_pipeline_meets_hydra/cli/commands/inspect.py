"""``--cfg`` and ``--info``: the composed config, and Hydra's information about it; secrets masked."""

from __future__ import annotations

import contextlib
import io
import sys
from argparse import Namespace
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from when_ml_pipeline_meets_hydra.binding.secret_keys import find_secrets
from when_ml_pipeline_meets_hydra.cache import compositions
from when_ml_pipeline_meets_hydra.composing.job import RUN_FOLDER, UNRESOLVED, VALUE_NEEDED, Composed, Job, Request
from when_ml_pipeline_meets_hydra.composing.tree import dump_yaml
from when_ml_pipeline_meets_hydra.errors import BadInput, Problem, did_you_mean
from when_ml_pipeline_meets_hydra.hydra_jobs.folders import JobFolders
from when_ml_pipeline_meets_hydra.masking import Redactor


def show(args: Namespace) -> int:
    """Print the composed configs or Hydra's information; runs nothing."""
    request = Request(overrides=tuple(args.overrides), multirun=args.multirun, config_dirs=tuple(args.config_dir))
    composed = compositions.compose(request).without_problems()
    keys, masks = find_secrets(composed)
    if args.info:
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            first = composed.jobs[0]
            composed.loader().describe(args.info, first.choices, [masks.override(line, keys) for line in first.values])
        sys.stdout.write(masks.text(printed.getvalue()))
        return 0
    for job in composed.jobs:
        if len(composed.jobs) > 1:
            print(f"# job {job.number}: {' '.join(masks.override(o, keys) for o in job.overrides)}")
        hydra = masks.tree(_hydra(composed, job, args, partial(masks.override, secret=keys)), keys, free=True)
        content = {**hydra, **masks.tree(_config(job, args), keys)}
        sys.stdout.write(dump_yaml(_below(content, args.package)))
    return 0


def _config(job: Job, args: Namespace) -> Mapping[str, Any]:
    if args.cfg == "hydra":
        return {}
    if not args.resolve:
        return job.raw
    missing = (VALUE_NEEDED, UNRESOLVED)
    if wrong := [Problem(key=k, message=fault) for k, fault in job.faults.items() if fault not in missing]:
        raise BadInput(*wrong)
    return job.config


def _hydra(composed: Composed, job: Job, args: Namespace, masked: Callable[[str], str]) -> Mapping[str, Any]:
    """Hydra's own config for a job, unresolved: some of it is known only when the job runs; overrides are masked."""
    if args.cfg == "job":
        return {}
    from when_ml_pipeline_meets_hydra.composing.hydra_config import resolve

    folders = JobFolders(
        composed=composed.hydra,
        run_folder=Path(RUN_FOLDER),
        is_multirun=args.multirun,
        redactor=Redactor(),
        secret_keys=(),
        resolve=resolve,
    )
    lines = tuple(map(masked, job.overrides))
    return {"hydra": folders.hydra_before_start(replace(job, overrides=lines))}


def _below(content: Any, package: str | None) -> Any:
    for part in package.split(".") if package else ():
        if not isinstance(content, dict) or part not in content:
            remedy = did_you_mean(part, list(content) if isinstance(content, dict) else [])
            raise BadInput(Problem(key="--package", value=package, message="there is no such key", remedy=remedy))
        content = content[part]
    return content
