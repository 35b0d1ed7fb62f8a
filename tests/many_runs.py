"""Many records of runs, made from one that a real run has written: other ids, values, metrics, times."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from when_ml_pipeline_meets_hydra.records.record import Record
from when_ml_pipeline_meets_hydra.storage import seals
from when_ml_pipeline_meets_hydra.storage.durable_files import sha256

Change = Callable[[int, random.Random, dict[str, Any]], None]  # of what "job" and "steps" say, by the run's number


def copies(record: Record, count: int, change: Change, seed: int = 0) -> list[str]:
    """Write ``count`` records beside a record of one job, a minute apart; returns their ids."""
    rng, begin = random.Random(seed), datetime(2026, 1, 1, tzinfo=UTC)
    jobs = [json.loads(line) for line in (record.folder / "jobs.jsonl").read_text().splitlines()]
    names = []
    for number in range(count):
        started = begin + timedelta(minutes=number)
        content = json.loads(json.dumps({"jobs": jobs, "steps": record.steps, "head": record.head}))
        change(number, rng, content)
        content["head"] |= {"started": started.isoformat(timespec="seconds")}
        names.append(_write(record.folder.parent / f"{started:%Y%m%d-%H%M%S}-{number % 10_000:04}", content))
    return names


def sweep(record: Record, count: int) -> str:
    """Write the record of a sweep of ``count`` jobs beside a record of one job; returns its id."""
    (job,), step = list(record.jobs()), record.steps[-1]
    config = record.config(0)
    jobs, steps = [], []
    for number in range(count):
        values = {**config["knobs"], "rate": number / count, "rounds": number % 7}
        place = {"number": number, "combination": number, "key": f"{number:064x}"}
        overrides = ["c=fit", f"knobs.rate={number / count}", f"knobs.rounds={number % 7}"]
        jobs.append({**job, **place, "overrides": overrides, "config": {**config, "knobs": values}})
        metrics = {name: float(number % 1009) for name in step["metrics"]}
        steps.append({**step, "key": place["key"], "jobs": [number], "metrics": metrics})
    head = {**record.head, "multirun": True}
    return _write(record.folder.parent / "20300101-000000-0000", {"jobs": jobs, "steps": steps, "head": head})


def _write(folder: Path, content: Mapping[str, Any]) -> str:
    folder.mkdir()
    for name in ("jobs", "steps"):
        lines = (json.dumps(line) + "\n" for line in content[name])
        (folder / f"{name}.jsonl").write_text("".join(lines))
    head = {**content["head"], "id": folder.name, "job_count": len(content["jobs"])}
    head["digests"] = {name: sha256(folder / name) for name in ("jobs.jsonl", "steps.jsonl")}
    head["counts"] = {"done": len(content["steps"])}
    whole = (step for step in content["steps"] if not step.get("element"))
    head["metrics"] = {f"{s['stage']}.{n}": v for s in whole for n, v in (s["metrics"] or {}).items()}
    (folder / "run.json").write_bytes(seals.sealed(json.dumps(head, indent=2).encode()))
    return folder.name
