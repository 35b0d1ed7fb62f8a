"""Caches compositions, so that the same command gets the same jobs without loading Hydra.

The cache is in the user's cache folder (``$XDG_CACHE_HOME``, otherwise ``~/.cache``); losing it only costs time. If an
option file, an environment variable that the configs name, an installed package or the program itself has changed, the
command is composed again. No secret is cached: one that is the value of an environment variable is read from there
again, and a composition with any other secret is not cached.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from when_ml_pipeline_meets_hydra.binding.secret_keys import find_secrets
from when_ml_pipeline_meets_hydra.cache import fingerprint
from when_ml_pipeline_meets_hydra.composing.dotenv_file import variable
from when_ml_pipeline_meets_hydra.composing.environment import CONFIG_STORE, cache_folder
from when_ml_pipeline_meets_hydra.composing.job import Composed, Job, Request
from when_ml_pipeline_meets_hydra.composing.origins import Origins
from when_ml_pipeline_meets_hydra.composing.tree import Stage
from when_ml_pipeline_meets_hydra.errors import BadInput
from when_ml_pipeline_meets_hydra.masking import SHORTEST, Redactor, secret_values
from when_ml_pipeline_meets_hydra.storage import durable_files

if TYPE_CHECKING:
    from when_ml_pipeline_meets_hydra.composing.config_loader import Loader

FORMAT = 5
MOST_JOBS = 200
MOST_CACHED = 500
# The packages whose code affects a composition: this program, and Hydra's plugins.
_PACKAGES = (__name__.partition(".")[0], "hydra_plugins")


def compose(request: Request) -> Composed:
    """Return the composed configs of a request; problems are in the result.

    They are those recorded for a rerun, those in the cache, or composed with Hydra.
    """
    if request.recorded is not None:
        from when_ml_pipeline_meets_hydra.composing.recorded import recompose

        return recompose(request.recorded, request.config_dirs)
    if cached := find(request):
        return cached
    from when_ml_pipeline_meets_hydra.composing.compose import compose_with_problems

    started = time.time()
    composed = compose_with_problems(request.overrides, multirun=request.multirun, config_dirs=request.config_dirs)
    _add(request, composed, started)
    return composed


def find(request: Request) -> Composed | None:
    """The cached composition of a command; None if there is none, or if anything that it depends on has changed."""
    try:
        folder = cache_folder("compositions")
        cached = json.loads(_file(request, folder).read_bytes())
        if cached["state"] != fingerprint.state(cached["dependencies"], folder):
            return None
        for place, name in cached["from variables"]:
            _set_at(cached["parts"], place, _known(name))
        return _composed(cached)
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RuntimeError):
        return None


def _add(request: Request, composed: Composed, started: float) -> None:
    """Cache a composition, if it is constant and contains no secret.

    A file that changed less than a second before ``started`` (s), or later, may have been read before the change: then
    the composition is not cached.
    """
    if not composed.is_constant or composed.problems or len(composed.jobs) > MOST_JOBS:
        return
    try:
        content = _content(composed, find_secrets(composed)[0])
        names = fingerprint.variables(composed.jobs, composed.hydra, composed.search_path)
        if content is None or names is None or json.loads(json.dumps(content)) != content:  # not all of it is JSON
            return
        dependencies = {
            "variables": sorted({CONFIG_STORE, *names}),
            "options": fingerprint.option_folders(composed.search_path, composed.checkouts),
            "checkouts": fingerprint.checkouts_without_password(composed.checkouts),
            "packages": sorted(_PACKAGES),
            "data": [],
        }
        folder = cache_folder("compositions")
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        fingerprint.make_key(folder)
        state = fingerprint.state(dependencies, folder)
        if state is None or state["newest"] >= started - 1:
            return
        cached = {"state": state, "dependencies": dependencies, **content}
        durable_files.write(_file(request, folder), json.dumps(cached).encode())
        _evict(folder)
    except (OSError, ValueError, TypeError, RuntimeError, BadInput):
        return  # a full disk, no home, values of a resolver's own type, a config store that is gone


def _file(request: Request, folder: Path) -> Path:
    return fingerprint.file_of(folder, FORMAT, request.multirun, request.config_dirs, request.overrides)


def _content(composed: Composed, secret_keys: Collection[str]) -> dict[str, Any] | None:
    """The composition as JSON, with the parts that jobs share only once; None if it would contain a secret."""
    parts, chosen = _Numbered(), _Numbered()
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
            "overridden": None if job.overridden is None else sorted(job.overridden),
        }
        for job in composed.jobs
    ]
    from_variables: list[tuple[list[Any], str]] = []
    seen: set[tuple[str, int, bool]] = set()
    for job in composed.jobs:
        for key, part in job.config.items():
            is_own = job.overridden is not None and key not in job.overridden and job.raw.get(key) == part
            if (state := (key, n := parts.of(part), is_own)) not in seen:
                seen.add(state)
                secrets = list(_from_variables(part, job.raw.get(key), secret_keys, key))
                from_variables += (([n, *place], name) for place, name in secrets)
                parts.values[n] = json.loads(json.dumps(parts.values[n])) if secrets else parts.values[n]
                for place, _ in secrets:
                    _set_at(parts.values, [n, *place], None)
                if not is_own and any(secret_values(parts.values[n], secret_keys, key)):
                    return None  # (passwords in the program's own examples are not secret)
    content = {
        "jobs": jobs,
        "parts": parts.values,
        "from variables": [[place, name] for place, name in from_variables],
        "chosen": chosen.values,
        "stages": [[s.name, [*s.after], s.subcommand] for s in composed.stages.values()],
        "hydra": composed.hydra,
        "folders": [*composed.folders],
        "search path": [*composed.search_path],
        "checkouts": dict(composed.checkouts),
        "notes": [*composed.notes],
        "foreign": dict(composed.foreign),
    }
    return None if _contains_secret(content, {name for _, name in from_variables}, secret_keys) else content


_VARIABLE = re.compile(r"\$\{oc\.env:(\w+)(,[^{}]*)?\}")


def _from_variables(part: Any, raw: Any, secret_keys: Collection[str], key: str) -> Iterator[tuple[list[Any], str]]:
    """The path of each secret below ``key`` that is the value of an environment variable, with the variable's name."""
    if isinstance(part, dict) and isinstance(raw, dict):
        inner = [(name, value, raw.get(name), f"{key}.{name}") for name, value in part.items()]
    elif isinstance(part, list) and isinstance(raw, list):
        inner = [(n, value, written, key) for n, (value, written) in enumerate(zip(part, raw, strict=False))]
    else:
        inner = []
        named = _VARIABLE.fullmatch(raw) if isinstance(raw, str) else None
        if named and variable(named[1]) == part and any(secret_values(part, secret_keys, key)):
            yield [], named[1]
    for name, value, written, below in inner:
        for place, variable_name in _from_variables(value, written, secret_keys, below):
            yield [name, *place], variable_name


def _known(name: str) -> str:
    if (value := variable(name)) is None:
        raise LookupError(name)
    return value


def _set_at(part: Any, place: Sequence[Any], value: str | None) -> None:
    *outer, last = place
    for name in outer:
        part = part[name]
    part[last] = value


def _contains_secret(content: Mapping[str, Any], variables: Iterable[str], secret_keys: Collection[str]) -> bool:
    """Whether a secret is in an override, in Hydra's part or in a URL, or the value of a variable is anywhere."""
    if any(_holds_secret(line, secret_keys) for line in {line for job in content["jobs"] for line in job["overrides"]}):
        return True
    text, hydra = json.dumps(content, default=str, ensure_ascii=False), content["hydra"]
    if Redactor().text(text) != text or Redactor().tree(hydra, secret_keys) != hydra:
        return True
    return any(_has_word(json.dumps(_known(name), ensure_ascii=False)[1:-1], text) for name in variables)


def _has_word(value: str, text: str) -> bool:
    """Whether a value is in a text, a short one as a word of its own."""
    pattern = re.escape(value) if len(value) >= SHORTEST else rf"(?<![^\W_]){re.escape(value)}(?![^\W_])"
    return bool(value) and re.search(pattern, text) is not None


def _holds_secret(line: str, secret_keys: Collection[str]) -> bool:
    """Whether an override contains a secret, rather than the name of a variable that does."""
    is_variable = _VARIABLE.fullmatch(line.partition("=")[2]) is not None
    return not is_variable and Redactor().override(line, secret_keys) != line


class _Numbered:
    """A list of distinct objects, which are referred to by their index."""

    def __init__(self) -> None:
        self.values: list[Any] = []
        self._numbers: dict[int, int] = {}

    def of(self, value: Any) -> int:
        if id(value) not in self._numbers:
            self._numbers[id(value)] = len(self.values)
            self.values.append(value)
        return self._numbers[id(value)]


def _composed(cached: Mapping[str, Any]) -> Composed:
    folders = tuple(cached["folders"])
    loader = _loader(folders)
    return Composed(
        jobs=tuple(_jobs(cached, loader)),
        stages={n: Stage(name=n, after=tuple(after), subcommand=default) for n, after, default in cached["stages"]},
        loader=loader,
        hydra=cached["hydra"],
        folders=folders,
        search_path=tuple(cached["search path"]),
        checkouts=cached["checkouts"],
        is_constant=True,
        notes=tuple(cached["notes"]),
        foreign=cached["foreign"],
    )


def _jobs(cached: Mapping[str, Any], loader: Callable[[], Loader]) -> Iterator[Job]:
    for job in cached["jobs"]:
        lines = {name: tuple(job[name]) for name in ("overrides", "combination", "choices", "values")}
        yield Job(
            **lines,
            number=job["number"],
            stage=job["stage"],
            config={key: cached["parts"][n] for key, n in job["config"].items()},
            raw={key: cached["parts"][n] for key, n in job["raw"].items()},
            faults=job["faults"],
            chosen=cached["chosen"][job["chosen"]],
            overridden=None if job["overridden"] is None else frozenset(job["overridden"]),
            origins=Origins(loader, lines["choices"], lines["overrides"], Redactor()),
        )


def _loader(folders: tuple[str, ...]) -> Callable[[], Loader]:
    """A function that creates the loader at its first call; it is needed for the origins of values only."""

    @cache
    def make() -> Loader:
        from when_ml_pipeline_meets_hydra.composing.config_loader import Loader

        return Loader(folders)

    return make


def _evict(folder: Path) -> None:
    """Remove the oldest files if there are more than ``MOST_CACHED``."""
    files = sorted(folder.glob("*.json"), key=lambda file: file.stat().st_mtime)
    for file in files[: MOST_CACHED // 2] if len(files) > MOST_CACHED else ():
        file.unlink(missing_ok=True)
