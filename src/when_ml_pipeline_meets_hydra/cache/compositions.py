"""Compositions that are known from before: the same words come to the same jobs without Hydra being loaded.

They are kept among the caches of the person who runs the program (``$XDG_CACHE_HOME``, otherwise ``~/.cache``), as
Python keeps what it compiled: losing them only costs time. Where an option file, an environment variable that the
configs name, an installed package or the program itself is not the very same, the command is composed anew. No secret
is kept: one that is the value of an environment variable is read from there again, and where there is any other,
nothing is kept.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from when_ml_pipeline_meets_hydra.binding.secret_keys import find_secrets
from when_ml_pipeline_meets_hydra.cache import fingerprint
from when_ml_pipeline_meets_hydra.composing.job import Composed, Job, Request
from when_ml_pipeline_meets_hydra.composing.origins import Origins
from when_ml_pipeline_meets_hydra.composing.tree import Stage
from when_ml_pipeline_meets_hydra.masking import Redactor, secret_values
from when_ml_pipeline_meets_hydra.storage import durable_files

if TYPE_CHECKING:
    from when_ml_pipeline_meets_hydra.composing.config_loader import Loader

FORMAT = 1
MOST_JOBS = 200
MOST_KEPT = 500
# Whose code decides about what is composed: this program, and Hydra's plugins.
_PACKAGES = (__name__.partition(".")[0], "hydra_plugins")


def compose(request: Request) -> Composed:
    """What a command is composed to, as far as it goes: as it is known from before, otherwise by Hydra."""
    if before := known(request):
        return before
    from when_ml_pipeline_meets_hydra.composing.compose import compose_as_far_as_it_goes

    started = time.time()
    found = compose_as_far_as_it_goes(request.overrides, multirun=request.multirun, config_dirs=request.config_dirs)
    _keep(request, found, started)
    return found


def known(request: Request) -> Composed | None:
    """What a command was composed to before; None where it is not known, or might be different now."""
    try:
        folder = _folder()
        kept = json.loads(_file(request, folder).read_bytes())
        if kept["depends on"] != fingerprint.state(kept["looked at"], folder):
            return None
        for place, name in kept["from variables"]:
            _put(kept["parts"], place, os.environ[name])
        return _composed(kept)
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RuntimeError):
        return None


def _keep(request: Request, composed: Composed, started: float) -> None:
    """Keep what a command was composed to, where it would come to the same again and holds no secret.

    What changed less than a second before ``started`` (s), or later, may have been read before: then it is not kept.
    """
    if not composed.is_constant or composed.problems or len(composed.jobs) > MOST_JOBS:
        return
    try:
        content = _content(composed, find_secrets(composed)[0])
        names = fingerprint.variables(composed.jobs, composed.hydra, composed.search_path)
        if content is None or names is None or json.loads(json.dumps(content)) != content:  # JSON does not have it all
            return
        looked_at = {
            "variables": sorted(names),
            "options": fingerprint.option_folders(composed.search_path),
            "packages": sorted(_PACKAGES),
            "data": [],
        }
        folder = _folder()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        fingerprint.make_key(folder)
        state = fingerprint.state(looked_at, folder)
        if state is None or state["newest"] >= started - 1:
            return
        kept = {"depends on": state, "looked at": looked_at, **content}
        durable_files.write(_file(request, folder), json.dumps(kept).encode())
        _tidy(folder)
    except (OSError, ValueError, TypeError, RuntimeError):  # a full disk, no home, values of a resolver's own type
        return


def _folder() -> Path:
    base = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    if not base.is_absolute():
        raise RuntimeError("there is no place for caches")
    return base / __name__.partition(".")[0] / "compositions"


def _file(request: Request, folder: Path) -> Path:
    return fingerprint.file_of(folder, FORMAT, request.multirun, request.config_dirs, request.overrides)


def _content(composed: Composed, secret_keys: Collection[str]) -> dict[str, Any] | None:
    """Everything as JSON; what jobs share stands there once. None where a secret would stand there."""
    parts, chosen = _Numbers(), _Numbers()
    jobs = [
        {
            "number": job.number,
            "overrides": [*job.overrides],
            "stage": job.stage,
            "config": {key: parts.of(part) for key, part in job.config.items()},
            "raw": {key: parts.of(part) for key, part in job.raw.items()},
            "faults": dict(job.faults),
            "combination": [*job.combination],
            "choices": [*job.choices],
            "values": [*job.values],
            "chosen": chosen.of(job.chosen),
            "said": None if job.said is None else sorted(job.said),
        }
        for job in composed.jobs
    ]
    from_variables: list[tuple[list[Any], str]] = []
    seen: set[tuple[str, int, bool]] = set()
    for job in composed.jobs:
        for key, part in job.config.items():
            is_own = job.said is not None and key not in job.said and job.raw.get(key) == part
            if (state := (key, n := parts.of(part), is_own)) not in seen:
                seen.add(state)
                found = list(_from_variables(part, job.raw.get(key), secret_keys, key))
                from_variables += (([n, *place], name) for place, name in found)
                parts.values[n] = json.loads(json.dumps(parts.values[n])) if found else parts.values[n]
                for place, _ in found:
                    _put(parts.values, [n, *place], None)
                if not is_own and any(secret_values(parts.values[n], secret_keys, key)):
                    return None  # (the program's own examples of passwords are no secrets)
    content = {
        "jobs": jobs,
        "parts": parts.values,
        "from variables": [[place, name] for place, name in from_variables],
        "chosen": chosen.values,
        "stages": [[s.name, [*s.after], s.subcommand] for s in composed.stages.values()],
        "hydra": composed.hydra,
        "folders": [*composed.folders],
        "search path": [*composed.search_path],
    }
    return None if _tells(content, {name for _, name in from_variables}, secret_keys) else content


_VARIABLE = re.compile(r"\$\{oc\.env:(\w+)(,[^{}]*)?\}")


def _from_variables(part: Any, raw: Any, secret_keys: Collection[str], key: str) -> Iterator[tuple[list[Any], str]]:
    """The places of secrets below ``key`` that are the values of environment variables, with the names of these."""
    if isinstance(part, dict) and isinstance(raw, dict):
        inner = [(name, value, raw.get(name), f"{key}.{name}") for name, value in part.items()]
    elif isinstance(part, list) and isinstance(raw, list):
        inner = [(n, value, written, key) for n, (value, written) in enumerate(zip(part, raw, strict=False))]
    else:
        inner = []
        named = _VARIABLE.fullmatch(raw) if isinstance(raw, str) else None
        if named and os.environ.get(named[1]) == part and any(secret_values(part, secret_keys, key)):
            yield [], named[1]
    for name, value, written, below in inner:
        for place, variable in _from_variables(value, written, secret_keys, below):
            yield [name, *place], variable


def _put(part: Any, place: Sequence[Any], value: str | None) -> None:
    """Set what stands at a place inside a part."""
    *outer, last = place
    for name in outer:
        part = part[name]
    part[last] = value


def _tells(content: Mapping[str, Any], variables: Iterable[str], secret_keys: Collection[str]) -> bool:
    """Whether a secret stands in an override, in Hydra's part, in a URL, or that of a variable anywhere."""
    if any(_says(line, secret_keys) for line in {line for job in content["jobs"] for line in job["overrides"]}):
        return True
    text, hydra = json.dumps(content, default=str, ensure_ascii=False), content["hydra"]
    if Redactor().text(text) != text or Redactor().tree(hydra, secret_keys) != hydra:
        return True
    return bool(Redactor(os.environ[name] for name in variables).with_fingerprints(content) != content)


def _says(line: str, secret_keys: Collection[str]) -> bool:
    """Whether an override holds a secret, and not only the name of a variable that does."""
    is_variable = _VARIABLE.fullmatch(line.partition("=")[2]) is not None
    return not is_variable and Redactor().override(line, secret_keys) != line


class _Numbers:
    """Numbers things; the same thing has the same number."""

    def __init__(self) -> None:
        self.values: list[Any] = []
        self._numbers: dict[int, int] = {}

    def of(self, value: Any) -> int:
        if id(value) not in self._numbers:
            self._numbers[id(value)] = len(self.values)
            self.values.append(value)
        return self._numbers[id(value)]


def _composed(kept: Mapping[str, Any]) -> Composed:
    folders = tuple(kept["folders"])
    loader = _loader(folders)
    return Composed(
        jobs=tuple(_jobs(kept, loader)),
        stages={n: Stage(name=n, after=tuple(after), subcommand=default) for n, after, default in kept["stages"]},
        loader=loader,
        hydra=kept["hydra"],
        folders=folders,
        search_path=tuple(kept["search path"]),
        is_constant=True,
    )


def _jobs(kept: Mapping[str, Any], loader: Callable[[], Loader]) -> Iterator[Job]:
    for job in kept["jobs"]:
        lines = {name: tuple(job[name]) for name in ("overrides", "combination", "choices", "values")}
        yield Job(
            **lines,
            number=job["number"],
            stage=job["stage"],
            config={key: kept["parts"][n] for key, n in job["config"].items()},
            raw={key: kept["parts"][n] for key, n in job["raw"].items()},
            faults=job["faults"],
            chosen=kept["chosen"][job["chosen"]],
            said=None if job["said"] is None else frozenset(job["said"]),
            origins=Origins(loader, lines["choices"], lines["overrides"], Redactor()),
        )


def _loader(folders: tuple[str, ...]) -> Callable[[], Loader]:
    """Makes the loader when it is asked for: where there is something to say about option files."""

    @cache
    def make() -> Loader:
        from when_ml_pipeline_meets_hydra.composing.config_loader import Loader

        return Loader(folders)

    return make


def _tidy(folder: Path) -> None:
    """Take away the older half where there are too many."""
    files = sorted(folder.glob("*.json"), key=lambda file: file.stat().st_mtime)
    for file in files[: MOST_KEPT // 2] if len(files) > MOST_KEPT else ():
        file.unlink(missing_ok=True)
