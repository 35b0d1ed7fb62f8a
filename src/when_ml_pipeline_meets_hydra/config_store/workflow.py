"""What people do with a config store: propose, see the evidence, merge, publish, revert. Commands and pages call it."""

from __future__ import annotations

import re
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from when_ml_pipeline_meets_hydra.composing.config_loader import Loader
from when_ml_pipeline_meets_hydra.composing.tree import STAGES
from when_ml_pipeline_meets_hydra.config_store import checks, effective
from when_ml_pipeline_meets_hydra.config_store.checks import Checked
from when_ml_pipeline_meets_hydra.config_store.combinations import combinations, name_of, users_of
from when_ml_pipeline_meets_hydra.config_store.drafts import Draft
from when_ml_pipeline_meets_hydra.config_store.effective import Reach
from when_ml_pipeline_meets_hydra.config_store.entries import checked_path, checked_text
from when_ml_pipeline_meets_hydra.config_store.folders import write_folder
from when_ml_pipeline_meets_hydra.config_store.merging import merge
from when_ml_pipeline_meets_hydra.config_store.store import ConfigStore
from when_ml_pipeline_meets_hydra.errors import BadInput, Problem
from when_ml_pipeline_meets_hydra.pipeline import prepare
from when_ml_pipeline_meets_hydra.startup.dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class MergedEntry:
    """An entry of a draft, merged with what was published since; ``conflicts`` are between markers in the text."""

    path: str
    text: str | None
    onto: int
    conflicts: int


def propose(
    store: ConfigStore,
    texts: Mapping[str, str | None],
    message: str,
    *,
    draft: int | None = None,
    seen: int | None = None,
    bases: Mapping[str, int] | None = None,
    config_dirs: Sequence[str] = (),
) -> int:
    """Set texts in a draft, or in a new one, unless a secret is among them; returns the draft's number.

    ``bases`` are the revisions that were edited, if these are not the newest ones.
    """
    search = _search_path(store, config_dirs)
    texts = {checked_path(p): text if text is None else checked_text(p, text) for p, text in texts.items()}
    with tempfile.TemporaryDirectory() as folder:
        own = {path: text for path, text in texts.items() if text is not None}
        write_folder(Path(folder), own, delete=False)
        checks.check_secrets(own, [folder, *search])
    current = store.bases() if store.exists else {}
    return store.edit(texts, {**current, **(bases or {})}, message, draft, seen)


def _search_path(store: ConfigStore, config_dirs: Sequence[str]) -> list[str]:
    """The search path with the newest entries of a store, or with none if it is not there yet.

    A store of $WMH_CONFIG_STORE is not on it, since that may be another one, or this one.
    """
    return effective.search_path(store.location, config_dirs, revision=None if store.exists else 0)


def first_text(store: ConfigStore, path: str, config_dirs: Sequence[str] = ()) -> str:
    """The text that a new entry begins with: the package in which the options of its group are."""
    group = path.rpartition("/")[0]
    search = _search_path(store, config_dirs)
    return f"# @package {Loader(search).package(group)}\n" if group else ""


def texts_after(store: ConfigStore, draft: Draft) -> dict[str, str]:
    """The texts of all entries as they would be after a publication of a draft."""
    texts = {path: entry.text for path, entry in store.entries().items()}
    for change in draft.changes:
        texts.pop(change.path, None)
        if change.after is not None:
            texts[change.path] = change.after
    return texts


def check_draft(store: ConfigStore, draft: Draft, config_dirs: Sequence[str] = ()) -> Checked:
    """Compose and bind every combination that uses an entry of a draft."""
    search = effective.search_path(store.location, config_dirs, draft=draft.number)
    return checks.check([change.path for change in draft.real_changes], texts_after(store, draft), search)


def check_text(
    store: ConfigStore, path: str, text: str, *, draft: int | None = None, config_dirs: Sequence[str] = ()
) -> None:
    """Compose and bind an entry with another text, before it is proposed. Raises ``BadInput``.

    Of an entry that others include, only what it sets itself has to be right; these are checked before a publication.
    """
    text = checked_text(path, text)
    others = texts_after(store, store.draft(draft)) if draft is not None else _published(store)
    texts = {**others, path: text}
    search = effective.search_path(store.location, config_dirs, draft=draft) if store.exists else [*config_dirs]
    with tempfile.TemporaryDirectory() as folder:
        write_folder(Path(folder), {path: text}, delete=False)
        found = checks.check([path], texts, [folder, *search], alone=True).problems
    place = re.compile(rf"{re.escape(path)}\.yaml(, line \d+)")
    is_part = users_of([path], texts) != {path}
    problems = []
    for problem in found:
        if line := place.search(problem.origin or ""):
            problems.append(replace(problem, origin=f"config store: {path}{line[1]}"))
        elif not is_part:
            problems.append(problem)
    if problems:
        raise BadInput(*problems)


def _published(store: ConfigStore) -> dict[str, str]:
    return {path: entry.text for path, entry in store.entries().items()} if store.exists else {}


def publish(store: ConfigStore, number: int, message: str | None = None, config_dirs: Sequence[str] = ()) -> int:
    """Check a draft and publish it; returns the number of the revision."""

    def check(draft: Draft) -> None:
        check_draft(store, draft, config_dirs).without_problems()

    return store.publish(number, check, message)


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What a draft comes to.

    ``reach`` is what it changes in effective configs, ``problems`` are why it cannot be published, and ``actions``
    count the steps of a plan for the entries that it reaches (None: no plan was wanted).
    """

    reach: Reach
    problems: tuple[Problem, ...]
    actions: Mapping[str, int] | None


def evidence_of(store: ConfigStore, draft: Draft, config_dirs: Sequence[str] = (), plan: str = "") -> Evidence:
    """Return the evidence of a draft; ``plan`` are the stages to plan, ``c=preprocessing,modeling``."""
    checked = check_draft(store, draft, config_dirs)
    if checked.problems:
        return Evidence(reach=Reach(differences={}, unreached=()), problems=checked.problems, actions=None)
    before = {path: entry.text for path, entry in store.entries().items()}
    reach = effective.reach(
        [change.path for change in draft.real_changes],
        (before, effective.search_path(store.location, config_dirs)),
        (texts_after(store, draft), effective.search_path(store.location, config_dirs, draft=draft.number)),
        checked.jobs,
    )
    actions = _planned(store, draft, config_dirs, plan, list(reach.differences)) if plan else None
    return Evidence(reach=reach, problems=(), actions=actions)


def _planned(
    store: ConfigStore, draft: Draft, config_dirs: Sequence[str], stages: str, paths: Sequence[str]
) -> dict[str, int]:
    """Count the actions of the steps that runs of the reached entries would have: ``{"stored": 1, "run": 2}``."""
    if not stages.startswith(f"{STAGES}="):
        raise BadInput(Problem(key="--plan", value=stages, message="expected stages, as c=modeling"))
    search = effective.search_path(store.location, config_dirs, draft=draft.number)
    wanted = stages.removeprefix(f"{STAGES}=").split(",")
    counts: Counter[str] = Counter()
    for combination, members in combinations(paths, texts_after(store, draft), search):
        names = map(name_of, members)
        prepared = prepare(combination.overrides(names, wanted), multirun=True, config_dirs=search)
        counts.update(str(step.action) for step in prepared.plan.steps)
    return dict(counts)


def merge_draft(store: ConfigStore, draft: Draft) -> list[MergedEntry]:
    """Merge what was published since with the entries of a draft; entries without conflicts are saved in it."""
    found = []
    for change in draft.changes:
        if change.is_stale:
            text, conflicts = merge(change.edited or "", change.after or "", change.before or "")
            is_removed = change.after is None and change.before == change.edited
            found.append(
                MergedEntry(
                    path=change.path, text=None if is_removed else text, onto=change.current, conflicts=conflicts
                )
            )
    if clean := [entry for entry in found if not entry.conflicts]:
        texts, bases = {e.path: e.text for e in clean}, {e.path: e.onto for e in clean}
        store.edit(texts, bases, "", draft.number, draft.last_edit)
    return found


def texts_before(store: ConfigStore, revision: int) -> dict[str, str | None]:
    """The texts of the entries that a revision changed, as they were before it.

    Raises ``BadInput`` if one of them was changed again since, since that would be lost.
    """
    history = {r.number: r for r in store.history()}
    if revision not in history:
        message = f"there is no such revision; the newest is {max(history, default=0)}"
        raise BadInput(Problem(key="revision", value=str(revision), message=message))
    before = store.entries(revision - 1)
    problems = []
    for path in history[revision].texts:
        later = sorted(n for n, other in history.items() if n > revision and path in other.texts)
        if later:
            message = f"it was changed again in revision {', '.join(map(str, later))}"
            problems.append(Problem(key=path, message=message, remedy=f"Revert {later[-1]} first, or edit the entry"))
    if problems:
        raise BadInput(*problems)
    return {path: before[path].text if path in before else None for path in history[revision].texts}
