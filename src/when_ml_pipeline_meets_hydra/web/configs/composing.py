"""What composes configs: quick things in this process, one at a time, and the others in a process of their own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from threading import RLock

from starlette.requests import Request

from when_ml_pipeline_meets_hydra.config_store import workflow
from when_ml_pipeline_meets_hydra.config_store.combinations import composed_jobs, parts_of
from when_ml_pipeline_meets_hydra.config_store.drafts import Draft
from when_ml_pipeline_meets_hydra.config_store.effective import EffectiveValue, Reach, reach, search_path, values_in
from when_ml_pipeline_meets_hydra.config_store.store import ConfigStore
from when_ml_pipeline_meets_hydra.config_store.workflow import Evidence
from when_ml_pipeline_meets_hydra.errors import BadInput, Problem
from when_ml_pipeline_meets_hydra.web.apart import Apart
from when_ml_pipeline_meets_hydra.web.pages import session_of, settings_of

#: Held while something is composed in this process.
COMPOSING = RLock()


@dataclass(frozen=True, kw_only=True)
class Place:
    """Whose store it is, for functions that run in another process."""

    location: str
    user: str
    config_dirs: tuple[str, ...]

    def store(self) -> ConfigStore:
        """Open the store."""
        return ConfigStore(self.location, self.user)


def place_of(request: Request) -> Place:
    """Return the place of the config store, in the name of the person who is signed in."""
    settings = settings_of(request)
    return Place(location=settings.store, user=session_of(request).name, config_dirs=settings.config_dirs)


def store_of(request: Request) -> ConfigStore:
    """Return the config store, in the name of the person who is signed in."""
    return place_of(request).store()


def apart_of(request: Request) -> Apart:
    """Return the process in which long things are computed."""
    apart: Apart = request.app.state.apart
    return apart


def evidence(place: Place, draft: int, plan: str) -> Evidence:
    """Return the evidence of a draft; without a plan it is kept until the draft or the store changes."""
    store = place.store()
    found = store.draft(draft)
    if plan or place.config_dirs:
        return workflow.evidence_of(store, found, place.config_dirs, plan)
    return _evidence(place.location, draft, found.last_edit, store.newest())


@lru_cache(maxsize=64)
def _evidence(location: str, draft: int, last_edit: int, newest: int) -> Evidence:
    store = ConfigStore(location)
    return workflow.evidence_of(store, store.draft(draft))


def publish(place: Place, draft: int) -> int:
    """Check a draft and publish it; returns the number of the revision. Evidence that was computed is not once more."""
    store = place.store()
    if place.config_dirs:
        return workflow.publish(store, draft, None, place.config_dirs)

    def check(found: Draft) -> None:
        if problems := _evidence(place.location, draft, found.last_edit, store.newest()).problems:
            raise BadInput(*problems)

    return store.publish(draft, check)


def reach_of(place: Place, revision: int) -> Reach:
    """Return what a revision changed in effective configs."""
    store = place.store()
    old, new = ({path: e.text for path, e in store.entries(n).items()} for n in (revision - 1, revision))
    changed = [path for path in {*old, *new} if old.get(path) != new.get(path)]
    paths = [search_path(store.location, place.config_dirs, revision=n) for n in (revision - 1, revision)]
    return reach(changed, (old, paths[0]), (new, paths[1]))


def matrix(place: Place, group: str) -> tuple[dict[str, list[EffectiveValue]], list[Problem]]:
    """Return the effective values of the entries of a group, and the problems of those that cannot be composed.

    Values are kept until a text that they are made of changes.
    """
    store = place.store()
    texts = {path: entry.text for path, entry in store.entries().items()}
    wanted = {path: _made_of(place, path, texts) for path in texts if path.rpartition("/")[0] == group}
    missing = [path for path, key in wanted.items() if key not in _VALUES or place.config_dirs]
    jobs, problems = composed_jobs(missing, texts, search_path(store.location, place.config_dirs))
    if len(_VALUES) > 10_000:
        _VALUES.clear()
    _VALUES.update({wanted[path]: values_in(job, path, texts) for path, job in jobs.items()})
    return {path: _VALUES[key] for path, key in wanted.items() if key in _VALUES}, problems


_Key = tuple[str, str, tuple[tuple[str, str], ...]]
_VALUES: dict[_Key, list[EffectiveValue]] = {}


def _made_of(place: Place, path: str, texts: Mapping[str, str]) -> _Key:
    parts: Sequence[str] = parts_of(path, texts)
    return place.location, path, tuple((part, texts[part]) for part in parts)
